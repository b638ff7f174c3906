"""Receives the bytes of an upload, raw or as a form, directly into a file."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from typing import Any, Protocol

from lakefs_ops.local.errors import Invalid, Refusal
from lakefs_ops.local.http import Request
from lakefs_ops.local.store.blobs import Incoming

Message = MutableMapping[str, Any]
Piece = bytes | memoryview
Take = Callable[[Piece], object]
"""Takes a piece of a body, one call at a time; it must not keep a memoryview, whose bytes change after the call."""

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(rf"{_WORD}(/{_WORD})?")
_PARAMETER = re.compile(rf';\s*({_WORD})\s*=\s*(?:([^\s;"]+)|"((?:[^"\\]|\\.)*)")')
_HEAD_END = re.compile(rb"\r?\n\r?\n")

LARGEST_HEAD = 1 << 16
"""Largest head of a form's part, in bytes."""

LARGEST_INLINE = 1 << 16
"""Largest body that is written on the event loop, in bytes."""

WRITE_SIZE = 1 << 20
"""Number of bytes that are written at a time while more arrive."""

CONNECTION = "connection"
"""Key of the `Connection` in the state of a request."""

LARGE = 1 << 20
"""Smallest body that a thread reads from the socket itself, in bytes."""

READ_SIZE = 1 << 18
"""Number of bytes that a thread reads at a time: they stay in the cache of the processor until they are written."""

TURN = 0.05
"""How long a thread reads from one socket before others may have it, in seconds."""

IDLE = 0.01
"""How long a thread waits for more bytes before others may have it, in seconds."""

MISSING = "multipart upload missing key 'content': http: no such file"


class Connection(Protocol):
    """A connection whose socket can be read without the server's event loop, which copies each byte several times.

    Attributes:
        detachable: whether that is possible.
    """

    detachable: bool

    def detach(self) -> socket.socket | None:
        """Stop reading, and return a socket to read from instead; None if the connection is closing."""

    def end_body(self, rest: bytes) -> None:
        """Continue with the next request after a body of which a part was read from the socket.

        Args:
            rest: what was received after the end of the body.
        """


class Receiver:
    """Receives the body of a request.

    Args:
        scope: the request in the terms of ASGI.
        receive: receives its messages.

    Attributes:
        unread: whether the client still waits for permission to send the body.
        large: number of bytes of a body that `receive_body` reads from the socket; 0 for another body.
        connection: the connection.
    """

    def __init__(self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Message]]) -> None:
        self._receive = receive
        headers = dict(scope["headers"])
        self.unread = b"expect" in headers
        self.connection: Connection = scope["state"][CONNECTION]
        length = int(headers.get(b"content-length", 0))
        self.large = length if length >= LARGE and self.connection.detachable else 0

    async def __call__(self) -> Message:
        """Return the next message."""
        self.unread = False
        return await self._receive()


async def receive_upload(request: Request, receive: Receiver, pool: Executor) -> None:
    """Receive a whole upload into a file that nothing refers to yet.

    Sets `upload` and `upload_type` of the request, or `upload_problem` if the body cannot be read; lakeFS reports that
    only after other refusals.
    """
    incoming = request.upload = request.lake.blobs.write()
    kind = request.headers.get("content-type", "")
    form: _Form | None = None
    try:
        if kind:
            media, parameters = _media_type(kind)
            if media == "multipart/form-data":
                form = _Form(parameters.get("boundary", "").encode("latin-1"), incoming)
    except Refusal as problem:
        request.upload_problem = problem
    if request.upload_problem is not None:
        complete = await receive_body(receive, _ignore, pool)
    else:
        complete = await receive_body(receive, incoming.write if form is None else form.feed, pool)
    if not complete:
        request.upload_problem = Invalid("client hung up")
    if form is not None:
        if request.upload_problem is None:
            request.upload_problem = form.finish()
        request.upload_type = form.content_type
    elif kind:
        request.upload_type = kind


def _ignore(_: Piece) -> None:
    pass


async def receive_body(receive: Receiver, take: Take, pool: Executor) -> bool:
    """Pass a body to a function, piece by piece, in a thread if it is large.

    Args:
        receive: receives the messages of the request.
        take: takes a piece.
        pool: the threads.

    Returns:
        Whether the body arrived completely.
    """
    if receive.large:
        return await _receive_large(receive, take, pool)
    loop = asyncio.get_running_loop()
    arrived: list[bytes] = []
    size = 0
    taking: Awaitable[None] | None = None
    more = complete = True
    while more and complete:
        message = await receive()
        complete = message["type"] != "http.disconnect"
        more = message.get("more_body", False)
        if piece := message.get("body", b""):
            arrived.append(piece)
            size += len(piece)
        if size >= WRITE_SIZE:
            if taking is not None:
                await taking
            taking, arrived, size = loop.run_in_executor(pool, _take_all, take, arrived), [], 0
    if taking is not None:
        await taking
    if size > LARGEST_INLINE:
        await loop.run_in_executor(pool, _take_all, take, arrived)
    else:
        _take_all(take, arrived)
    return complete


def _take_all(take: Take, pieces: list[bytes]) -> None:
    for piece in pieces:
        take(piece)


async def _receive_large(receive: Receiver, take: Take, pool: Executor) -> bool:
    """Receive a body in turns: wait on the event loop, then read in a thread as long as bytes arrive."""
    loop, connection = asyncio.get_running_loop(), receive.connection
    body = _LargeBody(take, receive.large)
    detached, rest = False, b""
    while body.left:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        piece, rest = message["body"][: body.left], message["body"][body.left :]
        source = connection.detach() if len(piece) < body.left else None
        if source is None:
            await loop.run_in_executor(pool, body.feed, piece)
            continue
        detached = True
        with source:
            await loop.run_in_executor(pool, body.read, piece, source)
    if detached:
        connection.end_body(rest)
    if body.problem is not None:
        raise body.problem
    return True


