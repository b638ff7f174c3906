"""Receives the bytes of an upload, raw or as a form, straight into a file."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from typing import Any

from lakefs_ops.local.errors import Invalid, Refusal
from lakefs_ops.local.http import Request
from lakefs_ops.local.store.blobs import Incoming

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(r';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:([^\s;"]+)|"((?:[^"\\]|\\.)*)")')
LINE = 4096
"""How long a line of a form may be, in bytes."""

INLINE = 1 << 16
"""Up to which size a body is written without another thread, in bytes."""

AT_ONCE = 1 << 19
"""How much of a larger one is written at once, while the next arrives, in bytes."""


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
    arrived = bytearray()
    writing: Awaitable[None] | None = None
    more = complete = True
    while more and complete:
        message = await receive()
        complete = message["type"] != "http.disconnect"
        more = message.get("more_body", False)
        if request.upload_problem is None:
            arrived += message.get("body", b"")
        if len(arrived) >= AT_ONCE:
            if writing is not None:
                await writing
            writing, arrived = loop.run_in_executor(pool, take, arrived), bytearray()
    if writing is not None:
        await writing
    if len(arrived) > INLINE:
        await loop.run_in_executor(pool, take, arrived)
    elif arrived:
        take(arrived)
    if not complete:
        request.upload_problem = Invalid("client hung up")
    if form is not None:
        if request.upload_problem is None:
            request.upload_problem = form.problem()
        request.upload_type = form.content_type
    elif kind:
        request.upload_type = kind


def _media_type(kind: str) -> tuple[str, dict[str, str]]:
    """Read a media type, or what a part of a form is, and its parameters.

    Raises:
        Refusal: it cannot be read; the texts are those of lakeFS 1.84 (recorded).
    """
    media, semicolon, rest = kind.partition(";")
    media = media.strip()
    first = _TOKEN.match(media)
    if first is None:
        raise Refusal("mime: no media type")
    second = media[first.end() :]
    if second and second[0] != "/":
        raise Refusal("mime: expected slash after first token")
    if second and not _TOKEN.fullmatch(second[1:]):
        known = _TOKEN.match(second[1:])
        raise Refusal(f"mime: {'unexpected content after media subtype' if known else 'expected token after slash'}")
    parameters: dict[str, str] = {}
    rest = (semicolon + rest).strip()
    while rest not in ("", ";"):
        found = _PARAMETER.match(rest)
        if found is None:
            raise Refusal("mime: invalid media parameter")
        name, plain, quoted = found.groups()
        if name.lower() in parameters:
            raise Refusal("mime: duplicate parameter name")
        parameters[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        rest = rest[found.end() :].lstrip()
    return media.lower(), parameters


class _Form:
    """Reads a multipart body piece by piece; the first part named ``content`` goes into the file, and ends it."""

    def __init__(self, boundary: bytes, incoming: Incoming) -> None:
        if not boundary:
            raise Refusal("no multipart boundary param in Content-Type")
        self._mark = b"--" + boundary
        self._newline = b"\r\n"
        self._buffer = b""
        self._incoming = incoming
        self._read = self._read_line
        self._head: list[str] = []
        self._parts = 0
        self._between = False  # whether a part was ended by an empty line
        self._fresh = False  # whether nothing of a part was read
        self._in_content = False
        self._ended = False
        self._problem: Refusal | None = None
        self.content_type: str | None = None

    def feed(self, chunk: bytes | bytearray) -> None:
        if not self._ended:
            self._buffer += chunk
            self._go_on(last=False)

    def problem(self) -> Refusal | None:
        """Return what is wrong with the whole body, or None."""
        self._go_on(last=True)
        return self._problem

    def _go_on(self, *, last: bool) -> None:
        while not self._ended and self._read(last):
            pass

    def _end(self, problem: Refusal | None) -> bool:
        self._ended, self._problem, self._buffer = True, problem, b""
        return False

    def _line(self, last: bool, cut: Refusal) -> bytes | None:
        """Take a line from the buffer; None when there is no whole one, which behind the last piece ends it."""
        line, newline, rest = self._buffer.partition(b"\n")
        if newline:
            self._buffer = rest
            return line + newline
        if last:
            self._end(cut)
        elif len(line) >= LINE:
            self._end(Refusal("multipart: NextPart: bufio: buffer full"))
        return None

    def _read_line(self, last: bool) -> bool:
        """Read a line between parts."""
        missing = Refusal("multipart upload missing key 'content': http: no such file")
        final = self._behind_mark(self._buffer, b"--") == b""
        line = self._line(last, missing if final else Refusal("multipart: NextPart: EOF"))
        if line is None:
            return False
        behind = self._behind_mark(line)
        if behind == b"\n" and not self._parts:
            self._newline = b"\n"
        if behind == self._newline:
            self._read, self._head, self._parts, self._between = self._read_head, [], self._parts + 1, False
        elif self._behind_mark(line, b"--") == self._newline:
            return self._end(missing)
        elif self._between:
            return self._end(Refusal(f"multipart: expecting a new Part; got line {_quoted(line)}"))
        elif line == self._newline:
            self._between = self._parts > 0
        elif self._parts:
            return self._end(Refusal(f"multipart: unexpected line in Next(): {_quoted(line)}"))
        return True

    def _behind_mark(self, line: bytes, more: bytes = b"") -> bytes | None:
        """Return what follows the mark in a line, without spaces; None when the line does not begin with it."""
        mark = self._mark + more
        return line[len(mark) :].lstrip(b" \t") if line.startswith(mark) else None

    def _read_head(self, last: bool) -> bool:
        """Read a line of a part's head."""
        line = self._line(last, Refusal("multipart upload missing key 'content': http: no such file"))
        if line is None:
            return False
        text = line.rstrip(b"\r\n").decode("utf-8", "replace")
        if not text:
            self._begin_part()
        elif text[0] in " \t" and self._head:
            self._head[-1] += f" {text.strip()}"
        elif ":" not in text:
            return self._end(Refusal(f"malformed MIME header: missing colon: {_quoted(text.encode())}"))
        else:
            self._head.append(text)
        return True

    def _begin_part(self) -> None:
        headers: dict[str, str] = {}
        for line in self._head:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), value.strip())
        try:
            kind, parameters = _media_type(headers.get("content-disposition", ""))
        except Refusal:
            kind, parameters = "", {}
        self._in_content = kind == "form-data" and parameters.get("name") == "content"
        if self._in_content:
            self.content_type = headers.get("content-type")
        self._read, self._fresh = self._read_part, True

    def _read_part(self, last: bool) -> bool:
        """Read what there is of a part."""
        if self._fresh:
            if len(self._buffer) < len(self._mark) + 2 and not last:
                return False
            self._fresh = False
            if self._buffer.startswith(self._mark) and self._ends_part(len(self._mark), last):
                return self._end_part(0)
        mark = self._newline + self._mark
        at = self._buffer.find(mark)
        while at >= 0:
            ends = self._ends_part(at + len(mark), last)
            if ends:
                return self._end_part(at)
            if ends is None:
                self._take(at)
                return False
            at = self._buffer.find(mark, at + 1)
        if last:
            cut = Invalid("unexpected EOF\nfailed to write to storage")
            return self._end(cut if self._in_content else Refusal("multipart: NextPart: EOF"))
        self._take(max(0, len(self._buffer) - len(mark) + 1))
        return False

    def _ends_part(self, behind: int, last: bool) -> bool | None:
        """Whether what follows a mark makes it one; None when that is not known yet."""
        after = self._buffer[behind : behind + 2]
        if after in (b"", b"-") and not last:
            return None
        return after in (b"", b"--") or after[:1] in (b" ", b"\t", b"\r", b"\n")

    def _end_part(self, at: int) -> bool:
        self._take(at)
        if self._in_content:
            return self._end(None)
        self._read = self._read_line
        return True

    def _take(self, length: int) -> None:
        if self._in_content:
            self._incoming.write(self._buffer[:length])
        self._buffer = self._buffer[length:]


def _quoted(line: bytes) -> str:
    return json.dumps(line.decode("utf-8", "replace"), ensure_ascii=False)
