"""The sensor that waits for an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSObjectLink
from airflow_provider.sensors.base import LakeFSSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.flows.conditions import ObjectExists


class LakeFSFileSensor(LakeFSSensor):
    """Wait until an object exists, committed or uncommitted.

    If the branch or the repository does not exist yet, the sensor waits for it, too.

    XCom: ``checksum``, ``size_bytes`` and ``mtime`` of the object.

    Args:
        repo: the repository's id (templated).
        branch: the branch, or any other ref (templated).
        path: the object's path (templated).
        lakefs_conn_id: the connection's id.
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait until another run has written its success marker::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSFileSensor(task_id="complete", branch="main", path="daily/{{ ds }}/_SUCCESS", deferrable=True)
    """

    template_fields = ("repo", "branch", "path")
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(self, *, repo: str, branch: str, path: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch
        self.path = path

    def condition(self) -> ObjectExists:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import ObjectExists

        return ObjectExists(repository=self.repo, ref=self.branch, path=self.path)

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the object."""
        links = self.hook.get_conn().links
        LakeFSObjectLink().push(context, links.objects(self.repo, self.branch, self.path))