class _LargeBody:
    """A body of known size; after a problem its rest is read, but not taken, so that the connection can be used again.

    Attributes:
        left: number of bytes that have not arrived.
        problem: the error of the function that takes the pieces.
    """

    def __init__(self, take: Take, size: int) -> None:
        self._take = take
        self._buffer = memoryview(bytearray(READ_SIZE))
        self.left = size
        self.problem: Exception | None = None

    def feed(self, piece: Piece) -> None:
        """Take a piece."""
        self.left -= len(piece)
        try:
            self._take(piece)
        except Exception as problem:
            self.problem, self._take = problem, _ignore

    def read(self, piece: Piece, source: socket.socket) -> None:
        """Take a piece, and then what arrives at a socket, until it is idle or closed, or other work is due."""
        self.feed(piece)
        until = time.monotonic() + TURN
        source.settimeout(IDLE)
        while self.left and time.monotonic() < until:
            try:
                length = source.recv_into(self._buffer, min(self.left, READ_SIZE))
            except OSError:  # the event loop notices a broken connection, too
                return
            if not length:
                return
            self.feed(self._buffer[:length])


def _media_type(text: str) -> tuple[str, dict[str, str]]:
    """Parse a media type, or the disposition of a form's part, with its parameters.

    Raises:
        Refusal: the text is malformed.
    """
    media, semicolon, rest = text.partition(";")
    media = media.strip()
    if not _MEDIA_TYPE.fullmatch(media):
        start = _MEDIA_TYPE.match(media)
        raise Refusal(f"mime: {'expected slash after first token' if start else 'no media type'}")
    parameters: dict[str, str] = {}
    rest = (semicolon + rest).strip()
    while rest not in ("", ";"):
        found = _PARAMETER.match(rest)
        if found is None or found[1].lower() in parameters:
            raise Refusal("mime: invalid media parameter")
        name, plain, quoted = found.groups()
        parameters[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        rest = rest[found.end() :].lstrip()
    return media.lower(), parameters


class _Form:
    """Parses a multipart body piece by piece; the first part named ``content`` goes into the file.

    Attributes:
        content_type: the media type of that part, None without one.
    """

    def __init__(self, boundary: bytes, incoming: Incoming) -> None:
        if not boundary:
            raise Refusal("no multipart boundary param in Content-Type")
        self.content_type: str | None = None
        self._boundary = b"\n--" + boundary
        self._buffer = b"\n"  # the first boundary needs no line before it
        self._incoming = incoming
        self._in_head = self._in_content = self._at_start = self._done = False
        self._problem: Refusal | None = None

    def feed(self, chunk: Piece) -> None:
        """Parse what has arrived."""
        if not self._done:
            self._buffer += chunk
            while not self._done and (self._read_head() if self._in_head else self._read_part()):
                pass

    def finish(self) -> Refusal | None:
        """Parse the end of the body; return what is wrong with it, or None."""
        if not self._in_head:
            self.feed(b"\n")  # a last boundary needs no line end
        if not self._done and self._in_content:
            return Invalid("unexpected EOF\nfailed to write to storage")
        if not self._done:
            return Refusal(MISSING if self._in_head else "multipart: NextPart: EOF")
        return self._problem

    def _end(self, problem: Refusal | None) -> bool:
        self._done, self._problem, self._buffer = True, problem, b""
        return False

    def _read_head(self) -> bool:
        """Read the head of a part; return whether to continue."""
        end = _HEAD_END.search(self._buffer)
        if end is None:
            too_large = len(self._buffer) > LARGEST_HEAD
            return self._end(Refusal("multipart: head of a part is too large")) if too_large else False
        headers: dict[str, str] = {}
        text = self._buffer[: end.start()].decode("utf-8", "replace").strip("\r\n")
        for line in re.split(r"\r?\n(?![ \t])", text) if text else ():
            name, colon, value = line.partition(":")
            if not colon:
                return self._end(Refusal("multipart: malformed header of a part: missing colon"))
            headers.setdefault(name.strip().lower(), re.sub(r"\r?\n", "", value).strip())
        try:
            kind, parameters = _media_type(headers.get("content-disposition", ""))
        except Refusal:
            kind, parameters = "", {}
        if kind == "form-data" and parameters.get("name") == "content":
            self._in_content, self.content_type = True, headers.get("content-type")
        self._in_head, self._at_start = False, True
        self._buffer = self._buffer[end.end() - 1 :]  # the line end may belong to a boundary
        return True

    def _read_part(self) -> bool:
        """Read a part, or the text before the first one, up to a boundary; return whether to continue."""
        at = self._buffer.find(self._boundary)
        while at >= 0:
            after = self._buffer[at + len(self._boundary) :][:2]
            if len(after) < 2 and after != b"\n":
                break
            if after == b"--" or after[:1] in (b" ", b"\t", b"\r", b"\n"):
                rest = self._buffer[at + len(self._boundary) :]
                self._take(at - self._buffer.endswith(b"\r", 0, at))
                if self._in_content or after == b"--":
                    return self._end(None if self._in_content else Refusal(MISSING))
                self._in_head, self._buffer = True, rest.lstrip(b" \t")
                return True
            at = self._buffer.find(self._boundary, at + 1)
        self._take((at if at >= 0 else len(self._buffer) - len(self._boundary)) - 1)
        return False

    def _take(self, length: int) -> None:
        """Move bytes from the buffer into the file, or drop them outside of the content."""
        if length > 0:
            if self._in_content:
                self._incoming.write(self._buffer[self._at_start : length])  # without the line end of the head
            self._at_start, self._buffer = False, self._buffer[length:]
