"""The sensor that waits for a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCompareLink
from airflow_provider.rendering import REQUIRED, as_rendered
from airflow_provider.sensors.base import LakeFSSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.flows.conditions import NoDifference


class LakeFSMergedSensor(LakeFSSensor):
    """Wait until a branch has all changes of another ref, however they were merged.

    If one of the refs does not exist, the task fails without further tries, because a deleted branch does not show
    whether it was merged.

    XCom: an empty mapping.

    Args:
        repo: the repository's id (templated).
        source_ref: the ref with the changes (templated).
        destination_branch: the branch that is to have them (templated).
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait until another team has merged the branch of a day::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSMergedSensor(
                    task_id="merged", source_ref="daily-{{ ds_nodash }}", destination_branch="main", deferrable=True
                )
    """

    template_fields = (*LakeFSSensor.template_fields, "repo", "source_ref", "destination_branch")
    operator_extra_links = (LakeFSCompareLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        source_ref: Templated[str] = REQUIRED,
        destination_branch: Templated[str] = REQUIRED,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.source_ref = as_rendered(source_ref)
        self.destination_branch = as_rendered(destination_branch)

    def condition(self) -> NoDifference:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import NoDifference

        return NoDifference(repository=self.repo, left_ref=self.destination_branch, right_ref=self.source_ref)

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the comparison of the two refs."""
        links = self.hook.get_conn().links
        LakeFSCompareLink().push(context, links.compare(self.repo, self.destination_branch, self.source_ref))
