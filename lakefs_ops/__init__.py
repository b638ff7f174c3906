"""lakeFS for data pipelines: a typed client, pipeline verbs, and an embedded lakeFS server for tests.

Names are imported on first use, so ``import lakefs_ops`` is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names
from lakefs_ops.version import __version__

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.config import Config, Retries, Timeouts
    from lakefs_ops.errors import LakeFSError
    from lakefs_ops.uri import LakeFSURI

__all__ = ["Config", "LakeFSClient", "LakeFSError", "LakeFSURI", "Retries", "Timeouts", "__version__"]

_HOME = {
    "Config": "config",
    "LakeFSClient": "client",
    "LakeFSError": "errors",
    "LakeFSURI": "uri",
    "Retries": "config",
    "Timeouts": "config",
}


__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted(__all__)
