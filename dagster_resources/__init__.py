"""The Dagster integration for lakeFS.

Names load on first use, so importing the package does not import Dagster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_resources.publish import RunBranch
    from dagster_resources.resource import LakeFSResource

__all__ = ["LakeFSResource", "RunBranch"]

_HOME = {"LakeFSResource": "resource", "RunBranch": "publish"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"dagster_resources.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
