"""Operators for commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_rendered, check_field, keep_given
from lakefs_ops.flows.choices import IF_NOTHING, check_choice

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.step import IfNothing


class LakeFSCommitOperator(LakeFSOperator):
    """Commit the uncommitted changes of a branch, once for the task of a run.

    The commit's metadata has the DAG, the run and the task; the lakeFS UI shows a button that links back to the task.

    Delivery: exactly one commit, even if requests or responses are lost, or the task is retried. The commit stores a
    key of DAG, run, task and map index; a retry, or a call whose response was lost, searches for it before it commits
    again. A *cleared* task commits new changes; without any, the result is the task's earlier commit. A commit takes
    all uncommitted changes of its branch, including those of other writers, so give each run its own branch.

    XCom: the commit's id.

    Asset events: the events of the task's ``outlets`` describe the commit; see
    `airflow_provider.assets.events.record_commit`.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        msg: the commit's message (templated).
        metadata: further metadata of the commit, a mapping; values that are None are left out (templated).
        allow_empty: create a commit even if nothing changed.
        date: the commit's date in Unix seconds, now by default.
        if_nothing: what to do if the branch has no uncommitted changes: ``fail``, ``skip`` the task, or ``succeed``
            with the id of the branch's newest commit.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Commit the objects that earlier tasks wrote::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCommitOperator(
                    task_id="commit",
                    branch="run-{{ ds_nodash }}",
                    msg="Land {{ ds }}",
                    metadata={"source": "station 7"},
                )
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "msg", "metadata")
    optional_fields = ("metadata",)
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        msg: Templated[str] = REQUIRED,
        metadata: Templated[Mapping[str, str] | None] = None,
        allow_empty: bool | None = None,
        date: int | None = None,
        if_nothing: IfNothing = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("metadata", metadata)
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.msg = as_rendered(msg)
        self.metadata = as_rendered(metadata)
        self.allow_empty = allow_empty
        self.date = date
        self.if_nothing = if_nothing

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Commit and return the commit's id."""
        from airflow_provider.step import commit_metadata, step_from_context

        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.branch))
        step = step_from_context(context, client, self.repo)
        commit_id = step.commit(
            self.branch,
            message=self.msg,
            metadata=commit_metadata(context, self.metadata),
            allow_empty=self.allow_empty,
            date=self.date,
            if_nothing=self.if_nothing,
        )
        self.log.info("branch %r of %r has commit %s", self.branch, self.repo, commit_id)
        return self.record_commit(client, context, self.branch, commit_id)


class LakeFSGetCommitOperator(LakeFSOperator):
    """Read a commit.

    XCom: the commit's fields as a mapping: ``id``, ``parents``, ``committer``, ``message``, ``creation_date``,
    ``meta_range_id``, ``metadata``, ``generation``, ``version``. In a template:
    ``{{ ti.xcom_pull('get_commit').id }}``.

    Args:
        repo: the repository's id (templated).
        ref: a branch, tag, commit id or expression such as ``main~1`` (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Remember the current commit of main::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSGetCommitOperator(task_id="get_commit", ref="main")
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "ref")
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(self, *, repo: Templated[str] = REQUIRED, ref: Templated[str] = REQUIRED, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.ref = as_rendered(ref)

    def work(self, client: LakeFSClient, context: Context) -> dict[str, Any]:
        """Return the commit's fields."""
        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.ref))
        commit = client.commits.get(self.repo, self.ref)
        LakeFSCommitLink().push(context, client.links.commit(self.repo, commit.id))
        self.note_input(self.repo, self.ref, commit_id=commit.id)
        return commit.model_dump()


class LakeFSListCommitsOperator(LakeFSOperator):
    """Read the newest commits of a ref's log.

    Delivery: reads only.

    XCom: the commits, newest first, a list of mappings with the fields of `LakeFSGetCommitOperator`.

    Args:
        repo: the repository's id (templated).
        ref: the ref whose log to read (templated).
        limit: the largest number of commits, 100 by default (templated). If there are more after ``since``, the task
            fails without further tries, since the list would not be complete.
        since: only commits after this one: a commit id or another ref; it and older ones are left out (templated).
        first_parent: follow only the first parent of merges, which leaves out the commits of merged branches.
        paths: only commits that changed one of these objects; merges are left out (templated).
        prefix: only commits that changed an object with this prefix; merges are left out (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        What was published last::

            with DAG("report", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSListCommitsOperator(task_id="published", ref="main", limit=10, first_parent=True)
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "ref", "limit", "since", "paths", "prefix")
    optional_fields = ("since", "paths", "prefix")
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        ref: Templated[str] = REQUIRED,
        limit: Templated[int] = 100,
        since: Templated[str | None] = None,
        first_parent: bool = False,
        paths: Templated[Sequence[str] | None] = None,
        prefix: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("limit", limit)
        check_field("paths", paths)
        self.repo = as_rendered(repo)
        self.ref = as_rendered(ref)
        self.limit = as_rendered(limit)
        self.since = as_rendered(since)
        self.first_parent = first_parent
        self.paths = as_rendered(paths)
        self.prefix = as_rendered(prefix)
        keep_given(self, "since", "paths", "prefix")

    def work(self, client: LakeFSClient, context: Context) -> list[dict[str, Any]]:
        """Read the log and return the commits."""
        from lakefs_ops.errors import InvalidArgument

        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.ref))
        last = None if self.since is None else client.commits.get(self.repo, self.since).id
        log = client.refs.log(
            self.repo,
            self.ref,
            limit=self.limit + (last is not None),
            stop_at=last,
            first_parent=self.first_parent or None,
            objects=self.paths,
            prefixes=None if self.prefix is None else [self.prefix],
        )
        commits = [commit for commit in log if commit.id != last]
        if len(commits) > self.limit:
            raise InvalidArgument(
                f"{self.ref!r} of {self.repo!r} has more than {self.limit} commits after {self.since!r}; raise limit,"
                " or use LakeFSHook().get_conn().refs.log() in a task of your own"
            )
        self.log.info("read %s commits of %r in %r", len(commits), self.ref, self.repo)
        return [commit.model_dump() for commit in commits]
