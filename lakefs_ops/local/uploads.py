"""Receives the bytes of an upload, raw or as a form, straight into a file."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from email.message import Message as Headers
from typing import Any

from lakefs_ops.local.errors import Invalid, Refusal
from lakefs_ops.local.http import Request
from lakefs_ops.local.store.blobs import Incoming

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(r';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:([^\s;"]+)|"((?:[^"\\]|\\.)*)")')
INLINE = 1 << 16
"""Up to which size a chunk is written without another thread, in bytes."""


async def receive_upload(request: Request, receive: Receive, pool: Executor) -> None:
    """Receive a whole upload into a file that nothing refers to yet.

    The request gets `upload` and `upload_type`, or `upload_problem` when the body cannot be read; lakeFS says so only
    after other refusals.
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
    loop = asyncio.get_running_loop()
    take = incoming.write if form is None else form.feed
    complete = False
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        if chunk and request.upload_problem is None:
            try:
                if len(chunk) > INLINE:
                    await loop.run_in_executor(pool, take, chunk)
                else:
                    take(chunk)
            except Refusal as problem:
                request.upload_problem = problem
        if not message.get("more_body", False):
            complete = True
            break
    if not complete:
        request.upload_problem = Invalid("client hung up")
    if form is not None:
        if request.upload_problem is None:
            request.upload_problem = form.problem()
        request.upload_type = form.content_type
    elif kind:
        request.upload_type = kind


def _media_type(kind: str) -> tuple[str, dict[str, str]]:
    """Read a media type and its parameters.

    Raises:
        Refusal: it cannot be read; the texts are those of lakeFS 1.84 (recorded).
    """
    media, semicolon, rest = kind.partition(";")
    first, slash, second = media.strip().partition("/")
    if not first:
        raise Refusal("mime: no media type")
    if not _TOKEN.fullmatch(first):
        raise Refusal("mime: expected slash after first token")
    if slash and not _TOKEN.fullmatch(second):
        raise Refusal("mime: unexpected content after media subtype" if second else "mime: expected token after slash")
    parameters: dict[str, str] = {}
    rest = (semicolon + rest).strip()
    while rest not in ("", ";"):
        found = _PARAMETER.match(rest)
        if found is None:
            raise Refusal("mime: invalid media parameter")
        name, plain, quoted = found.groups()
        parameters[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        rest = rest[found.end() :].lstrip()
    return media.strip().lower(), parameters


class _Form:
    """Reads a multipart body piece by piece; the first part named ``content`` goes into the file."""

    def __init__(self, boundary: bytes, incoming: Incoming) -> None:
        if not boundary:
            raise Refusal("no multipart boundary param in Content-Type")
        self._mark = b"\r\n--" + boundary
        self._buffer = b"\r\n"
        self._incoming = incoming
        self._in_part = False
        self._in_content = False
        self._any_part = False
        self._found = False
        self._ended = False
        self.content_type: str | None = None

    def feed(self, chunk: bytes) -> None:
        self._buffer += chunk
        while not self._ended and self._step():
            pass

    def _step(self) -> bool:
        """Do what the buffer allows; return whether more may be possible."""
        if self._in_part:
            at = self._buffer.find(self._mark)
            keep = len(self._mark) + 4
            if at < 0:
                ready, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
                if self._in_content:
                    self._incoming.write(ready)
                return False
            if self._in_content:
                self._incoming.write(self._buffer[:at])
            self._buffer = self._buffer[at:]
            self._in_part = self._in_content = False
            return True
        at = self._buffer.find(self._mark)
        if at < 0:
            return False
        rest = self._buffer[at + len(self._mark) :]
        if len(rest) < 2:
            return False
        if rest.startswith(b"--"):
            self._any_part = self._ended = True
            return False
        end = rest.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._begin_part(rest[:end])
        self._buffer = rest[end + 4 :]
        return True

    def _begin_part(self, head: bytes) -> None:
        headers = Headers()
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip()] = value.strip()
        self._in_part = self._any_part = True
        disposition = headers.get("Content-Disposition", "")
        named = headers.get_param("name", header="content-disposition")
        if not self._found and disposition.lower().startswith("form-data") and named == "content":
            self._found = self._in_content = True
            self.content_type = headers.get("Content-Type")

    def problem(self) -> Refusal | None:
        """Return what is wrong with the whole body, or None."""
        if self._ended and self._found:
            return None
        if self._in_content:
            return Invalid("unexpected EOF\nfailed to write to storage")
        if not self._any_part:
            return Refusal("multipart: NextPart: EOF")
        return Refusal("multipart upload missing key 'content': http: no such file")
