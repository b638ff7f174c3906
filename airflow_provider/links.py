"""Links from a task to the pages of lakeFS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey


class LakeFSLink(BaseOperatorLink):
    """The base of the links: the task stores an address before it begins, and the final one when it is known.

    So the link is there while the task runs, and leads to the right place when it fails.
    """

    name = "lakeFS"

    def push(self, context: Context, address: str) -> None:
        """Store the address for the running task."""
        context["ti"].xcom_push(key=self.xcom_key, value=address)

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address that the task stored, or an empty text."""
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""


class LakeFSBranchLink(LakeFSLink):
    """A branch and its objects."""

    name = "lakeFS branch"


class LakeFSCommitLink(LakeFSLink):
    """A commit; until it is made, the log that it will be in."""

    name = "lakeFS commit"


class LakeFSCompareLink(LakeFSLink):
    """What a merge brings, and where it conflicts."""

    name = "lakeFS comparison"


class LakeFSObjectLink(LakeFSLink):
    """An object."""

    name = "lakeFS object"
