"""Operators on commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.step import Step, metadata

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient


class LakeFSCommitOperator(LakeFSOperator):
    """Commit what is uncommitted on a branch, once for the task of a run.

    The commit's metadata names the DAG, the run and the task, and lakeFS shows a button that leads back to the task.

    Delivery: exactly one commit, whatever is lost or repeated. The commit carries a key made of DAG, run, task and
    map index; a retry, or a call whose answer was lost, looks for it before it commits again. A *cleared* task
    commits what is new; if nothing is, the commit that it made before is the result. What cannot be prevented: a
    commit takes all that is uncommitted on its branch, so give each run a branch of its own.

    XCom: the commit's id.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        msg: the message (templated).
        metadata: further keys and values to keep with the commit (templated).
        allow_empty: make a commit even if nothing changed.
        date: the commit's date in Unix seconds, now by default.
        lakefs_conn_id: the connection's id.

    Example:
        Commit what earlier tasks wrote::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCommitOperator(
                    task_id="commit",
                    branch="run-{{ ds_nodash }}",
                    msg="Land {{ ds }}",
                    metadata={"source": "station 7"},
                )
    """

    template_fields = ("repo", "branch", "msg", "metadata")
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(
        self,
        *,
        repo: str,
        branch: str,
        msg: str,
        metadata: Mapping[str, str] | None = None,
        allow_empty: bool | None = None,
        date: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch
        self.msg = msg
        self.metadata = metadata
        self.allow_empty = allow_empty
        self.date = date

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Commit and return the commit's id."""
        from lakefs_ops.errors import NoChanges
        from lakefs_ops.flows.once import commit_once

        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.branch))
        step = Step(context)
        try:
            commit = commit_once(
                client,
                self.repo,
                self.branch,
                key=step.key,
                message=self.msg,
                metadata=metadata(context, self.metadata),
                retried=step.retried,
                allow_empty=self.allow_empty,
                date=self.date,
            )
        except NoChanges:
            earlier = step.earlier_commit(client, self.repo, self.branch)
            if earlier is None:
                raise
            self.log.info("nothing is new since this task was cleared; its earlier commit stands")
            commit = earlier
        LakeFSCommitLink().push(context, client.links.commit(self.repo, commit.id))
        self.log.info("commit %s on %r of %r: %s", commit.id, self.branch, self.repo, commit.message)
        return commit.id


class LakeFSGetCommitOperator(LakeFSOperator):
    """Read a commit.

    XCom: its fields as a mapping: ``id``, ``parents``, ``committer``, ``message``, ``creation_date``,
    ``meta_range_id``, ``metadata``, ``generation``, ``version``. In a template:
    ``{{ ti.xcom_pull('get_commit').id }}``.

    Args:
        repo: the repository's id (templated).
        ref: a branch, tag, commit id or expression such as ``main~1`` (templated).
        lakefs_conn_id: the connection's id.

    Example:
        Remember where main stands::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSGetCommitOperator(task_id="get_commit", ref="main")
    """

    template_fields = ("repo", "ref")
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(self, *, repo: str, ref: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.ref = ref

    def work(self, client: LakeFSClient, context: Context) -> dict[str, Any]:
        """Return the commit's fields."""
        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.ref))
        commit = client.commits.get(self.repo, self.ref)
        LakeFSCommitLink().push(context, client.links.commit(self.repo, commit.id))
        return commit.model_dump()
