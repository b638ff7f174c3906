"""Hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.lazy import names_from

if TYPE_CHECKING:
    from airflow_provider.hooks.lakefs import LakeFSHook

__all__ = ["LakeFSHook"]

__getattr__ = names_from(__name__, {"LakeFSHook": "lakefs"})
