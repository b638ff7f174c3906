"""Checksums of what is transferred: MD5, where both sides have one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.transfer.workers import PART_SIZE

if TYPE_CHECKING:
    from lakefs_ops.api.common import ObjectStats
    from lakefs_ops.transfer.progress import Tracker

CHUNK = 1 << 17
"""Bytes hashed at once."""
WORTH_A_THREAD = 1 << 19
"""Bytes from which on a block is hashed beside the work of the caller."""

PART_SIZES = (PART_SIZE, *(n << 20 for n in (8, 5, 32, 64)))
"""Bytes in a part as clients of S3 choose them, ours first."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_OF_PARTS = re.compile(r"[0-9a-f]{32}-(\d{1,5})")


class ChecksumMismatch(errors.LakeFSError):
    """What arrived is not what was sent; it was thrown away.

    Attributes:
        path: the object's path.
    """

    path: str


class Digest:
    """An MD5 that is computed while the caller goes on: `hashlib` lets other threads run meanwhile.

    A block that was handed in must stay as it is until `settle` has returned.
    """

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._thread: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None

    def update(self, block: bytes | memoryview) -> None:
        """Add a block."""
        self.settle()
        if len(block) < WORTH_A_THREAD:
            self._md5.update(block)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="lakefs-md5")
        self._last = self._thread.submit(self._md5.update, block)

    def settle(self) -> None:
        """Wait until all blocks are in."""
        if self._last is not None:
            self._last.result()
            self._last = None

    def hexdigest(self) -> str:
        """Return the MD5 of all blocks."""
        self.settle()
        return self._md5.hexdigest()

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown()


def is_md5(checksum: str) -> bool:
    """Return whether a checksum looks like an MD5; for an object in parts, and in some stores, it is something else."""
    return _MD5.fullmatch(checksum) is not None


def is_mere_etag(stats: ObjectStats, headers: Mapping[str, str]) -> bool:
    """Return whether an object's checksum is what its store calls it, and the store says that this is no MD5.

    S3 gives an ETag that looks like an MD5, and is none, to what it encrypts with a key of KMS or of the caller's.

    Args:
        stats: the object.
        headers: those of an answer of the store.
    """
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    encrypted = encrypted or "x-amz-server-side-encryption-customer-algorithm" in headers
    return encrypted and (headers.get("ETag") or "").strip('"') == stats.checksum


def equal(file: Path, size: int, stats: ObjectStats, tracker: Tracker) -> bool:
    """Return whether a file has an object's bytes, as far as size and checksum tell.

    The checksum is an MD5, or what S3 makes of an object in parts: the MD5 of the parts' MD5s, and their number.
    """
    if size != stats.size_bytes:
        return False
    if is_md5(stats.checksum):
        return _md5(file, 0, size, tracker).hexdigest() == stats.checksum
    parts = _OF_PARTS.fullmatch(stats.checksum)
    if parts is None:
        return False
    count = int(parts[1])
    return any(
        _of_parts(file, size, part_size, tracker) == stats.checksum
        for part_size in PART_SIZES
        if -(-size // part_size) == count
    )


def _of_parts(file: Path, size: int, part_size: int, tracker: Tracker) -> str:
    parts = [_md5(file, start, part_size, tracker).digest() for start in range(0, size, part_size)]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _md5(file: Path, start: int, length: int, tracker: Tracker) -> hashlib._Hash:
    digest = hashlib.md5(usedforsecurity=False)
    buffer = memoryview(bytearray(CHUNK))
    with file.open("rb", buffering=0) as opened:
        opened.seek(start)
        while count := opened.readinto(buffer[: min(length, CHUNK)]):
            tracker.check()
            digest.update(buffer[:count])
            length -= count
    return digest


def mismatch(path: str, why: str) -> ChecksumMismatch:
    """Return the error for an object that did not arrive as it was sent."""
    return ChecksumMismatch(
        f"{path!r} did not arrive as it was sent: {why}; try again, or pass verify=False if the store keeps something"
        " else than an MD5",
        path=path,
    )
