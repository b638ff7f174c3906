"""The sensor that waits for a branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSBranchLink
from airflow_provider.rendering import REQUIRED, as_rendered
from airflow_provider.sensors.base import LakeFSSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.flows.conditions import BranchExists


class LakeFSBranchSensor(LakeFSSensor):
    """Wait until a branch exists, or no longer exists.

    XCom: ``{"commit_id": ...}``, the branch's newest commit; with ``gone=True`` an empty mapping.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        gone: wait until the branch does not exist.
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait until another run has deleted its branch::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSBranchSensor(task_id="done", branch="run-{{ ds_nodash }}", gone=True, mode="reschedule")
    """

    template_fields = (*LakeFSSensor.template_fields, "repo", "branch")
    operator_extra_links = (LakeFSBranchLink(),)

    def __init__(
        self, *, repo: Templated[str] = REQUIRED, branch: Templated[str] = REQUIRED, gone: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.gone = gone

    def condition(self) -> BranchExists:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import BranchExists

        return BranchExists(repository=self.repo, branch=self.branch, gone=self.gone)

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the branch."""
        LakeFSBranchLink().push(context, self.hook.get_conn().links.objects(self.repo, self.branch))
