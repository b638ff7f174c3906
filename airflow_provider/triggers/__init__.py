"""Triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.lazy import names_from

if TYPE_CHECKING:
    from airflow_provider.triggers.lakefs import LakeFSConditionTrigger

__all__ = ["LakeFSConditionTrigger"]

__getattr__ = names_from(__name__, {"LakeFSConditionTrigger": "lakefs"})
