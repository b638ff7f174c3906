"""Checksums of transferred bytes: MD5, where both sides have one."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.transfer.workers import PART_SIZE

if TYPE_CHECKING:
    from lakefs_ops.api.common import ObjectStats
    from lakefs_ops.transfer.progress import Tracker

HASH_BUFFER_SIZE = 1 << 17
"""Bytes of a file read and hashed at once."""
BLOCK_SIZE = 1 << 19
"""Bytes that are transferred and hashed at once. An object of fewer bytes is hashed without a thread."""
MAX_QUEUED_BLOCKS = 4
"""Maximum number of blocks in the queue of a thread that hashes; the first is the one that it is hashing."""

PART_SIZES = (PART_SIZE, *(n << 20 for n in (8, 5, 32, 64)))
"""Part sizes in bytes that S3 clients use, the default of this package first."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_MULTIPART_ETAG = re.compile(r"[0-9a-f]{32}-(\d{1,5})")


class ChecksumMismatch(errors.LakeFSError):
    """The received bytes differ from the sent ones; they were discarded.

    Attributes:
        path: the object's path.
    """

    path: str


class Digest:
    """An MD5 that is computed in a thread while the caller transfers the next blocks; `hashlib` releases the GIL.

    Small objects need no thread. An error of the thread is raised by `update` or `hexdigest`. Must be closed.

    Example:
        >>> with contextlib.closing(Digest()) as digest:  # doctest: +SKIP
        ...     while block := file.read(1 << 20):
        ...         digest.update(block)
        ...         connection.send(block)
        ...     digest.hexdigest()
    """

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._thread: ThreadPoolExecutor | None = None
        self._queued: deque[Future[None]] = deque()

    @property
    def full(self) -> bool:
        """Whether the next `update` has to wait."""
        return len(self._queued) == MAX_QUEUED_BLOCKS and not self._queued[0].done()

    def update(self, block: bytes) -> None:
        """Add a block; wait while `MAX_QUEUED_BLOCKS` blocks are not hashed yet."""
        if self._thread is None:
            if len(block) < BLOCK_SIZE:
                self._md5.update(block)
                return
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="lakefs-md5")
        if len(self._queued) == MAX_QUEUED_BLOCKS:
            self._queued[0].result()
            self._queued.popleft()
        self._queued.append(self._thread.submit(self._md5.update, block))

    def hexdigest(self) -> str:
        """Return the MD5 of all blocks, after waiting for them."""
        while self._queued:
            self._queued.popleft().result()
        return self._md5.hexdigest()

    def close(self) -> None:
        """Stop the thread, which completes at most the block that it is hashing."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)


def is_md5(checksum: str) -> bool:
    """Return whether a checksum looks like an MD5; multipart objects and some stores have other checksums."""
    return _MD5.fullmatch(checksum) is not None


def is_encrypted_etag(stats: ObjectStats, headers: Mapping[str, str]) -> bool:
    """Return whether an object's checksum is its store's ETag of encrypted bytes, which is not an MD5.

    S3 returns ETags that look like an MD5 but are not one for objects encrypted with a KMS or customer key.

    Args:
        stats: the object.
        headers: the headers of the store's response.
    """
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    encrypted = encrypted or "x-amz-server-side-encryption-customer-algorithm" in headers
    return encrypted and (headers.get("ETag") or "").strip('"') == stats.checksum


def same_content(file: Path, size: int, stats: ObjectStats, tracker: Tracker) -> bool:
    """Return whether a file and an object have the same size and checksum.

    The checksum is an MD5, or the ETag of an S3 multipart upload: the MD5 of the parts' MD5s, and the part count.
    """
    if size != stats.size_bytes:
        return False
    if is_md5(stats.checksum):
        return _md5(file, 0, size, tracker).hexdigest() == stats.checksum
    parts = _MULTIPART_ETAG.fullmatch(stats.checksum)
    if parts is None:
        return False
    count = int(parts[1])
    return any(
        _multipart_etag(file, size, part_size, tracker) == stats.checksum
        for part_size in PART_SIZES
        if -(-size // part_size) == count
    )


def _multipart_etag(file: Path, size: int, part_size: int, tracker: Tracker) -> str:
    parts = [_md5(file, start, part_size, tracker).digest() for start in range(0, size, part_size)]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _md5(file: Path, start: int, length: int, tracker: Tracker) -> hashlib._Hash:
    digest = hashlib.md5(usedforsecurity=False)
    buffer = memoryview(bytearray(HASH_BUFFER_SIZE))
    with file.open("rb", buffering=0) as opened:
        opened.seek(start)
        while count := opened.readinto(buffer[: min(length, HASH_BUFFER_SIZE)]):
            tracker.check()
            digest.update(buffer[:count])
            length -= count
    return digest


def mismatch(path: str, detail: str) -> ChecksumMismatch:
    """Return the error for an object whose received bytes differ from the sent ones."""
    return ChecksumMismatch(
        f"{path!r} was corrupted in transfer: {detail}; try again, or pass verify=False if the store's checksums are"
        " not MD5s",
        path=path,
    )
