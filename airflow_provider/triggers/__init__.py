"""Triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider.triggers.commits import LakeFSCommitTrigger
    from airflow_provider.triggers.imports import LakeFSImportTrigger
    from airflow_provider.triggers.lakefs import LakeFSConditionTrigger

__all__ = ["LakeFSCommitTrigger", "LakeFSConditionTrigger", "LakeFSImportTrigger"]

__getattr__ = lazy_names(
    __name__,
    {"LakeFSCommitTrigger": "commits", "LakeFSConditionTrigger": "lakefs", "LakeFSImportTrigger": "imports"},
)
