"""Download objects to files: in parts, to a partial file next to the target, which is verified and renamed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.transfer import paths
from lakefs_ops.transfer import workers as pool
from lakefs_ops.transfer.checksums import BLOCK_SIZE, Digest, is_md5, mismatch, same_content
from lakefs_ops.transfer.progress import Cancelled, OnProgress, Tracker
from lakefs_ops.transfer.streams import ResumingReader

if TYPE_CHECKING:
    from lakefs_ops.api.common import ObjectStats
    from lakefs_ops.client import LakeFSClient

HASH_LIMIT_INTERVAL = 0.05
"""Seconds without a block that had to wait for its hash, after which the network is the slower part."""

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL


def download_file(
    client: LakeFSClient,
    repository: str,
    ref: str,
    path: str,
    target: str | os.PathLike[str],
    *,
    presign: bool | None = None,
    part_size: int = pool.PART_SIZE,
    workers: int = pool.PART_WORKERS,
    verify: bool = True,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> ObjectStats:
    """Download one object to a file; large objects in parts, several at a time.

    Args:
        client: the client.
        repository: the repository's id.
        ref: a branch (including uncommitted changes), tag, commit or expression.
        path: the object's path.
        target: the file; an existing file is replaced after the download has succeeded.
        presign: whether to read from the store directly; default: if the server supports it.
        part_size: size of a part in bytes; a download that is resumed skips complete parts.
        workers: maximum number of parts at a time. A verified download has one at a time while bytes arrive faster than
            they are hashed.
        verify: compare the checksum, if it looks like an MD5.
        progress: called after each block.
        cancel: set this event from another thread to stop.

    Returns:
        The object.

    Raises:
        ObjectNotFound: the object does not exist at this ref.
        ChecksumMismatch: the received bytes do not match the checksum.
        Conflict: the object was overwritten while it was being read.
        Cancelled: ``cancel`` was set; the target is unchanged.
        InvalidArgument: the target is a directory.
        OSError: the file cannot be written.

    Example:
        >>> download_file(client, "lake", "main", "daily/2015-01.csv", "./2015-01.csv")  # doctest: +SKIP
    """
    if Path(target).is_dir():
        raise errors.InvalidArgument(f"{target} is a directory; pass the path of a file, or use download_tree")
    direct = pool.direct_store(client, presign) is not None
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
    part_size: int = pool.PART_SIZE,
    workers: int = pool.TREE_WORKERS,
    verify: bool = True,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> pool.TreeResult:
    """Download all objects below a prefix to a directory. Other files in the directory are kept.

    Empty objects that only mark a directory, as S3 tools create them (``a/``, or ``a`` next to ``a/b``), are skipped.

    Args:
        client: the client.
        repository: the repository's id.
        ref: a branch (including uncommitted changes), tag, commit or expression.
        prefix: the folder to download; empty for all objects.
        target: the directory; created if missing.
        skip_equal: skip files that exist with the same size and checksum.
        case_sensitive: allow paths that differ only in case or Unicode normalization; some file systems do not
            distinguish them.
        presign: whether to read from the store directly; default: if the server supports it.
        part_size: size of a part in bytes; a download that is resumed skips complete parts.
        workers: maximum number of transfers at a time, limited to the client's connection pool size.
        verify: compare checksums that look like an MD5.
        progress: called after each block.
        cancel: set this event from another thread to stop.

    Returns:
        The objects that were transferred, those that were equal, and the markers that were skipped; all are empty if
        no object has the prefix.

    Raises:
        UnsafePath: an object's path cannot be a file below the directory (`lakefs_ops.transfer.paths`); nothing was
            written.
        Cancelled: ``cancel`` was set; files are either complete or unchanged.

    Example:
        >>> download_tree(client, "lake", "main", "images/", "./images").bytes  # doctest: +SKIP
        1048576
    """
    base, prefix = Path(target), paths.folder(prefix)
    download = _Download(client, repository, ref, pool.direct_store(client, presign) is not None, part_size, 1, verify)
    listed = {e.path: e for e in client.objects.list(repository, ref, prefix=prefix or None, user_metadata=False)}
    sizes = {path: entry.size_bytes or 0 for path, entry in listed.items()}
    markers = paths.markers(sizes)
    found = {path: entry for path, entry in listed.items() if path not in markers}
    planned = paths.plan(found, prefix, base, case_sensitive=case_sensitive)
    tracker = Tracker(progress, cancel, sum(sizes.values()), len(found))
    base.mkdir(parents=True, exist_ok=True)

    def download_one(path: str) -> bool:
        entry, file = found[path], planned[path]
        if skip_equal and file.is_file() and same_content(file, file.stat().st_size, entry, tracker):
            tracker.moved(path, sizes[path])
            tracker.finished(path)
            return False
        download.run(entry, file, tracker)
        return True

    return pool.tree_result(
        pool.run_all(download_one, found, pool.worker_count(client, workers), tracker), sizes, markers
    )


class _Download:
    """Downloads objects in parts to a partial file next to the target, which is then renamed.

    The partial file has the object's bytes, followed by one byte per part that marks it as complete, so the next
    download fetches only missing parts. Its name depends on the checksum: versions of an object never share a file.
    """

    def __init__(
        self, client: LakeFSClient, repository: str, ref: str, presign: bool, part_size: int, workers: int, verify: bool
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
        partial, handle, keep = _open_partial(target, hashlib.sha256(identity.encode()).hexdigest()[:16])
        try:
            with os.fdopen(handle, "r+b", buffering=0) as file:
                if os.fstat(handle).st_size != size + count:
                    file.truncate(0)
                    file.truncate(size + count)
                marks = os.pread(handle, count, size)
                missing = [part for part in range(count) if not marks[part]]
                done = size - sum(self._length(part, size) for part in missing)
                tracker.moved(stats.path, done)

                verify = self._verify and is_md5(stats.checksum)
                ends = [
                    part * self._part_size + (self._length(part, size) if marks[part] else 0) for part in range(count)
                ]
                with contextlib.closing(_PrefixHash(handle, self._part_size, ends, size, tracker)) as prefix_hash:

                    def fetch(part: int) -> bool:
                        comparable = self._fetch(stats, handle, part, tracker, prefix_hash if verify else None)
                        _write(handle, b"\1", size + part)
                        return comparable

                    comparable = pool.run_all(
                        fetch, missing, pool.worker_count(self._client, self._workers), tracker,
                        prefix_hash.limits if verify else None,
                    )  # fmt: skip
                    if verify and all(comparable.values()):
                        prefix_hash.compare(stats)
                keep = False
                file.truncate(size)
                partial.replace(target)  # before closing releases the lock, so that nobody else writes to the target
        except BaseException as error:
            # After errors that may pass, keep the partial file so that the next download resumes.
            resumable = isinstance(error, errors.TransportError | Cancelled | KeyboardInterrupt)
            if not (keep and resumable) or tracker.cancelled:
                partial.unlink(missing_ok=True)
            raise
        tracker.finished(stats.path)

    def _length(self, part: int, size: int) -> int:
        return min(self._part_size, size - part * self._part_size)

    def _fetch(
        self, stats: ObjectStats, handle: int, part: int, tracker: Tracker, prefix_hash: _PrefixHash | None
    ) -> bool:
        """Write one part; return whether the object's checksum can be compared."""
        position = part * self._part_size
        end = position + self._length(part, stats.size_bytes or 0)
        with ResumingReader(
            self._client, self._repository, self._ref, stats, position, end, presign=self._presign
        ) as reader:
            while position < end:
                data = reader.read(BLOCK_SIZE)
                _write(handle, data, position)
                position, count = reader.position, len(data)
                if prefix_hash is not None and not reader.encrypted:
                    prefix_hash.arrived(part, position, data)
                del data  # otherwise it would stay in memory while the next block is read
                tracker.moved(stats.path, count)
            return not reader.encrypted


