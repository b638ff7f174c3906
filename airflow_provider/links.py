"""Links from a task to pages of the lakeFS UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

T = TypeVar("T")


class LakeFSLink(BaseOperatorLink):
    """The base class of the links.

    A task stores a URL before it starts its work, and replaces it once the final one is known. So the link works
    while the task runs and after it fails.
    """

    name = "lakeFS"

    def push(self, context: Context, url: str) -> None:
        """Store the URL for the running task."""
        context["ti"].xcom_push(key=self.xcom_key, value=url)

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL that the task stored, or an empty string."""
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""


def push_link(url: str, context: Context | None = None) -> None:
    """Store the URL of the link *lakeFS* of the running task; see `show_link`.

    Args:
        url: the page, for example one of ``client.links``.
        context: the context of the running task, by default the current one.
    """
    from airflow.sdk import get_current_context

    LakeFSLink().push(context or get_current_context(), url)


def show_link(task: T) -> T:
    """Let Airflow show the link *lakeFS* on a task of a DAG author, such as a TaskFlow task; return the task.

    Example:
        A task that links to what it has written::

            @task
            def land(branch: str) -> None:
                with LakeFSHook().get_conn() as client:
                    client.objects.upload("lake", branch, "daily.csv", b"...")
                    push_link(client.links.objects("lake", branch, "daily.csv"))


            show_link(land(run.branch))
    """
    operator: Any = getattr(task, "operator", task)
    operator.operator_extra_links = (*operator.operator_extra_links, LakeFSLink())
    return task


class LakeFSBranchLink(LakeFSLink):
    """Link to a branch and its objects."""

    name = "lakeFS branch"


class LakeFSCommitLink(LakeFSLink):
    """Link to a commit, or to the branch's log until the commit exists."""

    name = "lakeFS commit"


class LakeFSCompareLink(LakeFSLink):
    """Link to the comparison of the merged refs: their differences and conflicts."""

    name = "lakeFS comparison"


class LakeFSObjectLink(LakeFSLink):
    """Link to an object."""

    name = "lakeFS object"


class LakeFSRepositoryLink(LakeFSLink):
    """Link to a repository."""

    name = "lakeFS repository"


class LakeFSPullRequestLink(LakeFSLink):
    """Link to a pull request."""

    name = "lakeFS pull request"


class LakeFSActionRunLink(LakeFSLink):
    """Link to the run of a repository's actions."""

    name = "lakeFS action run"
