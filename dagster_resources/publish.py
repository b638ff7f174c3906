"""Write, audit, publish: one lakeFS branch for each Dagster run.

Assets write on the run's branch, asset checks judge it there, and the last asset merges it. Until then nothing of
the run is on the base branch, and a run that fails leaves its branch for inspection and for its re-execution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckSeverity,
    AssetExecutionContext,
    DagsterEventType,
    Failure,
)

from dagster_resources.metadata import ROOT_RUN, branch_metadata, run_metadata
from lakefs_ops import errors
from lakefs_ops.flows.publish import WriteAuditPublish

if TYPE_CHECKING:
    from dagster_resources.resource import LakeFSResource

RunContext = AssetExecutionContext | AssetCheckExecutionContext

LOOK_BACK = 100
"""How many commits of the base a finished publication is looked for in, after its branch is gone."""


class RunBranch:
    """The branch of a run, named ``dagster-`` and the id of the root run.

    A run and all its re-executions share it, because a re-execution skips the steps that succeeded, whose data
    are on it. It is made by the first step that asks for it, from the base's head, so that the whole run sees one
    snapshot. It is deleted by `publish` alone.

    Every method may be repeated; what has taken effect does not take effect again. Steps that run at the same
    time share the branch, and a commit takes all that is uncommitted on it: let one step commit, behind the
    others.

    Args:
        context: the context of an asset or of an asset check.
        lakefs: the resource.
        repository: the repository's id.
        base: the branch that the run starts from and publishes to.

    Attributes:
        name: the branch's name.
    """

    def __init__(self, context: RunContext, lakefs: LakeFSResource, repository: str, *, base: str = "main") -> None:
        self._context, self._client = context, lakefs.get_client()
        self.repository, self.base = repository, base
        self._root = context.run.root_run_id or context.run.run_id
        self.name = f"dagster-{self._root}"
        # A re-execution may bring new data, so what it commits and merges is not an earlier run's: its own key.
        self._flow = WriteAuditPublish(
            self._client,
            repository,
            key=f"dagster/{context.run.run_id}/{context.op_execution_context.op.name}",
            into=base,
            branch=self.name,
            metadata=run_metadata(context.run, webserver_url=lakefs.webserver_url),
        )

    def ensure(self) -> str:
        """Return the branch's name; it exists from then on."""
        try:
            self._client.branches.get(self.repository, self.name)
        except errors.BranchNotFound:
            # The name is the run's own: if it appears meanwhile, another step of the run has made it.
            replace(self._flow, retried=True).open()
        return self.name

    def commit(self, message: str, *, metadata: Mapping[str, str] | None = None) -> str:
        """Commit what is uncommitted, and return the id of the commit that holds the branch's state.

        That is the branch's head if nothing is uncommitted: an earlier attempt committed it, or the run wrote
        what the base holds already.

        Args:
            message: the commit's message.
            metadata: further metadata; the run's own comes by itself.
        """
        return self._with(message, metadata).commit()

    def publish(self, message: str, *, strategy: str | None = None, metadata: Mapping[str, str] | None = None) -> str:
        """Merge the branch into its base and delete it; return the merge commit's id.

        If the branch brings nothing new, the base's head is returned.

        Args:
            message: the merge commit's message.
            strategy: who wins a conflict: ``source-wins`` or ``dest-wins``; none by default.
            metadata: further metadata; the run's own comes by itself.

        Raises:
            Failure: an asset check of the run failed, or the base changed the same objects meanwhile; nothing was
                merged, and the branch is kept.
        """
        if failed := self.failed_checks():
            raise self._refusal(f"not published, since {', '.join(failed)} failed; {self.base!r} is as it was")
        try:
            head = self._client.branches.get(self.repository, self.name).commit_id
        except errors.BranchNotFound:
            return self._published_before()
        try:
            return replace(self._with(message, metadata), strategy=strategy).publish(head)
        except errors.MergeConflict as conflict:
            raise self._refusal(str(conflict)) from conflict

    def failed_checks(self) -> list[str]:
        """Return the asset checks that failed when they last ran, in this run or in those it re-executes."""
        instance, run = self._context.instance, self._context.run
        runs = [run]
        while run.parent_run_id and (parent := instance.get_run_by_id(run.parent_run_id)):
            run = parent
            runs.append(run)
        failed: dict[str, bool] = {}
        for run in reversed(runs):
            for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
                check = entry.get_dagster_event().asset_check_evaluation_data
                name = f"check {check.check_name!r} of {check.asset_key.to_user_string()!r}"
                failed[name] = not check.passed and check.severity == AssetCheckSeverity.ERROR
        return [name for name, is_failed in failed.items() if is_failed]

    def _published_before(self) -> str:
        """Return the merge of an attempt that ended before it could say so."""
        log = self._client.refs.log(self.repository, self.base, first_parent=True, limit=LOOK_BACK)
        for commit in log:
            if (commit.metadata or {}).get(ROOT_RUN) == self._root:
                return commit.id
        raise Failure(
            f"nothing to publish: {self.repository!r} has no branch {self.name!r}, since no asset of this run has"
            " written; materialize the assets and their checks in the same run",
            allow_retries=False,
        )

    def _with(self, message: str, metadata: Mapping[str, str] | None) -> WriteAuditPublish:
        return replace(self._flow, message=message, metadata={**self._flow.metadata, **(metadata or {})})

    def _refusal(self, text: str) -> Failure:
        metadata = branch_metadata(self._client, self.repository, self.name, base=self.base)
        look = self._client.links.compare(self.repository, self.base, self.name)
        return Failure(f"{text}; look at {look}", metadata=metadata, allow_retries=False)