class _PrefixHash:
    """The MD5 of a partial file from its start to its first missing byte, computed during the download.

    Workers pass their bytes on if these are next, and after a part also those that are in the file already. The one
    that does so waits while too many bytes are not hashed yet; the others go on.

    Args:
        handle: the partial file.
        part_size: size of a part in bytes.
        ends: for each part the position up to which it is complete.
        size: size of the object in bytes.
        tracker: stops the transfer.
    """

    def __init__(self, handle: int, part_size: int, ends: list[int], size: int, tracker: Tracker) -> None:
        self._handle, self._part_size, self._ends, self._size = handle, part_size, ends, size
        self._tracker, self._digest = tracker, Digest()
        self._position, self._waited = 0, time.monotonic()
        self._lock = threading.Lock()

    def arrived(self, part: int, position: int, data: bytes) -> None:
        """Record that the file has the bytes of a part up to a position; hash them if they are next.

        Args:
            part: the part.
            position: the position after the bytes.
            data: the bytes.
        """
        self._ends[part] = position
        useful = self._position // self._part_size == part or position == self._part_end(part)
        if not useful or not self._lock.acquire(blocking=False):
            return
        try:
            if position - len(data) == self._position:
                if self._digest.full:
                    self._waited = time.monotonic()
                self._add(data)
            self._catch_up()
        finally:
            self._lock.release()

    def limits(self) -> bool:
        """Return whether bytes arrive faster than they are hashed, so that more connections would not help."""
        return self._position > 0 and (self._digest.full or time.monotonic() - self._waited < HASH_LIMIT_INTERVAL)

    def compare(self, stats: ObjectStats) -> None:
        """Hash the rest of the complete file and compare.

        Raises:
            ChecksumMismatch: the file does not have the object's checksum.
        """
        self._catch_up()
        digest = self._digest.hexdigest()
        if digest != stats.checksum:
            raise mismatch(stats.path, f"the object's checksum is {stats.checksum}, the received bytes have {digest}")

    def close(self) -> None:
        """Stop hashing."""
        self._digest.close()

    def _add(self, data: bytes) -> None:
        self._tracker.check()
        self._digest.update(data)
        self._position += len(data)

    def _catch_up(self) -> None:
        while self._position < (end := self._end()):
            data = os.pread(self._handle, min(BLOCK_SIZE, end - self._position), self._position)
            if not data:
                raise OSError("the partial file was truncated by another process")
            self._add(data)

    def _end(self) -> int:
        """Return the position of the first missing byte."""
        for part in range(self._position // self._part_size, len(self._ends)):
            if self._ends[part] != self._part_end(part):
                return self._ends[part]
        return self._size

    def _part_end(self, part: int) -> int:
        return min((part + 1) * self._part_size, self._size)


def _write(handle: int, data: bytes, position: int) -> None:
    """Write all bytes, where a full disk or a signal may end a single write early."""
    written = os.pwrite(handle, data, position)
    while written < len(data):
        written += os.pwrite(handle, data[written:], position + written)


def _open_partial(target: Path, identity: str) -> tuple[Path, int, bool]:
    """Open and lock the partial file next to the target; return its path, its handle, and whether others may resume it.

    If another process holds it, or something else has its name (a link, a pipe, a directory, another user's file), the
    partial file is a private one.
    """
    partial = target.with_name(f".{identity}.lakefs-part")
    while (handle := _open_own(partial)) is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have renamed it to the target before this lock was acquired.
            if os.path.samestat(os.fstat(handle), partial.lstat()):
                return partial, handle, True
        except BlockingIOError:
            os.close(handle)
            break
        except FileNotFoundError:
            pass
        os.close(handle)
    partial = target.with_name(f".{identity}-{uuid.uuid4().hex[:8]}.lakefs-part")
    return partial, os.open(partial, _NEW, 0o666), False


def _open_own(partial: Path) -> int | None:
    """Create or open a partial file; None if something else has its name."""
    try:
        return os.open(partial, _NEW, 0o666)
    except FileExistsError:
        pass
    try:
        handle = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return _open_own(partial)
    except OSError:
        return None
    found = os.fstat(handle)
    # No other name (0 or 1 links): writing to a hard link would change a file elsewhere.
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1 and found.st_uid == os.geteuid():
        return handle
    os.close(handle)
    return None
