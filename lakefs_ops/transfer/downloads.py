"""Objects to files: in parts, into a file beside the target, checked and renamed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.transfer import paths
from lakefs_ops.transfer.checksums import equal, is_md5, is_mere_etag, mismatch
from lakefs_ops.transfer.progress import Cancelled, OnProgress, Tracker
from lakefs_ops.transfer.streams import open_range
from lakefs_ops.transfer.workers import (
    PART_SIZE,
    PART_WORKERS,
    WORKERS,
    TreeResult,
    direct_store,
    each,
    tree_result,
    width,
)  # fmt: skip

if TYPE_CHECKING:
    from lakefs_ops.api.common import ObjectStats
    from lakefs_ops.client import LakeFSClient

CHUNK = 1 << 19
"""Bytes read at once by one worker."""


def download_file(
    client: LakeFSClient,
    repository: str,
    ref: str,
    path: str,
    target: str | os.PathLike[str],
    *,
    presign: bool | None = None,
    part_size: int = PART_SIZE,
    workers: int = PART_WORKERS,
    verify: bool = True,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> ObjectStats:
    """Read one object into a file; large ones in parts, several at a time.

    Args:
        client: the client.
        repository: the repository's id.
        ref: a branch (uncommitted changes included), tag, commit or expression.
        path: the object's path.
        target: the file; one that is there is replaced when all is well.
        presign: from the store directly; by default if the server offers it.
        part_size: in bytes; what a broken download need not read again.
        workers: parts at a time.
        verify: compare the checksum, if it looks like an MD5.
        progress: called after each block.
        cancel: set it from another thread to stop.

    Returns:
        What the server says of the object.

    Raises:
        ObjectNotFound: no such object at this ref.
        ChecksumMismatch: the bytes are not those of the checksum.
        Conflict: the object was written anew meanwhile.
        Cancelled: ``cancel`` was set; the target is as it was.
        InvalidArgument: the target is a directory.
        OSError: the file cannot be written.

    Example:
        >>> download_file(client, "lake", "main", "daily/2015-01.csv", "./2015-01.csv")  # doctest: +SKIP
    """
    if Path(target).is_dir():
        raise errors.InvalidArgument(f"{target} is a directory; name the file, or use download_tree")
    direct = direct_store(client, presign) is not None
    download = _Download(client, repository, ref, direct, part_size, workers, verify)
    stats = client.objects.stat(repository, ref, path)
    download.run(stats, Path(target), Tracker(progress, cancel, stats.size_bytes))
    return stats


def download_tree(
    client: LakeFSClient,
    repository: str,
    ref: str,
    prefix: str,
    target: str | os.PathLike[str],
    *,
    skip_equal: bool = True,
    case_sensitive: bool = False,
    presign: bool | None = None,
    part_size: int = PART_SIZE,
    workers: int = WORKERS,
    verify: bool = True,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> TreeResult:
    """Read all objects below a prefix into a directory. Files that are no objects stay.

    Args:
        client: the client.
        repository: the repository's id.
        ref: a branch (uncommitted changes included), tag, commit or expression.
        prefix: the folder to read; empty for all.
        target: the directory; made if need be.
        skip_equal: leave out files that are there already with the same size and checksum.
        case_sensitive: allow names that differ only in case; not every system keeps them apart.
        presign: from the store directly; by default if the server offers it.
        part_size: in bytes; what a broken download need not read again.
        workers: transfers at a time, at most as many as the client's pool has connections.
        verify: compare checksums that look like an MD5.
        progress: called after each block.
        cancel: set it from another thread to stop.

    Returns:
        What was transferred, and what was equal; both empty when there is nothing below the prefix.

    Raises:
        UnsafePath: an object's path cannot be a file below the directory (`lakefs_ops.transfer.paths`); nothing was
            written.
        Cancelled: ``cancel`` was set; files that were finished are there, others are as they were.

    Example:
        >>> download_tree(client, "lake", "main", "images/", "./images").bytes  # doctest: +SKIP
        1048576
    """
    base, prefix = Path(target), paths.folder(prefix)
    download = _Download(client, repository, ref, direct_store(client, presign) is not None, part_size, 1, verify)
    listed = {e.path: e for e in client.objects.list(repository, ref, prefix=prefix or None, user_metadata=False)}
    # Many tools write an empty object to stand for a directory.
    found = {path: entry for path, entry in listed.items() if not (path.endswith("/") and not entry.size_bytes)}
    planned = paths.plan(found, prefix, base, case_sensitive=case_sensitive)
    sizes = {path: entry.size_bytes or 0 for path, entry in found.items()}
    tracker = Tracker(progress, cancel, sum(sizes.values()), len(found))
    base.mkdir(parents=True, exist_ok=True)

    def one(path: str) -> bool:
        entry, file = found[path], planned[path]
        if skip_equal and file.is_file() and equal(file, file.stat().st_size, entry, tracker):
            tracker.moved(path, sizes[path])
            tracker.finished(path)
            return False
        download.run(entry, file, tracker)
        return True

    return tree_result(each(one, found, width(client, workers), tracker), sizes)


class _Download:
    """How objects are downloaded: in parts, into a file beside the target, which is then renamed.

    That file holds the object's bytes, and behind them a byte for each part that is complete, so whoever comes next
    knows what to ask for. Its name holds the checksum, so that parts of two versions never meet.
    """

    def __init__(
        self,
        client: LakeFSClient,
        repository: str,
        ref: str,
        presign: bool,
        part_size: int,
        workers: int,
        verify: bool,
    ) -> None:
        if part_size < 1 or workers < 1:
            raise errors.InvalidArgument("part_size and workers must be above 0")
        self._client, self._repository, self._ref = client, repository, ref
        self._presign, self._part_size, self._workers, self._verify = presign, part_size, workers, verify

    def run(self, stats: ObjectStats, target: Path, tracker: Tracker) -> None:
        """Download one object."""
        size = stats.size_bytes or 0
        count = -(-size // self._part_size)
        identity = f"{target.name}\n{stats.path}\n{stats.checksum}\n{size}\n{self._part_size}"
        target.parent.mkdir(parents=True, exist_ok=True)
        partial, handle = _open_partial(target, hashlib.sha256(identity.encode()).hexdigest()[:16])
        keep = True
        try:
            with os.fdopen(handle, "r+b", buffering=0) as file:
                if os.fstat(handle).st_size != size + count:
                    file.truncate(0)
                    file.truncate(size + count)
                marks = os.pread(handle, count, size)
                missing = [part for part in range(count) if not marks[part]]
                done = size - sum(self._length(part, size) for part in missing)
                tracker.moved(stats.path, done)

                prefix = _Prefix(handle, size, self._part_size, tracker)
                verify = self._verify and is_md5(stats.checksum)

                def fetch(part: int) -> bool:
                    comparable = self._fetch(stats, handle, part, tracker)
                    os.pwrite(handle, b"\1", size + part)
                    if verify:
                        prefix.advance()
                    return comparable

                comparable = each(fetch, missing, width(self._client, self._workers), tracker)
                keep = False
                if verify and all(comparable.values()):
                    prefix.compare(stats)
                file.truncate(size)
            partial.replace(target)
        except BaseException as error:
            # What may go well next time leaves its parts to go on from.
            resumable = isinstance(error, errors.TransportError | Cancelled | KeyboardInterrupt)
            if not (keep and resumable) or tracker.cancelled:
                partial.unlink(missing_ok=True)
            raise
        tracker.finished(stats.path)

    def _length(self, part: int, size: int) -> int:
        return min(self._part_size, size - part * self._part_size)

    def _fetch(self, stats: ObjectStats, handle: int, part: int, tracker: Tracker) -> bool:
        """Write one part; take up a broken answer where it broke; return whether the checksum can be compared."""
        comparable = True
        size = stats.size_bytes or 0
        position = part * self._part_size
        end = position + self._length(part, size)
        left = self._client.config.retries.count
        while position < end:
            try:
                with open_range(
                    self._client, self._repository, self._ref, stats.path, stats, position, end, presign=self._presign
                ) as stream:
                    comparable = comparable and not is_mere_etag(stats, stream.headers)
                    while position < end and (data := stream.read(min(CHUNK, end - position))):
                        os.pwrite(handle, data, position)
                        position += len(data)
                        tracker.moved(stats.path, len(data))
            except (errors.ConnectionFailed, errors.TimedOut):
                if left <= 0:
                    raise
            if position < end and left <= 0:
                raise errors.ConnectionFailed(
                    f"{stats.path!r} ended after {position} of {size} bytes",
                    operation="getObject", endpoint=self._client.config.endpoint,
                )  # fmt: skip
            left -= 1
        return comparable


class _Prefix:
    """The MD5 of a file from its start to its first missing part: whoever completes a part takes it on."""

    def __init__(self, handle: int, size: int, part_size: int, tracker: Tracker) -> None:
        self._handle, self._size, self._part_size, self._tracker = handle, size, part_size, tracker
        self._position = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._lock = threading.Lock()

    def advance(self) -> None:
        """Hash what is complete; do nothing when another thread is at it."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            while self._position < self._size and self._complete(self._position // self._part_size):
                end = min(self._position + self._part_size, self._size)
                while self._position < end:
                    self._tracker.check()
                    data = os.pread(self._handle, min(CHUNK, end - self._position), self._position)
                    self._md5.update(data)
                    self._position += len(data)
        finally:
            self._lock.release()

    def compare(self, stats: ObjectStats) -> None:
        """Hash what is left, now that all is complete, and compare.

        Raises:
            ChecksumMismatch: it is not the object's checksum.
        """
        self.advance()
        digest = self._md5.hexdigest()
        if digest != stats.checksum:
            raise mismatch(stats.path, f"the server says {stats.checksum}, what arrived has {digest}")

    def _complete(self, part: int) -> bool:
        return os.pread(self._handle, 1, self._size + part) == b"\1"


def _open_partial(target: Path, identity: str) -> tuple[Path, int]:
    """Open the file beside the target, for nobody else: who finds it in use gets one of its own."""
    name = f".{identity}.lakefs-part"
    while True:
        partial = target.with_name(name)
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last user may have renamed it to the target before the lock was had.
            if os.fstat(handle).st_ino == partial.stat().st_ino:
                return partial, handle
        except BlockingIOError:
            name = f".{identity}-{uuid.uuid4().hex[:8]}.lakefs-part"
        except FileNotFoundError:
            pass
        os.close(handle)
