"""Lazily loaded names of a package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a package that imports each name on first use.

    Args:
        package: the package's full name.
        homes: the submodule that defines each name.

    Example:
        >>> __getattr__ = lazy_names("lakefs_ops", {"LakeFSClient": "client"})
    """

    def load(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
