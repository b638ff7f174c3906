"""Operators for branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSBranchLink
from airflow_provider.operators.base import LakeFSOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient


class LakeFSCreateBranchOperator(LakeFSOperator):
    """Create a branch, or accept it if it exists as wanted.

    Delivery: another try changes nothing. An existing branch is accepted if it points to the source's commit, or if an
    earlier try may have created it and only tasks of this run have committed on it. Any other branch with this name
    fails the task; the message describes its newest commit.

    XCom: the id of the commit that the branch points to.

    Args:
        repo: the repository's id (templated).
        branch: the new branch (templated).
        source_branch: the ref to create the branch from (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        A branch for each run::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCreateBranchOperator(
                    task_id="create_branch", branch="run-{{ ds_nodash }}", source_branch="main"
                )
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "source_branch")
    operator_extra_links = (LakeFSBranchLink(),)

    def __init__(self, *, repo: str, branch: str, source_branch: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch
        self.source_branch = source_branch

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Create the branch and return the id of the commit it points to."""
        from airflow_provider.step import run_key
        from lakefs_ops.flows.ensure import ensure_branch

        LakeFSBranchLink().push(context, client.links.objects(self.repo, self.branch))
        commit_id = ensure_branch(
            client,
            self.repo,
            self.branch,
            source=self.source_branch,
            key=run_key(context),
            # Also after the task was cleared: the branch is the run's, whichever try created it.
            retried=context["ti"].try_number > 1,
        )
        self.log.info("branch %r of %r points to commit %s", self.branch, self.repo, commit_id)
        return commit_id


class LakeFSDeleteBranchOperator(LakeFSOperator):
    """Delete a branch with its uncommitted changes, if it exists; its commits are kept.

    Delivery: another try changes nothing; a branch that does not exist is not an error.

    XCom: nothing.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Clean up after the run was published::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSDeleteBranchOperator(task_id="delete_branch", branch="run-{{ ds_nodash }}")
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch")

    def __init__(self, *, repo: str, branch: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch

    def work(self, client: LakeFSClient, context: Context) -> None:
        """Delete the branch."""
        from lakefs_ops.flows.ensure import delete_branch_if_exists

        existed = delete_branch_if_exists(client, self.repo, self.branch)
        self.log.info("branch %r of %r %s", self.branch, self.repo, "deleted" if existed else "did not exist")
