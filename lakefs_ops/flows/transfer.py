"""Objects to files and files to objects: streamed, parallel, resumed, checked.

============================  ==========================================================================
one object                    `upload_file`, `download_file`
a directory and a prefix      `upload_tree`, `download_tree`
a file that is an object      `open_reader`, `open_writer`
============================  ==========================================================================

Memory stays constant, whatever the size. Bytes go to and from the store directly where the server offers it (its
``getConfig`` says ``pre_sign_support``), in parts where it offers that too, and through the server otherwise. A
download is written beside its target under another name, checked against size and checksum, and renamed, so a
target is whole or not there; after an error the next download of the same object goes on where this one ended.
A checksum is compared only if it looks like an MD5; some stores keep something else.

Everything lands uncommitted; `lakefs_ops.flows.once.commit_once` makes a commit of it.

Example:
    >>> from lakefs_ops.flows.progress import bar  # doctest: +SKIP
    >>> with bar("upload") as progress:  # doctest: +SKIP
    ...     result = upload_tree(client, "lake", "dev", "images/", "./images", progress=progress)
    >>> len(result.transferred), len(result.equal)  # doctest: +SKIP
    (17, 1983)
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

from lakefs_ops import errors
from lakefs_ops.api.staging import UploadPart
from lakefs_ops.call import Call
from lakefs_ops.flows import paths
from lakefs_ops.flows.progress import Cancelled, OnProgress, Progress, Tracker
from lakefs_ops.flows.streams import open_range, open_reader, open_writer

if TYPE_CHECKING:
    from lakefs_ops.api.common import ObjectStats
    from lakefs_ops.api.server import StorageConfig
    from lakefs_ops.client import LakeFSClient

__all__ = [
    "Cancelled",
    "Progress",
    "TreeResult",
    "download_file",
    "download_tree",
    "open_reader",
    "open_writer",
    "upload_file",
    "upload_tree",
]

T = TypeVar("T")

WORKERS = 16
"""Transfers at a time in a tree."""
PART_WORKERS = 4
"""Parts of one object at a time."""
PART_SIZE = 16 << 20
"""Bytes in a part of a large object; stores want 5 MiB at least."""
CHUNK = 1 << 17
"""Bytes read at once by one worker."""
MOST_PARTS = 10_000
"""Parts of a presigned upload that lakeFS 1.84 allows."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_storage: WeakKeyDictionary[LakeFSClient, StorageConfig | None] = WeakKeyDictionary()


class ChecksumMismatch(errors.LakeFSError):
    """What arrived is not what was sent; it was thrown away.

    Attributes:
        path: the object's path.
    """

    path: str


@dataclass(frozen=True, slots=True)
class TreeResult:
    """What `upload_tree` or `download_tree` did.

    Attributes:
        transferred: paths of the objects that moved, sorted.
        equal: paths of the objects that were equal already, sorted.
        bytes: how many bytes moved.
    """

    transferred: tuple[str, ...]
    equal: tuple[str, ...]
    bytes: int


# upload ------------------------------------------------------------------------------------------------


