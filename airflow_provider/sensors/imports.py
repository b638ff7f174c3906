"""The sensor that waits for an import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink
from airflow_provider.rendering import REQUIRED, as_rendered
from airflow_provider.sensors.base import LakeFSSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.flows.conditions import ImportDone


class LakeFSImportSensor(LakeFSSensor):
    """Wait until an import has created its commit.

    If the import has failed, or the lakeFS server that ran it has died, the task fails without further tries.

    XCom: ``commit_id`` and ``ingested_objects``, the number of imported objects.

    Args:
        repo: the repository's id (templated).
        branch: the branch to which the objects are imported (templated).
        import_id: the import's id (templated).
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait for an import that another task has started::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSImportSensor(
                    task_id="imported", branch="main", import_id="{{ ti.xcom_pull('start') }}", deferrable=True
                )
    """

    template_fields = (*LakeFSSensor.template_fields, "repo", "branch", "import_id")
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        import_id: Templated[str] = REQUIRED,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.import_id = as_rendered(import_id)

    def condition(self) -> ImportDone:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import ImportDone

        return ImportDone(repository=self.repo, branch=self.branch, id=self.import_id)

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the branch's log, and later to the import's commit."""
        links = self.hook.get_conn().links
        commit_id = found.get("commit_id") if found else None
        url = links.commit(self.repo, commit_id) if commit_id else links.commits(self.repo, self.branch)
        LakeFSCommitLink().push(context, url)
