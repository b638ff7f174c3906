"""The operator for imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSkipException

from airflow_provider.links import LakeFSCommitLink
from airflow_provider.operators.waiting import LakeFSWaitingOperator
from airflow_provider.rendering import REQUIRED, as_rendered, check_field
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.choices import IF_NOTHING, check_choice

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.api.imports import ImportLocation
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.conditions import Condition, ImportDone
    from lakefs_ops.flows.step import IfNothing

STATE_KEY = "lakefs_import"
"""Key in the task state store under which the operator saves the id of its import."""

SETTLE = 15.0
"""Seconds within which an import whose id was lost is expected to create its commit."""


class LakeFSImportOperator(LakeFSWaitingOperator):
    """Import objects that are already in the object store, and wait for the commit.

    The objects are referenced, not copied. Everything below a destination is replaced by the imported objects, with an
    exception in lakeFS 1.84: it may keep older objects whose paths come after the last imported one. To be sure, delete
    what is below the destination, and commit that, before the import.

    Delivery: exactly one commit, even if responses are lost, or the task is retried. On Airflow 3.3, a retry waits for
    the import that an earlier try started; on 3.1 and 3.2, it searches for the commit of that import for 15 seconds
    before it starts another one. A *cleared* task imports again. If the task is killed, the import is cancelled (for a
    deferred task on Airflow 3.3 and later).

    XCom: the id of the import's commit.

    Asset events: the events of the task's ``outlets`` describe the commit.

    Args:
        repo: the repository's id (templated).
        branch: the branch to import to; it must not have uncommitted changes (templated).
        sources: the objects to import: for each source a mapping with ``path``, the address in the object store,
            outside the repository's storage namespace; ``destination``, the prefix or path in the repository; and
            optionally ``type``: ``common_prefix`` for all objects below a prefix, the default if ``path`` ends with
            ``/``, or ``object`` for one object (templated).
        msg: the commit's message (templated).
        metadata: further metadata of the commit, a mapping; values that are None are left out (templated).
        whole_branch: allow an empty destination, which replaces all objects of the branch.
        if_nothing: what to do if the sources have no objects, for example because of a misspelled path: ``fail``,
            ``skip`` the task, or ``succeed`` with the commit, which lakeFS creates in any case.
        force: allow on a read-only repository.
        timeout: maximum time to wait for the commit, one day by default; the import then goes on, and a retry
            waits for it.
        deferrable: wait in the triggerer instead of on a worker; ``[operators] default_deferrable`` by default.
        poll_interval: the longest pause between two polls, in seconds.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Import the files of a day, without occupying a worker slot::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSImportOperator(
                    task_id="import",
                    branch="raw",
                    sources=[{"path": "s3://raw/{{ ds }}/", "destination": "daily/{{ ds }}/"}],
                    msg="Import {{ ds }}",
                    deferrable=True,
                )
    """

    template_fields = (*LakeFSWaitingOperator.template_fields, "repo", "branch", "sources", "msg", "metadata")
    optional_fields = ("metadata",)
    template_fields_renderers = {"sources": "json", "metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(),)

    _running: tuple[LakeFSClient, ImportDone] | None = None

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        sources: Templated[Sequence[Mapping[str, str]]] = REQUIRED,
        msg: Templated[str] = REQUIRED,
        metadata: Templated[Mapping[str, str] | None] = None,
        whole_branch: bool = False,
        if_nothing: IfNothing = "fail",
        force: bool | None = None,
        timeout: float | timedelta = timedelta(days=1),
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        check_field("sources", sources)
        check_field("metadata", metadata)
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.sources = as_rendered(sources)
        self.msg = as_rendered(msg)
        self.metadata = as_rendered(metadata)
        self.whole_branch = whole_branch
        self.if_nothing = if_nothing
        self.force = force

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Start the import, or find the one of an earlier try; wait for it, and return its commit's id."""
        from airflow_provider.step import commit_metadata, step_from_context
        from lakefs_ops.flows.conditions import ImportDone

        locations = self._locations()
        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.branch))
        step = step_from_context(context, client, self.repo)
        store = context.get("task_state_store")
        saved: Any = store.get(STATE_KEY) if store is not None else None
        earlier = saved["id"] if saved and saved["key"] == step.key else None
        import_id, ended = earlier, False
        if earlier is not None:
            ended = self._has_failed(client, earlier)
        if earlier is None or ended:
            if store is not None:
                store.set(STATE_KEY, {"key": step.key, "id": None})  # A try that dies now leaves an unknown import.
            started = step.start_import(
                self.branch,
                locations,
                message=self.msg,
                metadata=commit_metadata(context, self.metadata),
                force=self.force,
                settle=0.0 if ended else SETTLE,
            )
            if started.commit_id is not None:
                return self.met(client, context, {"commit_id": started.commit_id})
            import_id = started.import_id
            if store is not None:
                store.set(STATE_KEY, {"key": step.key, "id": import_id})
            self.log.info("started import %s to branch %r of %r", import_id, self.branch, self.repo)
        else:
            self.log.info("waiting for import %s, which an earlier try started", import_id)
        condition = ImportDone(repository=self.repo, branch=self.branch, id=import_id)
        self._running = client, condition
        result: str = self.wait(client, context, condition)
        self._running = None
        return result

    def met(self, client: LakeFSClient, context: Context, found: Mapping[str, Any]) -> str:
        """Record the commit and return its id."""
        commit_id: str = found["commit_id"]
        self.log.info("branch %r of %r has commit %s, %s", self.branch, self.repo, commit_id, dict(found))
        for location in self._locations():
            self.note_output(self.repo, self.branch, location.destination, commit_id)
        if self.if_nothing != "succeed" and self._found_nothing(client, commit_id, found):
            paths = ", ".join(repr(location.path) for location in self._locations())
            LakeFSCommitLink().push(context, client.links.commit(self.repo, commit_id))
            error = AirflowSkipException if self.if_nothing == "skip" else AirflowFailException
            raise error(f"the import found no objects at {paths}, and created commit {commit_id}; check the path")
        return self.record_commit(client, context, self.branch, commit_id)

    def _found_nothing(self, client: LakeFSClient, commit_id: str, found: Mapping[str, Any]) -> bool:
        """Return whether the import has no objects; of an earlier try's import, perhaps only the commit is known."""
        if (count := found.get("ingested_objects")) is not None:
            return bool(count == 0)
        prefixes = [location.destination for location in self._locations()]
        return all(client.objects.list(self.repo, commit_id, prefix=prefix).first() is None for prefix in prefixes)

    def failed(self, client: LakeFSClient, reason: str, found: Mapping[str, Any]) -> Exception:
        """Return an error after which the task may be retried, with another import."""
        self._running = None
        return AirflowException(reason)

    def trigger(self, condition: Condition) -> Any:
        """Return the trigger, which cancels the import if a user ends the task."""
        from airflow_provider.triggers.imports import LakeFSImportTrigger

        return LakeFSImportTrigger(**self.trigger_arguments(condition))

    def on_kill(self) -> None:
        """Cancel the import if the task is killed while it waits on a worker."""
        from lakefs_ops.client import LakeFSClient
        from lakefs_ops.errors import LakeFSError
        from lakefs_ops.flows.removals import cancel_import

        if self._running is None:
            return
        interrupted, condition = self._running
        try:
            # A new client, since this runs in a signal handler, while the other one may be in the middle of a call.
            with LakeFSClient(config=interrupted.config) as client:
                cancelled = cancel_import(client, condition.repository, condition.branch, condition.id)
        except LakeFSError as error:
            self.log.warning("import %s was not cancelled: %s", condition.id, error)
        else:
            self.log.info("import %s %s", condition.id, "cancelled" if cancelled else "had ended")

    def _has_failed(self, client: LakeFSClient, import_id: str) -> bool:
        """Return whether an earlier try's import has ended without a commit; the server keeps it for 24 hours."""
        from lakefs_ops.errors import NotFound
        from lakefs_ops.flows.conditions import ImportDone

        try:
            verdict = ImportDone(repository=self.repo, branch=self.branch, id=import_id).poll(client)
        except NotFound as error:
            self.log.info("the import of an earlier try is unknown: %s", error)
            return True
        if verdict.state == "failed":
            self.log.info("the import of an earlier try has failed: %s", verdict.reason)
        return verdict.state == "failed"

    def _locations(self) -> list[ImportLocation]:
        """Return the sources, checked.

        Raises:
            InvalidArgument: a source has missing, unknown or invalid fields.
        """
        from lakefs_ops.api.imports import ImportLocation

        locations = []
        for index, source in enumerate(self.sources):
            path, destination = str(source.get("path") or ""), str(source.get("destination") or "")
            kind = source.get("type") or ("common_prefix" if path.endswith("/") else "object")
            where = f"sources[{index}]"
            if unknown := ", ".join(map(repr, sorted(set(source) - {"path", "destination", "type"}))):
                raise InvalidArgument(f"{where} has the unknown field {unknown}; use path, destination and type")
            if "://" not in path:
                raise InvalidArgument(f"{where} must have a path such as s3://bucket/raw/, got {path!r}")
            if kind not in ("common_prefix", "object"):
                raise InvalidArgument(f"{where} must have the type 'common_prefix' or 'object', got {kind!r}")
            if not destination and not self.whole_branch:
                raise InvalidArgument(
                    f"{where} has no destination, so it would replace all objects of the branch; add one, or set"
                    " whole_branch=True"
                )
            locations.append(ImportLocation(type=kind, path=path, destination=destination))
        if not locations:
            raise InvalidArgument("sources is empty, so there is nothing to import")
        return locations
