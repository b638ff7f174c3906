"""Request bodies that are streamed: sent in blocks, and sent again if the source can be rewound."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from lakefs_ops.call import Body
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.sources import measure, require_bytes

SEND_SIZE = 1 << 20
"""Bytes per block of a streamed body. Smaller bodies in memory are not streamed."""


class StreamedBody:
    """A file or an iterable of bytes as a request body.

    Attributes:
        length: the number of bytes, None if the source cannot report it.
        failure: the exception that the source raised. The HTTP library would report an error of the disk as one of
            the connection.
    """

    def __init__(self, source: Any) -> None:
        self._source, self._started = source, False
        self.failure: Exception | None = None
        self._position, self.length = measure(source)

    def rewind(self) -> bool:
        """Return to the start; return whether that was possible."""
        if self._started and self._position is not None:
            self._source.seek(self._position)
            self._started = False
        return not self._started

    def __iter__(self) -> Iterator[bytes | memoryview]:
        self._started = True
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
            self.failure = InvalidArgument(
                f"the file became shorter while it was sent: {left} bytes are missing; upload it again"
            )
            raise self.failure

    def _blocks(self) -> Iterator[bytes | memoryview]:
        if hasattr(self._source, "readinto"):
            # All blocks share one buffer: each is sent before the next is read.
            buffer = memoryview(bytearray(SEND_SIZE if self.length is None else min(SEND_SIZE, self.length) or 1))
            while count := self._source.readinto(buffer):
                yield buffer[:count]
        elif hasattr(self._source, "read"):
            while block := self._source.read(SEND_SIZE):
                yield require_bytes(block)
        else:
            for block in self._source:
                yield require_bytes(block)


def prepare_body(body: Body) -> bytes | StreamedBody | None:
    """Return a call's body as it is sent. Large bytes are streamed too, so that no single send takes long.

    Raises:
        InvalidArgument: the body is not bytes, a file or an iterable.
    """
    if body is None or (isinstance(body, bytes) and len(body) <= SEND_SIZE):
        return body
    if isinstance(body, bytes | bytearray | memoryview):
        return StreamedBody(io.BytesIO(body))
    if isinstance(body, str) or not (hasattr(body, "read") or hasattr(body, "__iter__")):
        raise InvalidArgument(
            "a body must be bytes, a file opened in binary mode, or an iterator of bytes;"
            f" got {'text' if isinstance(body, str) else type(body).__name__}"
        )
    return StreamedBody(body)
