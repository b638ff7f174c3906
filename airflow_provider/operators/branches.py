"""Operators for branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSBranchLink, LakeFSCommitLink
from airflow_provider.operators.base import LakeFSOperator, only_one_of
from airflow_provider.rendering import REQUIRED, as_rendered, keep_given

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient


class LakeFSCreateBranchOperator(LakeFSOperator):
    """Create a branch for the DAG run.

    Delivery: another try changes nothing. The branch starts with an empty commit that stores the key of the DAG run, so
    an existing branch is accepted only if a task of this run created it. Any other branch with this name fails the
    task; the message describes its newest commit.

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

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        source_branch: Templated[str] = REQUIRED,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.source_branch = as_rendered(source_branch)

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Create the branch and return the id of the commit it points to."""
        from airflow_provider.step import creating_branch, run_key
        from lakefs_ops.flows.ensure import ensure_branch

        LakeFSBranchLink().push(context, client.links.objects(self.repo, self.branch))
        with creating_branch(context) as retried:
            commit_id = ensure_branch(
                client, self.repo, self.branch, source=self.source_branch, key=run_key(context), retried=retried
            )
        self.log.info("branch %r of %r points to commit %s", self.branch, self.repo, commit_id)
        return commit_id


class LakeFSDeleteBranchOperator(LakeFSOperator):
    """Delete a branch, if it exists and everything on it is published; its commits are kept.

    A branch is kept, and the task fails without further tries, if it has uncommitted changes, or objects that are not
    merged into the branch ``into``.

    Delivery: another try changes nothing; a branch that does not exist is not an error.

    XCom: nothing.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        into: the branch with the published data, by default the repository's default branch (templated).
        discard: delete the branch even if it has unpublished changes, which are then lost.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Clean up after the run was published::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSDeleteBranchOperator(task_id="delete_branch", branch="run-{{ ds_nodash }}")
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "into")
    optional_fields = ("into",)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        into: Templated[str | None] = None,
        discard: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.into = as_rendered(into)
        keep_given(self, "into")
        self.discard = discard

    def work(self, client: LakeFSClient, context: Context) -> None:
        """Delete the branch."""
        from lakefs_ops.flows.ensure import delete_branch_if_exists

        existed = delete_branch_if_exists(client, self.repo, self.branch, discard=self.discard, into=self.into)
        self.log.info("branch %r of %r %s", self.branch, self.repo, "deleted" if existed else "did not exist")


class LakeFSResetBranchOperator(LakeFSOperator):
    """Discard the uncommitted changes of a branch, for example before its tasks write again.

    Delivery: another try discards what was written since then, too; so reset only a branch that belongs to the run.
    After a request without a response, the branch is checked before the request is repeated.

    XCom: nothing.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        path: discard only the changes of this object (templated).
        prefix: discard only the changes of objects with this prefix (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Start a run's writes from a clean branch::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSResetBranchOperator(task_id="reset", branch="run-{{ ds_nodash }}")
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "path", "prefix")
    optional_fields = ("path", "prefix")
    operator_extra_links = (LakeFSBranchLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        path: Templated[str | None] = None,
        prefix: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.path = as_rendered(path)
        self.prefix = as_rendered(prefix)
        only_one_of(self, "path", "prefix", needed=False)

    def work(self, client: LakeFSClient, context: Context) -> None:
        """Discard the changes."""
        from lakefs_ops.flows.removals import reset_branch

        LakeFSBranchLink().push(context, client.links.uncommitted(self.repo, self.branch))
        reset_branch(client, self.repo, self.branch, path=self.path, prefix=self.prefix)
        self.log.info(
            "discarded the uncommitted changes of %s on branch %r of %r",
            self.path or self.prefix or "all objects", self.branch, self.repo,
        )  # fmt: skip


class LakeFSHardResetBranchOperator(LakeFSOperator):
    """Move a branch to another commit, if it still points to the expected one.

    The commits that the branch leaves behind stay in the repository, but on no branch. To undo published commits, a
    `LakeFSRevertOperator` is safer, since it keeps the history. lakeFS cannot compare and move in one call: a commit
    between the check and the move is dropped from the branch.

    Delivery: another try changes nothing. A branch that points to any other commit is not moved.

    XCom: the id of the commit that the branch points to.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        ref: the commit to move the branch to (templated).
        expected_head: the id of the commit that the branch points to before (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Return to the commit from before an experiment::

            with DAG("experiment", schedule=None, default_args={"repo": "lake", "branch": "experiment"}):
                before = LakeFSGetCommitOperator(task_id="before", ref="experiment")
                commit = LakeFSCommitOperator(task_id="commit", msg="Experiment")
                reset = LakeFSHardResetBranchOperator(
                    task_id="reset",
                    ref="{{ ti.xcom_pull('before').id }}",
                    expected_head="{{ ti.xcom_pull('commit') }}",
                )
                before >> commit >> reset
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "ref", "expected_head")
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        ref: Templated[str] = REQUIRED,
        expected_head: Templated[str] = REQUIRED,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.ref = as_rendered(ref)
        self.expected_head = as_rendered(expected_head)

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Move the branch and return the id of the commit it points to."""
        from lakefs_ops.flows.ensure import hard_reset

        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.branch))
        commit_id = hard_reset(client, self.repo, self.branch, ref=self.ref, expected_head=self.expected_head)
        LakeFSCommitLink().push(context, client.links.commit(self.repo, commit_id))
        self.log.info("branch %r of %r points to commit %s", self.branch, self.repo, commit_id)
        return commit_id
