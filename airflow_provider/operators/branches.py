"""Operators on branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSBranchLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.step import Step

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient


class LakeFSCreateBranchOperator(LakeFSOperator):
    """Create a branch, or find it where it should be.

    Delivery: trying the task again changes nothing. The branch is taken as it is if it stands at the source's
    commit, or if an earlier try of the task may have made it and only tasks of this run have committed on it. Any
    other branch of that name fails the task, with a message that says who moved it last and when.

    XCom: the id of the commit that the branch points at.

    Args:
        repo: the repository's id (templated).
        branch: the new branch (templated).
        source_branch: the ref it begins at (templated).
        lakefs_conn_id: the connection's id.

    Example:
        A branch for each run::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCreateBranchOperator(
                    task_id="create_branch", branch="run-{{ ds_nodash }}", source_branch="main"
                )
    """

    template_fields = ("repo", "branch", "source_branch")
    operator_extra_links = (LakeFSBranchLink(),)

    def __init__(self, *, repo: str, branch: str, source_branch: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch
        self.source_branch = source_branch

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Create the branch and return the commit it points at."""
        from lakefs_ops.flows.once import ensure_branch

        LakeFSBranchLink().push(context, client.links.objects(self.repo, self.branch))
        step = Step(context)
        commit_id = ensure_branch(
            client, self.repo, self.branch, source=self.source_branch, key=step.run_key, retried=step.repeated
        )
        self.log.info("branch %r of %r is at commit %s", self.branch, self.repo, commit_id)
        return commit_id


class LakeFSDeleteBranchOperator(LakeFSOperator):
    """Delete a branch with its uncommitted changes; its commits stay.

    Delivery: trying the task again changes nothing; that the branch is gone already is no error.

    XCom: nothing.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        lakefs_conn_id: the connection's id.

    Example:
        Clean up when the run was published::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSDeleteBranchOperator(task_id="delete_branch", branch="run-{{ ds_nodash }}")
    """

    template_fields = ("repo", "branch")

    def __init__(self, *, repo: str, branch: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch

    def work(self, client: LakeFSClient, context: Context) -> None:
        """Delete the branch."""
        from lakefs_ops.flows.once import delete_branch_if_exists

        there = delete_branch_if_exists(client, self.repo, self.branch)
        self.log.info("branch %r of %r %s", self.branch, self.repo, "is deleted" if there else "was gone already")
