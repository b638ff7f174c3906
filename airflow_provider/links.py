"""Links from a task to the pages of lakeFS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey


class LakeFSLink(BaseOperatorLink):
    """The base of the links: the task stores the address, the UI reads it, also while the task runs."""

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
    """A commit."""

    name = "lakeFS commit"


class LakeFSCompareLink(LakeFSLink):
    """What a merge brings, or where it conflicts."""

    name = "lakeFS comparison"


class LakeFSObjectLink(LakeFSLink):
    """An object."""

    name = "lakeFS object"
