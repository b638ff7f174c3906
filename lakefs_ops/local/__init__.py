"""An embedded lakeFS for development and tests: real branches, commits and merges, with the answers of lakeFS 1.84.

It shares no code with the client, so a bug in one cannot hide in the other. It needs the extra ``local``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakefs_ops.local.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY
    from lakefs_ops.local.server import LocalLakeFS

__all__ = ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "LocalLakeFS"]


def __getattr__(name: str) -> Any:
    """Import the server on first use: the process of a Lua hook needs only a few modules."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from lakefs_ops.local import identity, server
    except ModuleNotFoundError as missing:
        if missing.name not in ("re2", "starlette", "uvicorn"):
            raise
        raise ImportError(
            f"the embedded lakeFS needs {missing.name}: pip install 'lakefs-ops[local]'", name=missing.name
        ) from None
    return getattr(server if name == "LocalLakeFS" else identity, name)
