"""The operator for merges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink, LakeFSCompareLink
from airflow_provider.operators.base import LakeFSOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient


class LakeFSMergeOperator(LakeFSOperator):
    """Merge a ref into a branch, once for the task of a run.

    The merge commit's metadata has the DAG, the run and the task; the lakeFS UI shows a button that links back to the
    task.

    Delivery: exactly one merge commit, even if requests or responses are lost, or the task is retried. The merge commit
    stores a key of DAG, run, task and map index; a retry, or a call whose response was lost, searches for it before it
    merges again. A *cleared* task merges new changes; without any, the result is the task's earlier merge commit. A
    conflict fails the task without further tries, lists the paths, and leaves both branches unchanged.

    XCom: the id of the merge commit.

    Args:
        repo: the repository's id (templated).
        source_ref: the ref to merge, without its uncommitted changes (templated).
        destination_branch: the branch to merge into (templated).
        msg: the merge commit's message, ``Merge 'SOURCE' into 'DESTINATION'`` by default (templated).
        metadata: further metadata of the merge commit (templated).
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        force: allow on a read-only repository.
        allow_empty: create a commit even if the source brings no changes.
        squash_merge: leave the source out of the commit's parents.
        lakefs_conn_id: the id of the Airflow connection.

    Example:
        Publish the checked data of a run::

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
        from airflow_provider.step import commit_metadata, step_from_context

        LakeFSCompareLink().push(context, client.links.compare(self.repo, self.destination_branch, self.source_ref))
        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.destination_branch))
        step = step_from_context(context, client, self.repo)
        merge_id = step.or_earlier_commit(
            self.destination_branch,
            lambda: step.merge(
                self.source_ref,
                self.destination_branch,
                message=self.msg,
                metadata=commit_metadata(context, self.metadata),
                strategy=self.strategy,
                allow_empty=self.allow_empty,
                force=self.force,
                squash_merge=self.squash_merge,
            ),
        )
        LakeFSCommitLink().push(context, client.links.commit(self.repo, merge_id))
        self.log.info(
            "merged %r into %r of %r as commit %s", self.source_ref, self.destination_branch, self.repo, merge_id
        )
        return merge_id
