"""Sensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider.sensors.commits import LakeFSCommitSensor
    from airflow_provider.sensors.objects import LakeFSFileSensor

__all__ = ["LakeFSCommitSensor", "LakeFSFileSensor"]

__getattr__ = lazy_names(__name__, {"LakeFSCommitSensor": "commits", "LakeFSFileSensor": "objects"})
