"""Sources of uploads: how many bytes a file still has, and whether it yields bytes."""

from __future__ import annotations

import io
from typing import Any

from lakefs_ops.errors import InvalidArgument


def measure(source: Any) -> tuple[int | None, int | None]:
    """Return a file's position and the number of bytes from there to its end; Nones if it cannot seek."""
    try:
        start = source.tell()
        end = source.seek(0, io.SEEK_END)
        source.seek(start)
    except (AttributeError, OSError, ValueError):
        return None, None
    return (start, max(0, end - start)) if isinstance(start, int) and isinstance(end, int) else (None, None)


def require_bytes(block: Any) -> bytes:
    """Return a block that was read from a source.

    Raises:
        InvalidArgument: the source yields something else than bytes, such as text.
    """
    if not isinstance(block, bytes | bytearray | memoryview):
        raise InvalidArgument(
            f"the content must consist of bytes, got {type(block).__name__}; open files in binary mode"
        )
    return bytes(block)
