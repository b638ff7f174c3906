"""Sensors: one for each condition of `lakefs_ops.flows.conditions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider.sensors.actions import LakeFSActionRunSensor
    from airflow_provider.sensors.branches import LakeFSBranchSensor
    from airflow_provider.sensors.commits import LakeFSCommitMatchSensor, LakeFSCommitSensor
    from airflow_provider.sensors.imports import LakeFSImportSensor
    from airflow_provider.sensors.merges import LakeFSMergedSensor
    from airflow_provider.sensors.objects import LakeFSFileSensor, LakeFSPrefixSensor, LakeFSPrefixUnchangedSensor
    from airflow_provider.sensors.pulls import LakeFSPullRequestSensor
    from airflow_provider.sensors.tags import LakeFSTagSensor

__all__ = [
    "LakeFSActionRunSensor",
    "LakeFSBranchSensor",
    "LakeFSCommitMatchSensor",
    "LakeFSCommitSensor",
    "LakeFSFileSensor",
    "LakeFSImportSensor",
    "LakeFSMergedSensor",
    "LakeFSPrefixSensor",
    "LakeFSPrefixUnchangedSensor",
    "LakeFSPullRequestSensor",
    "LakeFSTagSensor",
]

__getattr__ = lazy_names(
    __name__,
    {
        "LakeFSActionRunSensor": "actions",
        "LakeFSBranchSensor": "branches",
        "LakeFSCommitMatchSensor": "commits",
        "LakeFSCommitSensor": "commits",
        "LakeFSFileSensor": "objects",
        "LakeFSImportSensor": "imports",
        "LakeFSMergedSensor": "merges",
        "LakeFSPrefixSensor": "objects",
        "LakeFSPrefixUnchangedSensor": "objects",
        "LakeFSPullRequestSensor": "pulls",
        "LakeFSTagSensor": "tags",
    },
)
