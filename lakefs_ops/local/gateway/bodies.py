"""Bodies of requests: plain, in chunks with signatures, in chunks with a checksum after them.

A body is decoded and verified piece by piece while it is written to its destination, which is dropped if the body turns
out to be wrong.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import anycrc  # type: ignore[import-untyped]

from lakefs_ops.local.gateway import errors
from lakefs_ops.local.gateway.errors import S3Error
from lakefs_ops.local.gateway.signature import EMPTY_SHA256, STREAMING, STREAMING_TRAILER, UNSIGNED, Scope

MAX_LINE = 4096
"""Longest line between chunks, in bytes."""

_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")
_SHA256 = re.compile(r"(?:[0-9a-fA-F]{2})*")
_LENGTH = re.compile(r"[+-]?\d{1,18}", re.ASCII)

Bytes = bytes | bytearray | memoryview


class Destination(Protocol):
    """Where the bytes of a body go."""

    def write(self, chunk: Bytes, /) -> object:
        """Append bytes."""


class Buffer(bytearray):
    """A body in memory, of limited size.

    Args:
        limit: the largest size, in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, chunk: Bytes, /) -> None:
        """Append bytes.

        Raises:
            S3Error: the body is too large.
        """
        if len(self) + len(chunk) > self._limit:
            raise S3Error(errors.MALFORMED_XML)
        self += chunk


class Plain:
    """A body as it is.

    Args:
        destination: where its bytes go.
        sha256: the SHA-256 that it must have, in hexadecimal; None if it is not signed.
    """

    def __init__(self, destination: Destination, sha256: str | None = None) -> None:
        self._destination = destination
        self._expected = sha256
        self._digest = hashlib.sha256()

    def feed(self, data: Bytes) -> None:
        """Take what has arrived."""
        if self._expected is not None:
            self._digest.update(data)
        self._destination.write(data)

    def finish(self) -> None:
        """Check the whole body.

        Raises:
            S3Error: it is not the body that was signed.
        """
        if self._expected is not None and not hmac.compare_digest(self._digest.hexdigest(), self._expected.lower()):
            raise S3Error(errors.CONTENT_SHA256_MISMATCH)


class Chunked:
    """A body in the chunks of ``aws-chunked``.

    Args:
        destination: where its bytes go.
        scope: verifies the signature of each chunk; None for chunks without signatures.
        trailer: the name of the checksum after the chunks, None without one.
    """

    def __init__(self, destination: Destination, scope: Scope | None, trailer: str | None) -> None:
        self._destination = destination
        self._scope = scope
        self._previous = scope.signature if scope else ""
        self._signature = b""
        self._digest = hashlib.sha256()
        self._trailer = trailer
        self._checksum = _CHECKSUMS[trailer]() if trailer else None
        self._sent = ""
        self._line = bytearray()
        self._left = 0
        self._take: Callable[[bytes], None] = self._start

    def feed(self, data: Bytes) -> None:
        """Take what has arrived.

        Raises:
            S3Error: a chunk is malformed, or its signature does not match.
        """
        view, at = memoryview(data), 0
        while at < len(data):
            if self._left:
                piece = view[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._write(piece)
                continue
            start = bytes(view[at : at + MAX_LINE])
            end = start.find(b"\n") + 1 or len(start)
            if len(self._line) + end > MAX_LINE:
                raise S3Error(errors.INVALID_CHUNK)
            self._line += start[:end]
            at += end
            if self._line.endswith(b"\n"):
                line = bytes(self._line)
                self._line.clear()
                self._take(line)

    def finish(self) -> None:
        """Check the whole body.

        Raises:
            S3Error: it ends too early, or its checksum does not match.
        """
        if self._take != (self._tail if self._trailer is None else self._after):
            raise S3Error(errors.INCOMPLETE_BODY)
        if self._line:
            self._take(bytes(self._line))
        if self._checksum is not None:
            value = base64.b64encode(self._checksum.digest()).decode()
            if not hmac.compare_digest(f"{self._trailer}:{value}".encode(), self._sent.encode("utf-8", "replace")):
                raise S3Error(errors.BAD_DIGEST)

    def _write(self, piece: memoryview) -> None:
        if self._scope is not None:
            self._digest.update(piece)
        if self._checksum is not None:
            self._checksum.update(piece)
        self._destination.write(piece)

    def _start(self, line: bytes) -> None:
        """Read the line before a chunk."""
        found = _SIZE.fullmatch(line.rstrip())
        if found is None or (self._scope is not None and not found[2]):
            raise S3Error(errors.INVALID_CHUNK)
        self._left, self._signature = int(found[1], 16), found[2] or b""
        self._take = self._end
        if not self._left:
            self._verify()
            self._take = self._tail

    def _end(self, line: bytes) -> None:
        """Read the line end after a chunk."""
        if line != b"\r\n":
            raise S3Error(errors.INVALID_CHUNK)
        self._verify()
        self._take = self._start

    def _tail(self, line: bytes) -> None:
        """Read a line after the last chunk: the checksum, or the empty line that ends the body."""
        if self._trailer is None or self._sent:
            self._after(line)
        if self._trailer is None:
            return  # lakeFS does not require the empty line then
        if line == b"\r\n":
            self._take = self._after
        else:
            self._sent = line.decode("latin-1").removesuffix("\r\n")

    def _after(self, line: bytes) -> None:
        """Refuse text after the end."""
        if line.strip():
            raise S3Error(errors.INVALID_CHUNK)

    def _verify(self) -> None:
        if self._scope is None:
            return
        digest = self._digest.hexdigest() if self._left or self._take == self._end else EMPTY_SHA256
        expected = self._scope.chunk(self._previous, digest)
        if not hmac.compare_digest(expected.encode(), self._signature):
            raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH)
        self._previous = expected
        self._digest = hashlib.sha256()


