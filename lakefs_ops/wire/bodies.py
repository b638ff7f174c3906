"""Bodies of requests that are streamed: measured, sent in blocks, and sent again where they can be rewound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lakefs_ops.call import Body
from lakefs_ops.errors import InvalidArgument

BLOCK = 1 << 20
"""Bytes sent at once."""


class StreamedBody:
    """A file or an iterator of bytes, on its way.

    Attributes:
        length: how many bytes it has, None when only sending it will tell.
        failure: what its source raised while it was read. The HTTP library would take an error of the disk for
            one of the connection.
    """

    def __init__(self, source: Any) -> None:
        self._source, self._touched = source, False
        self.failure: Exception | None = None
        self._start, self.length = _measure(source)

    def rewind(self) -> bool:
        """Return to the start; return whether that was possible."""
        if self._touched and self._start is not None:
            self._source.seek(self._start)
            self._touched = False
        return not self._touched

    def __iter__(self) -> Iterator[bytes | memoryview]:
        self._touched = True
        left = self.length
        try:
            for block in self._blocks():
                if left is not None:
                    block = block[:left]
                    left -= len(block)
                yield block
                if left == 0:
                    return
        except Exception as error:
            self.failure = error
            raise
        if left:
            self.failure = InvalidArgument(f"the file became shorter while it was sent: {left} bytes are missing")
            raise self.failure

    def _blocks(self) -> Iterator[bytes | memoryview]:
        if hasattr(self._source, "readinto"):
            # One buffer for all blocks: each is sent before the next is read.
            buffer = memoryview(bytearray(BLOCK if self.length is None else min(BLOCK, self.length) or 1))
            while count := self._source.readinto(buffer):
                yield buffer[:count]
        elif hasattr(self._source, "read"):
            while block := self._source.read(BLOCK):
                yield _bytes(block)
        else:
            for block in self._source:
                yield _bytes(block)


def prepare_body(body: Body) -> bytes | StreamedBody | None:
    """Return what to send for a call's body; large bytes are streamed too, so that no single send takes long."""
    if body is None or (isinstance(body, bytes) and len(body) <= BLOCK):
        return body
    if isinstance(body, bytes | bytearray | memoryview):
        return StreamedBody(_Slices(memoryview(body).cast("B")))
    if isinstance(body, str) or not (hasattr(body, "read") or hasattr(body, "__iter__")):
        raise InvalidArgument(
            "a body must be bytes, a file opened in binary mode, or an iterator of bytes;"
            f" got {'text' if isinstance(body, str) else type(body).__name__}"
        )
    return StreamedBody(body)


class _Slices:
    """Bytes in memory, in blocks that are not copied; may be gone through again."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def __len__(self) -> int:
        return len(self._view)

    def seek(self, _position: int) -> None:
        """Do nothing: each iteration begins at the start."""

    def __iter__(self) -> Iterator[memoryview]:
        for start in range(0, len(self._view), BLOCK):
            yield self._view[start : start + BLOCK]


def _measure(source: Any) -> tuple[int | None, int | None]:
    """Return where a source starts, None when it cannot be rewound, and its length, None when unknown."""
    if isinstance(source, _Slices):
        return 0, len(source)
    try:
        start = source.tell()
        end = source.seek(0, 2)
        source.seek(start)
    except (AttributeError, OSError, ValueError):
        return None, None
    return (start, max(0, end - start)) if isinstance(start, int) and isinstance(end, int) else (None, None)


def _bytes(block: Any) -> bytes:
    if not isinstance(block, bytes | bytearray | memoryview):
        raise InvalidArgument(f"a body must give bytes, got {type(block).__name__}; open files in binary mode")
    return bytes(block)
