"""The operator that merges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink, LakeFSCompareLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.step import Step, metadata

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient


class LakeFSMergeOperator(LakeFSOperator):
    """Merge a ref into a branch, once for the task of a run.

    The merge commit's metadata names the DAG, the run and the task, and lakeFS shows a button that leads back to
    the task.

    Delivery: exactly one merge commit, whatever is lost or repeated. It carries a key made of DAG, run, task and map
    index; a retry, or a call whose answer was lost, looks for it before it merges again. A *cleared* task merges
    what is new; if nothing is, the merge that it made before is the result. A conflict fails the task without
    further tries, names the paths and leaves both branches as they were.

    XCom: the id of the merge commit.

    Args:
        repo: the repository's id (templated).
        source_ref: what to merge; what is uncommitted on it stays behind (templated).
        destination_branch: the branch to merge into (templated).
        msg: the message, ``Merge 'SOURCE' into 'DESTINATION'`` by default (templated).
        metadata: further keys and values to keep with the commit (templated).
        strategy: who wins a conflict: ``source-wins`` or ``dest-wins``; nobody by default.
        force: also in a read-only repository.
        allow_empty: make a commit even if the source brings nothing.
        squash_merge: keep the source out of the commit's parents.
        lakefs_conn_id: the connection's id.

    Example:
        Publish what a run wrote and checked::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSMergeOperator(
                    task_id="publish",
                    source_ref="run-{{ ds_nodash }}",
                    destination_branch="main",
                    msg="Publish {{ ds }}",
                )
    """

    template_fields = ("repo", "source_ref", "destination_branch", "msg", "metadata")
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(), LakeFSCompareLink())

    def __init__(
        self,
        *,
        repo: str,
        source_ref: str,
        destination_branch: str,
        msg: str | None = None,
        metadata: Mapping[str, str] | None = None,
        strategy: str | None = None,
        force: bool | None = None,
        allow_empty: bool | None = None,
        squash_merge: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.source_ref = source_ref
        self.destination_branch = destination_branch
        self.msg = msg
        self.metadata = metadata
        self.strategy = strategy
        self.force = force
        self.allow_empty = allow_empty
        self.squash_merge = squash_merge

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Merge and return the merge commit's id."""
        from lakefs_ops.errors import NoChanges
        from lakefs_ops.flows.once import merge_once

        LakeFSCompareLink().push(context, client.links.compare(self.repo, self.destination_branch, self.source_ref))
        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.destination_branch))
        step = Step(context)
        try:
            merge_id = merge_once(
                client,
                self.repo,
                self.source_ref,
                self.destination_branch,
                key=step.key,
                message=self.msg,
                metadata=metadata(context, self.metadata),
                strategy=self.strategy,
                retried=step.retried,
                allow_empty=self.allow_empty,
                force=self.force,
                squash_merge=self.squash_merge,
            )
        except NoChanges:
            earlier = step.earlier_commit(client, self.repo, self.destination_branch)
            if earlier is None:
                raise
            self.log.info("nothing is new since this task was cleared; its earlier merge stands")
            merge_id = earlier.id
        LakeFSCommitLink().push(context, client.links.commit(self.repo, merge_id))
        self.log.info(
            "merged %r into %r of %r as commit %s", self.source_ref, self.destination_branch, self.repo, merge_id
        )
        return merge_id