def upload_file(
    client: LakeFSClient,
    repository: str,
    branch: str,
    path: str,
    source: str | os.PathLike[str] | IO[bytes] | bytes,
    *,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
    if_none_match: str | None = None,
    force: bool | None = None,
    presign: bool | None = None,
    part_size: int = PART_SIZE,
    workers: int = PART_WORKERS,
    verify: bool = True,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> ObjectStats:
    """Write one object, uncommitted.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to write on.
        path: the object's path.
        source: a file's path, a file opened in binary mode (from where it stands), or bytes.
        content_type: its media type, ``application/octet-stream`` by default.
        metadata: user metadata.
        if_none_match: ``*`` to refuse when the object exists.
        force: also in a read-only repository.
        presign: to the store directly; by default if the server offers it.
        part_size: in bytes; larger files go to the store in parts, where the server offers that.
        workers: parts at a time.
        verify: compare the checksum, if it looks like an MD5.
        progress: called after each block.
        cancel: set it from another thread to stop.

    Returns:
        The object.

    Raises:
        PreconditionFailed: it exists, and ``if_none_match`` was given.
        ChecksumMismatch: the server has something else than was sent.
        Cancelled: ``cancel`` was set; nothing was written.
        OSError: the source cannot be read.

    Example:
        >>> upload_file(client, "lake", "dev", "daily/2015-01.csv", "./2015-01.csv")  # doctest: +SKIP
    """
    upload = _Upload(
        client, repository, branch, content_type=content_type, metadata=metadata, if_none_match=if_none_match,
        force=force, presign=_presign(client, presign), part_size=part_size, workers=workers, verify=verify,
    )  # fmt: skip
    size = _size(source)
    return upload.run(path, source, size, Tracker(progress, cancel, size))


def upload_tree(
    client: LakeFSClient,
    repository: str,
    branch: str,
    prefix: str,
    source: str | os.PathLike[str],
    *,
    skip_equal: bool = True,
    follow_symlinks: bool = False,
    content_type: Callable[[str], str | None] | None = None,
    if_none_match: str | None = None,
    force: bool | None = None,
    presign: bool | None = None,
    workers: int = WORKERS,
    verify: bool = True,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> TreeResult:
    """Write a directory tree below a prefix, uncommitted. Objects that are not in the tree stay.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to write on.
        prefix: the folder to write to; empty for the whole branch.
        source: the directory.
        skip_equal: leave out what is there already with the same size and MD5; one listing tells.
        follow_symlinks: upload what symbolic links point at; without it they are refused.
        content_type: gives the media type for a path.
        if_none_match: ``*`` to refuse objects that exist.
        force: also in a read-only repository.
        presign: to the store directly; by default if the server offers it.
        workers: transfers at a time, at most as many as the client's pool has connections.
        verify: compare checksums that look like an MD5.
        progress: called after each block.
        cancel: set it from another thread to stop.

    Returns:
        What was transferred, and what was equal.

    Raises:
        InvalidArgument: a symbolic link, a device, or a name that cannot be an object's; nothing was sent.
        Cancelled: ``cancel`` was set; objects that were finished are there, others are not.

    Example:
        >>> upload_tree(client, "lake", "dev", "images/", "./images").transferred  # doctest: +SKIP
        ('images/cat.png',)
    """
    base, prefix = Path(source), paths.folder(prefix)
    files = {prefix + name: file for name, file in paths.walk(base, follow_symlinks=follow_symlinks)}
    for path in files:
        if len(path.encode()) > 1024:
            raise errors.InvalidArgument(f"the path {path[:80]!r}... has more than 1,024 bytes")
    sizes = {path: file.stat().st_size for path, file in files.items()}
    there: dict[str, ObjectStats] = {}
    if skip_equal and files:
        listed = client.objects.list(repository, branch, prefix=prefix or None, user_metadata=False)
        there = {entry.path: entry for entry in listed if entry.path in files}
    upload = _Upload(
        client, repository, branch, if_none_match=if_none_match, force=force, presign=_presign(client, presign),
        workers=1, verify=verify,
    )  # fmt: skip
    tracker = Tracker(progress, cancel, sum(sizes.values()), len(files))

    def one(path: str) -> bool:
        file, size = files[path], sizes[path]
        if path in there and _equal(file, size, there[path], tracker):
            tracker.moved(path, size)
            tracker.finished(path)
            return False
        upload.run(path, file, size, tracker, content_type(path) if content_type else None)
        return True

    return _result(_each(one, files, _width(client, workers), tracker), sizes)


class _Upload:
    """How objects are uploaded: through the server, or to the store, at once or in parts."""

    def __init__(
        self,
        client: LakeFSClient,
        repository: str,
        branch: str,
        *,
        presign: StorageConfig | None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_none_match: str | None = None,
        force: bool | None = None,
        part_size: int = PART_SIZE,
        workers: int = 1,
        verify: bool = True,
    ) -> None:
        if part_size < 1 or workers < 1:
            raise errors.InvalidArgument("part_size and workers must be above 0")
        self._client, self._repository, self._branch = client, repository, branch
        self._storage, self._verify = presign, verify
        self._content_type, self._metadata = content_type, dict(metadata or {})
        self._if_none_match, self._force = if_none_match, force
        self._part_size, self._workers = part_size, workers

    def run(
        self, path: str, source: Any, size: int | None, tracker: Tracker, content_type: str | None = None
    ) -> ObjectStats:
        """Upload one object."""
        tracker.check()
        content_type = content_type or self._content_type
        with _opened(source) as file:
            # A store's ETag is no MD5 as soon as it encrypts, so only what the server itself counted is compared.
            body = _Watched(file, path, tracker, hashed=self._verify and self._storage is None)
            if self._storage is None or size is None:
                stats = self._through_the_server(path, body, content_type)
            elif self._in_parts(source, size):
                stats = self._parts(path, Path(source), size, tracker, content_type)
            else:
                stats = self._to_the_store(path, body, size, content_type)
        if stats.size_bytes != (body.count or size or 0):
            raise _mismatch(path, f"{stats.size_bytes} bytes arrived of {body.count or size}")
        digest = body.digest()
        if digest is not None and _MD5.fullmatch(stats.checksum) and stats.checksum != digest:
            raise _mismatch(path, f"the server has the checksum {stats.checksum}, the source {digest}")
        tracker.finished(path)
        return stats

    def _in_parts(self, source: Any, size: int) -> bool:
        # Only linking knows conditions and force, so what needs them goes in one piece.
        possible = self._storage is not None and self._storage.pre_sign_multipart_upload
        named = isinstance(source, str | os.PathLike)
        return bool(possible and named and size > self._part_size and not self._if_none_match and not self._force)

    def _through_the_server(self, path: str, body: _Watched, content_type: str | None) -> ObjectStats:
        return self._client.objects.upload(
            self._repository, self._branch, path, cast("IO[bytes]", body), content_type=content_type,
            metadata=self._metadata, if_none_match=self._if_none_match, force=self._force,
        )  # fmt: skip

    def _to_the_store(self, path: str, body: _Watched, size: int, content_type: str | None) -> ObjectStats:
        staging = self._client.staging
        place = staging.get_physical_address(self._repository, self._branch, path, presign=True)
        if not place.presigned_url:
            return self._through_the_server(path, body, content_type)
        tag = self._put(place.presigned_url, path, body)
        return staging.link_physical_address(
            self._repository, self._branch, path, staging=place, checksum=tag, size_bytes=size,
            user_metadata=self._metadata or None, content_type=content_type, if_none_match=self._if_none_match,
            force=self._force,
        )  # fmt: skip

    def _parts(self, path: str, source: Path, size: int, tracker: Tracker, content_type: str | None) -> ObjectStats:
        part_size = max(self._part_size, -(-size // MOST_PARTS))
        count = -(-size // part_size)
        staging = self._client.staging
        upload = staging.create_multipart_upload(self._repository, self._branch, path, parts=count)

        def send(number: int) -> UploadPart:
            start = (number - 1) * part_size
            urls = upload.presigned_urls or []
            if number <= len(urls):
                url = urls[number - 1]
            else:
                url = staging.upload_part(
                    self._repository, self._branch, upload.upload_id, number, path,
                    physical_address=upload.physical_address,
                ).presigned_url  # fmt: skip
            with source.open("rb", buffering=0) as file:
                body = _Watched(file, path, tracker, start=start, length=min(part_size, size - start))
                return UploadPart(part_number=number, etag=self._put(url, path, body))

        try:
            parts = _each(send, range(1, count + 1), _width(self._client, self._workers), tracker)
            return staging.complete_multipart_upload(
                self._repository, self._branch, upload.upload_id, path, physical_address=upload.physical_address,
                parts=[parts[number] for number in sorted(parts)], user_metadata=self._metadata or None,
                content_type=content_type,
            )  # fmt: skip
        except BaseException:
            with contextlib.suppress(errors.LakeFSError):
                staging.abort_multipart_upload(
                    self._repository, self._branch, upload.upload_id, path, physical_address=upload.physical_address
                )
            raise

    def _put(self, url: str, path: str, body: _Watched) -> str:
        """Send bytes to a presigned address; return what the store calls them."""
        headers = {"Content-Type": "application/octet-stream"}
        if self._storage is not None and self._storage.blockstore_type == "azure":
            headers["x-ms-blob-type"] = "BlockBlob"
        names = {"repository": self._repository, "branch": self._branch, "path": path}
        call = Call(
            "presignedUpload", "PUT", "", names, bytes, body=cast("IO[bytes]", body), headers=headers, idempotent=True
        )
        with self._client.transport.open_at(url, call) as answer:
            answer.read()
            return (answer.headers.get("ETag") or "").strip('"') or f"size-{body.count}"


class _Watched(io.RawIOBase):
    """A file, or a part of one, that counts and hashes what is read of it, and stops when it is to stop."""

    def __init__(
        self, file: IO[bytes], path: str, tracker: Tracker, *, start: int | None = None, length: int | None = None,
        hashed: bool = False,
    ) -> None:  # fmt: skip
        self._file, self._path, self._tracker, self._length, self._hashed = file, path, tracker, length, hashed
        self._start = start
        if start is not None:
            file.seek(start)
        elif getattr(file, "seekable", bool)():
            self._start = file.tell()
        self._begin()

    def _begin(self) -> None:
        self.count = 0
        self._hash = hashlib.md5(usedforsecurity=False) if self._hashed else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._start is not None

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if self._length is not None:
            view = view[: self._length - self.count]
        if hasattr(self._file, "readinto"):
            count = self._file.readinto(view) or 0
        else:
            data = self._file.read(len(view))
            count = len(data)
            view[:count] = data
        if self._hash is not None:
            self._hash.update(view[:count])
        self.count += count
        self._tracker.moved(self._path, count)
        return count

    def tell(self) -> int:
        return self.count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to the start, to send again, or to the end, to tell the length."""
        if self._start is None:
            raise io.UnsupportedOperation("seek")
        if whence == io.SEEK_END:
            end = self._file.seek(0, io.SEEK_END) - self._start
            return end if self._length is None else min(end, self._length)
        self._file.seek(self._start + offset)
        if offset == 0:
            self._begin()
        return offset

    def digest(self) -> str | None:
        """Return the MD5 of what was read, None when it was not hashed."""
        return self._hash.hexdigest() if self._hash is not None and self.count else None


# download ----------------------------------------------------------------------------------------------


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
        OSError: the file cannot be written.

    Example:
        >>> download_file(client, "lake", "main", "daily/2015-01.csv", "./2015-01.csv")  # doctest: +SKIP
    """
    if part_size < 1 or workers < 1:
        raise errors.InvalidArgument("part_size and workers must be above 0")
    direct = _presign(client, presign) is not None
    stats = client.objects.stat(repository, ref, path, user_metadata=False)
    tracker = Tracker(progress, cancel, stats.size_bytes)
    _Download(client, repository, ref, direct, part_size, workers, verify).run(stats, Path(target), tracker)
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
        skip_equal: leave out files that are there already with the same size and MD5.
        case_sensitive: allow names that differ only in case; not every system keeps them apart.
        presign: from the store directly; by default if the server offers it.
        part_size: in bytes; what a broken download need not read again.
        workers: transfers at a time, at most as many as the client's pool has connections.
        verify: compare checksums that look like an MD5.
        progress: called after each block.
        cancel: set it from another thread to stop.

    Returns:
        What was transferred, and what was equal.

    Raises:
        UnsafePath: an object's path cannot be a file below the directory (`lakefs_ops.flows.paths`); nothing was
            written.
        Cancelled: ``cancel`` was set; files that were finished are there, others are as they were.

    Example:
        >>> download_tree(client, "lake", "main", "images/", "./images").bytes  # doctest: +SKIP
        1048576
    """
    base, prefix = Path(target), paths.folder(prefix)
    listed = {e.path: e for e in client.objects.list(repository, ref, prefix=prefix or None, user_metadata=False)}
    # Many tools write an empty object to stand for a directory.
    found = {path: entry for path, entry in listed.items() if not (path.endswith("/") and not entry.size_bytes)}
    planned = paths.plan(found, prefix, base, case_sensitive=case_sensitive)
    sizes = {path: entry.size_bytes or 0 for path, entry in found.items()}
    tracker = Tracker(progress, cancel, sum(sizes.values()), len(found))
    download = _Download(client, repository, ref, _presign(client, presign) is not None, part_size, 1, verify)
    base.mkdir(parents=True, exist_ok=True)

    def one(path: str) -> bool:
        entry, file = found[path], planned[path]
        if skip_equal and file.is_file() and _equal(file, file.stat().st_size, entry, tracker):
            tracker.moved(path, sizes[path])
            tracker.finished(path)
            return False
        download.run(entry, file, tracker)
        return True

    return _result(_each(one, found, _width(client, workers), tracker), sizes)


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
        self._client, self._repository, self._ref = client, repository, ref
        self._presign, self._part_size, self._workers, self._verify = presign or None, part_size, workers, verify

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

                def fetch(part: int) -> None:
                    self._fetch(stats, handle, part, tracker)
                    os.pwrite(handle, b"\1", size + part)

                _each(fetch, missing, _width(self._client, self._workers), tracker)
                file.truncate(size)
                keep = False
                if self._verify and _MD5.fullmatch(stats.checksum):
                    _compare(stats, _md5(file, tracker))
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

    def _fetch(self, stats: ObjectStats, handle: int, part: int, tracker: Tracker) -> None:
        """Write one part; take up a broken answer where it broke."""
        size = stats.size_bytes or 0
        position = part * self._part_size
        end = position + self._length(part, size)
        left = self._client.config.retries.count
        while position < end:
            try:
                with open_range(
                    self._client, self._repository, self._ref, stats.path, stats, position, end, presign=self._presign
                ) as stream:
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


# both --------------------------------------------------------------------------------------------------


def _presign(client: LakeFSClient, wanted: bool | None) -> StorageConfig | None:
    """Return the store's abilities if bytes are to go there directly, None if they go through the server."""
    if wanted is False:
        return None
    if client not in _storage:
        try:
            _storage[client] = client.server.config().storage_config
        except (errors.PermissionDenied, errors.NotSupported):
            _storage[client] = None
    storage = _storage[client]
    if storage is not None and storage.pre_sign_support:
        return storage
    if wanted:
        raise errors.InvalidArgument(f"the store of {client.config.endpoint} offers no presigned addresses")
    return None


def _each(run: Callable[[Any], T], items: Iterable[Any], workers: int, tracker: Tracker) -> dict[Any, T]:
    """Run for each item, several at a time; after the first error the others stop, and it is raised."""
    todo = iter(items)
    if workers == 1:
        return {item: run(item) for item in todo}
    results: dict[Any, T] = {}
    pending: dict[Future[T], Any] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="lakefs-transfer") as pool:
        try:
            for item in todo:
                pending[pool.submit(run, item)] = item
                if len(pending) >= 2 * workers:
                    _collect(pending, results)
            while pending:
                _collect(pending, results)
        except BaseException:
            tracker.stop.set()
            for future in pending:
                future.cancel()
            raise
    return results


def _collect(pending: dict[Future[T], Any], results: dict[Any, T]) -> None:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        results[pending.pop(future)] = future.result()


def _width(client: LakeFSClient, workers: int) -> int:
    if workers < 1:
        raise errors.InvalidArgument(f"workers must be above 0, got {workers}")
    return min(workers, client.config.pool_size)


def _result(moved: Mapping[str, bool], sizes: Mapping[str, int]) -> TreeResult:
    transferred = tuple(sorted(path for path, was in moved.items() if was))
    equal = tuple(sorted(path for path, was in moved.items() if not was))
    return TreeResult(transferred, equal, sum(sizes[path] for path in transferred))


def _equal(file: Path, size: int, stats: ObjectStats, tracker: Tracker) -> bool:
    """Return whether a file has an object's bytes, as far as size and MD5 tell."""
    if size != stats.size_bytes or not _MD5.fullmatch(stats.checksum):
        return False
    with file.open("rb", buffering=0) as opened:
        return _md5(opened, tracker) == stats.checksum


def _md5(file: Any, tracker: Tracker) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    buffer = memoryview(bytearray(CHUNK))
    file.seek(0)
    while count := file.readinto(buffer):
        tracker.check()
        digest.update(buffer[:count])
    return digest.hexdigest()


def _size(source: Any) -> int | None:
    if isinstance(source, str | os.PathLike):
        return Path(source).stat().st_size
    if isinstance(source, bytes):
        return len(source)
    try:
        start = source.tell()
        end = source.seek(0, io.SEEK_END)
        source.seek(start)
    except (AttributeError, OSError, ValueError):
        return None
    return int(end - start)


@contextlib.contextmanager
def _opened(source: Any) -> Any:
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb", buffering=0) as file:
            yield file
    elif isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        yield source


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


def _compare(stats: ObjectStats, digest: str) -> None:
    if digest != stats.checksum:
        raise _mismatch(stats.path, f"the server says {stats.checksum}, what arrived has {digest}")


def _mismatch(path: str, why: str) -> ChecksumMismatch:
    return ChecksumMismatch(
        f"{path!r} did not arrive as it was sent: {why}; try again, or pass verify=False if the store keeps something"
        " else than an MD5",
        path=path,
    )
