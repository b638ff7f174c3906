"""Notifications about publications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider.notifications.lakefs import LakeFSNotifier

__all__ = ["LakeFSNotifier"]

__getattr__ = lazy_names(__name__, {"LakeFSNotifier": "lakefs"})
