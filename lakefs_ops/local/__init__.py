"""A lakeFS to try and to test on: it keeps real branches, commits and merges, and answers as lakeFS 1.84 does.

It shares no code with the client, so that a bug of one cannot hide in the other. It needs the extra ``local``.
"""

from __future__ import annotations

try:
    from lakefs_ops.local.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY
    from lakefs_ops.local.server import LocalLakeFS
except ModuleNotFoundError as missing:
    if missing.name not in ("starlette", "uvicorn"):
        raise
    raise ImportError(
        f"the embedded lakeFS needs {missing.name}: pip install 'lakefs-ops[local]'", name=missing.name
    ) from None

__all__ = ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "LocalLakeFS"]
