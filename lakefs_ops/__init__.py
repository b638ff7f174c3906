"""lakeFS for data pipelines: a typed client, pipeline verbs, and an embedded lakeFS to test on.

Names load on first use, so ``import lakefs_ops`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.config import Config, Retries, Timeouts
    from lakefs_ops.errors import LakeFSError
    from lakefs_ops.uri import LakeFSURI

__version__ = "0.1.0"

__all__ = ["Config", "LakeFSClient", "LakeFSError", "LakeFSURI", "Retries", "Timeouts", "__version__"]

_HOME = {
    "Config": "config",
    "LakeFSClient": "client",
    "LakeFSError": "errors",
    "LakeFSURI": "uri",
    "Retries": "config",
    "Timeouts": "config",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"lakefs_ops.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
