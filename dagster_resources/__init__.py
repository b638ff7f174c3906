"""The Dagster integration for lakeFS.

Names are imported on first use, so importing the package does not import Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from dagster_resources.backfills import build_lakefs_backfill_sensor
    from dagster_resources.checks import build_lakefs_checks, lakefs_check
    from dagster_resources.definitions import build_lakefs_definitions
    from dagster_resources.io_manager import LakeFSIOManager
    from dagster_resources.partitions import LakeFSPartitions
    from dagster_resources.publish import RunBranch
    from dagster_resources.publish_asset import (
        build_lakefs_publish_asset,
        build_lakefs_publish_op,
        build_lakefs_unpublished_sensor,
    )
    from dagster_resources.resource import LakeFSResource
    from dagster_resources.sensors import (
        LakeFSChange,
        build_lakefs_commit_sensor,
        build_lakefs_object_sensor,
        build_lakefs_pull_request_sensor,
        build_lakefs_tag_sensor,
    )
    from dagster_resources.sources import build_lakefs_observable_source
    from dagster_resources.sweep import build_lakefs_sweeper
    from dagster_resources.webhooks import LakeFSWebhooks

__all__ = [
    "LakeFSChange",
    "LakeFSIOManager",
    "LakeFSPartitions",
    "LakeFSResource",
    "LakeFSWebhooks",
    "RunBranch",
    "build_lakefs_backfill_sensor",
    "build_lakefs_checks",
    "build_lakefs_commit_sensor",
    "build_lakefs_definitions",
    "build_lakefs_object_sensor",
    "build_lakefs_observable_source",
    "build_lakefs_publish_asset",
    "build_lakefs_publish_op",
    "build_lakefs_pull_request_sensor",
    "build_lakefs_sweeper",
    "build_lakefs_tag_sensor",
    "build_lakefs_unpublished_sensor",
    "lakefs_check",
]

_HOME = {
    "LakeFSChange": "sensors",
    "LakeFSIOManager": "io_manager",
    "LakeFSPartitions": "partitions",
    "LakeFSResource": "resource",
    "LakeFSWebhooks": "webhooks",
    "RunBranch": "publish",
    "build_lakefs_backfill_sensor": "backfills",
    "build_lakefs_checks": "checks",
    "build_lakefs_commit_sensor": "sensors",
    "build_lakefs_definitions": "definitions",
    "build_lakefs_object_sensor": "sensors",
    "build_lakefs_observable_source": "sources",
    "build_lakefs_publish_asset": "publish_asset",
    "build_lakefs_publish_op": "publish_asset",
    "build_lakefs_pull_request_sensor": "sensors",
    "build_lakefs_sweeper": "sweep",
    "build_lakefs_tag_sensor": "sensors",
    "build_lakefs_unpublished_sensor": "publish_asset",
    "lakefs_check": "checks",
}


__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted(__all__)
