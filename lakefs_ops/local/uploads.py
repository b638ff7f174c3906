"""Receives the bytes of an upload, raw or as a form, directly into a file."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from typing import Any

from lakefs_ops.local.errors import Invalid, Refusal
from lakefs_ops.local.http import Request
from lakefs_ops.local.store.blobs import Incoming

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

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

MISSING = "multipart upload missing key 'content': http: no such file"


async def receive_upload(request: Request, receive: Receive, pool: Executor) -> None:
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


def _ignore(_: bytes) -> None:
    pass


async def receive_body(receive: Receive, take: Callable[[bytes], None], pool: Executor) -> bool:
    """Pass a body to a function, piece by piece, in a thread if it is large.

    Args:
        receive: receives the messages of the request.
        take: takes a piece; one call at a time.
        pool: the threads.

    Returns:
        Whether the body arrived completely.
    """
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


def _take_all(take: Callable[[bytes], None], pieces: list[bytes]) -> None:
    for piece in pieces:
        take(piece)


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

    def feed(self, chunk: bytes | bytearray) -> None:
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
