"""Task groups for lakeFS: write, audit, publish around the tasks of a DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider.taskgroups.audits import audit
    from airflow_provider.taskgroups.publish import LakeFSPublishTaskGroup, lakefs_publish

__all__ = ["LakeFSPublishTaskGroup", "audit", "lakefs_publish"]

__getattr__ = lazy_names(
    __name__,
    {
        "LakeFSPublishTaskGroup": "publish",
        "audit": "audits",
        "lakefs_publish": "publish",
    },
)
