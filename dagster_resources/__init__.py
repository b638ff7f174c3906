"""The Dagster integration for lakeFS.

Names are imported on first use, so importing the package does not import Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from dagster_resources.publish import RunBranch
    from dagster_resources.resource import LakeFSResource

__all__ = ["LakeFSResource", "RunBranch"]

_HOME = {"LakeFSResource": "resource", "RunBranch": "publish"}


__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted(__all__)
