"""The sensor that waits for an action run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSActionRunLink, LakeFSCommitLink
from airflow_provider.rendering import REQUIRED, as_rendered
from airflow_provider.sensors.base import LakeFSSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.flows.conditions import ActionRunDone


class LakeFSActionRunSensor(LakeFSSensor):
    """Wait until the actions for a commit have completed.

    If the actions have failed, the task fails without further tries.

    XCom: ``{"run_id": ...}``, the id of the action run.

    Args:
        repo: the repository's id (templated).
        commit_id: the commit that the actions run for (templated).
        event_type: the event that the actions run on, such as ``post-commit`` or ``post-merge`` (templated).
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait for the hooks that run after a merge::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSActionRunSensor(
                    task_id="exported", commit_id="{{ ti.xcom_pull('publish') }}", event_type="post-merge"
                )
    """

    template_fields = (*LakeFSSensor.template_fields, "repo", "commit_id", "event_type")
    operator_extra_links = (LakeFSActionRunLink(), LakeFSCommitLink())

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        commit_id: Templated[str] = REQUIRED,
        event_type: Templated[str] = REQUIRED,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.commit_id = as_rendered(commit_id)
        self.event_type = as_rendered(event_type)

    def condition(self) -> ActionRunDone:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import ActionRunDone

        return ActionRunDone(repository=self.repo, commit_id=self.commit_id, event_type=self.event_type)

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the commit, and later to the action run."""
        links = self.hook.get_conn().links
        LakeFSCommitLink().push(context, links.commit(self.repo, self.commit_id))
        if found:
            LakeFSActionRunLink().push(context, links.action_run(self.repo, found["run_id"]))
