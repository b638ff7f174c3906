"""Hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider.hooks.lakefs import LakeFSHook

__all__ = ["LakeFSHook"]

__getattr__ = lazy_names(__name__, {"LakeFSHook": "lakefs"})
