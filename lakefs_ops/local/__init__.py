"""An embedded lakeFS for development and tests: real branches, commits and merges, with the answers of lakeFS 1.84.

It shares no code with the client, so a bug in one cannot hide in the other. It needs the extra ``local``.
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
