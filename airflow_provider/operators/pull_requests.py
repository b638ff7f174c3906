"""Operators for pull requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink, LakeFSPullRequestLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_rendered

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient


class LakeFSCreatePullRequestOperator(LakeFSOperator):
    """Open a pull request, so that people can review changes before they are merged.

    Delivery: exactly one pull request, even if requests or responses are lost, or the task is retried. The last line of
    its description has a key of DAG, run, task and map index. A *cleared* task returns its earlier pull request while
    that is open, and otherwise opens another one.

    XCom: the id of the pull request.

    Args:
        repo: the repository's id (templated).
        source_branch: the branch to merge (templated).
        destination_branch: the branch to merge into (templated).
        title: the title (templated).
        description: the description (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Wait for a review, for as long as it takes::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCreatePullRequestOperator(
                    task_id="review",
                    source_branch="run-{{ ds_nodash }}",
                    destination_branch="main",
                    title="Data of {{ ds }}",
                )
    """

    template_fields = (
        *LakeFSOperator.template_fields, "repo", "source_branch", "destination_branch", "title", "description",
    )  # fmt: skip
    optional_fields = ("description",)
    operator_extra_links = (LakeFSPullRequestLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        source_branch: Templated[str] = REQUIRED,
        destination_branch: Templated[str] = REQUIRED,
        title: Templated[str] = REQUIRED,
        description: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.source_branch = as_rendered(source_branch)
        self.destination_branch = as_rendered(destination_branch)
        self.title = as_rendered(title)
        self.description = as_rendered(description)

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Open the pull request and return its id."""
        from airflow_provider.step import step_from_context

        link = client.links.compare(self.repo, self.destination_branch, self.source_branch)
        LakeFSPullRequestLink().push(context, link)
        pull_request = step_from_context(context, client, self.repo).pull_request(
            self.source_branch, self.destination_branch, title=self.title, description=self.description or ""
        )
        LakeFSPullRequestLink().push(context, client.links.pull(self.repo, pull_request))
        self.log.info("pull request %s of %r is open", pull_request, self.repo)
        return pull_request


class LakeFSMergePullRequestOperator(LakeFSOperator):
    """Merge a pull request.

    If its source branch has uncommitted changes, nothing is merged, because a merge would leave them out.

    Delivery: exactly one merge; another try returns the merge commit. A conflict, or a pull request that was closed
    without a merge, fails the task without further tries.

    XCom: the id of the merge commit.

    Asset events: the events of the task's ``outlets`` describe the merge commit.

    Args:
        repo: the repository's id (templated).
        pull_request: the id of the pull request (templated).
        ignore_uncommitted: merge even if the source branch has uncommitted changes, which a merge leaves out.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Open a pull request, and merge it when the checks have passed::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                review = LakeFSCreatePullRequestOperator(
                    task_id="review", source_branch="dev", destination_branch="main", title="Data of {{ ds }}"
                )
                LakeFSMergePullRequestOperator(task_id="merge", pull_request=review.output)
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "pull_request")
    operator_extra_links = (LakeFSPullRequestLink(), LakeFSCommitLink())

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        pull_request: Templated[str] = REQUIRED,
        ignore_uncommitted: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.pull_request = as_rendered(pull_request)
        self.ignore_uncommitted = ignore_uncommitted

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Merge the pull request and return the id of the merge commit."""
        from airflow_provider.operators.merges import committed_head
        from lakefs_ops.flows.ensure import merge_pull_request

        LakeFSPullRequestLink().push(context, client.links.pull(self.repo, self.pull_request))
        pull = client.pulls.get(self.repo, self.pull_request)
        if pull.status == "open" and not self.ignore_uncommitted:
            committed_head(client, self.repo, pull.source_branch, "or set ignore_uncommitted=True")
        merge_id = merge_pull_request(client, self.repo, self.pull_request)
        self.note_input(self.repo, pull.source_branch)
        self.log.info("pull request %s of %r is merged with commit %s", self.pull_request, self.repo, merge_id)
        return self.record_commit(client, context, pull.destination_branch, merge_id)
