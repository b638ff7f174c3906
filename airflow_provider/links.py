"""Links from a task to pages of the lakeFS UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey


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
