"""The sensor that waits for a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSPullRequestLink
from airflow_provider.rendering import REQUIRED, as_rendered
from airflow_provider.sensors.base import LakeFSSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.flows.conditions import PullRequestEnded


class LakeFSPullRequestSensor(LakeFSSensor):
    """Wait until a pull request is merged.

    If the pull request is closed without a merge, the task fails without further tries.

    XCom: ``status`` (``merged`` or ``closed``), and ``commit_id``, the merge commit.

    Args:
        repo: the repository's id (templated).
        pull_request: the pull request's id (templated).
        closed_counts: a pull request that is closed without a merge ends the wait, too.
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait until somebody has approved the data::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSPullRequestSensor(
                    task_id="approved", pull_request="{{ ti.xcom_pull('open') }}", deferrable=True, timeout=86400
                )
    """

    template_fields = (*LakeFSSensor.template_fields, "repo", "pull_request")
    operator_extra_links = (LakeFSPullRequestLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        pull_request: Templated[str] = REQUIRED,
        closed_counts: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.pull_request = as_rendered(pull_request)
        self.closed_counts = closed_counts

    def condition(self) -> PullRequestEnded:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import PullRequestEnded

        return PullRequestEnded(repository=self.repo, pull_request=self.pull_request, closed_counts=self.closed_counts)

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the pull request."""
        LakeFSPullRequestLink().push(context, self.hook.get_conn().links.pull(self.repo, self.pull_request))
