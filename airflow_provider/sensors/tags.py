"""The sensor that waits for a tag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink
from airflow_provider.rendering import REQUIRED, as_rendered
from airflow_provider.sensors.base import LakeFSSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.flows.conditions import TagExists


class LakeFSTagSensor(LakeFSSensor):
    """Wait until a tag exists.

    XCom: ``{"commit_id": ...}``, the commit that the tag points to.

    Args:
        repo: the repository's id (templated).
        tag: the tag's name (templated).
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait for the release of a day::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSTagSensor(task_id="released", tag="daily-{{ ds }}", deferrable=True)
    """

    template_fields = (*LakeFSSensor.template_fields, "repo", "tag")
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(self, *, repo: Templated[str] = REQUIRED, tag: Templated[str] = REQUIRED, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.tag = as_rendered(tag)

    def condition(self) -> TagExists:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import TagExists

        return TagExists(repository=self.repo, tag=self.tag)

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the tag's log, and later to its commit."""
        links = self.hook.get_conn().links
        url = links.commit(self.repo, found["commit_id"]) if found else links.commits(self.repo, self.tag)
        LakeFSCommitLink().push(context, url)