class _Crc:
    """A CRC with the interface of ``hashlib``."""

    def __init__(self, calculate: Callable[[Any, int], int], length: int) -> None:
        self._calculate = calculate
        self._length = length
        self._value = 0

    def update(self, data: Bytes) -> None:
        self._value = self._calculate(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._length, "big")


def _crc(model: str, length: int) -> Callable[[], _Crc]:
    calculate = anycrc.Model(model).calc
    return lambda: _Crc(calculate, length)


_CHECKSUMS: Mapping[str, Callable[[], Any]] = {
    "x-amz-checksum-crc32": lambda: _Crc(zlib.crc32, 4),
    "x-amz-checksum-crc32c": _crc("CRC32-ISCSI", 4),
    "x-amz-checksum-crc64nvme": _crc("CRC64-NVME", 8),
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
}
"""The checksums that may follow the chunks."""

Decoder = Plain | Chunked


def decoder(destination: Destination, payload: str, headers: Mapping[str, str], scope: Scope | None) -> Decoder:
    """Return the decoder of a body; call it before the body arrives, for the refusals that need only its headers.

    Args:
        destination: where the bytes go.
        payload: the declared hash of the body, or how it is signed instead.
        headers: the headers, names in lower case.
        scope: the verified signature of version 4; None for other requests, whose body is not signed.

    Raises:
        S3Error: the headers do not describe the body.
    """
    if scope is None:
        return Plain(destination)
    kind = payload.upper()
    if kind in (STREAMING, STREAMING_TRAILER):
        trailer = headers.get("x-amz-trailer", "").lower() if kind == STREAMING_TRAILER else None
        if trailer is not None and trailer not in _CHECKSUMS:
            raise S3Error(errors.ACCESS_DENIED)
        length = headers.get("x-amz-decoded-content-length")
        if length == "":
            raise S3Error(errors.MISSING_CONTENT_LENGTH)
        if length is not None and not _LENGTH.fullmatch(length):
            raise S3Error(errors.ACCESS_DENIED)
        return Chunked(destination, scope if kind == STREAMING else None, trailer)
    if kind == UNSIGNED:
        return Plain(destination)
    if not _SHA256.fullmatch(payload):
        raise S3Error(errors.ACCESS_DENIED)
    return Plain(destination, payload)
