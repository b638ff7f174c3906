"""Upload files to objects: through the server, to the store, or to the store in parts."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from lakefs_ops import errors
from lakefs_ops.api.objects import check_content, check_metadata, fits_headers, object_path
from lakefs_ops.api.staging import UploadPart
from lakefs_ops.call import Call
from lakefs_ops.sources import measure, require_bytes
from lakefs_ops.transfer import paths
from lakefs_ops.transfer import workers as pool
from lakefs_ops.transfer.checksums import BLOCK_SIZE, Digest, is_md5, mismatch, same_content
from lakefs_ops.transfer.progress import OnProgress, Tracker

if TYPE_CHECKING:
    from lakefs_ops.api.common import ObjectStats
    from lakefs_ops.api.server import StorageConfig
    from lakefs_ops.client import LakeFSClient

logger = logging.getLogger("lakefs_ops")

MAX_PARTS = 10_000
"""Maximum number of parts of a presigned upload (lakeFS 1.84)."""
MAX_SINGLE_PUT = 5_000 << 20
"""Maximum bytes in one request to a store: Azure allows 5,000 MiB, S3 slightly more."""


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
    part_size: int = pool.PART_SIZE,
    workers: int = pool.PART_WORKERS,
    verify: bool = True,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> ObjectStats:
    """Upload one object, uncommitted.

    The bytes are those that the file has when its upload starts: if it grows, as a log file does, the bytes added later
    are not sent, and a warning is logged. After a failure with unknown outcome, the object is checked before the upload
    is repeated, as in `lakefs_ops.api.objects.Objects.upload`: an object that someone else wrote in the meantime is not
    overwritten.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to write to.
        path: the object's path, 1 to 1,024 bytes, without a leading ``/``.
        source: a file's path, a file opened in binary mode (read from its current position), or bytes.
        content_type: the media type; default: ``application/octet-stream``.
        metadata: user metadata. If the object is sent through the server, metadata that HTTP headers would alter
            (upper case or non-ASCII keys, spaces around values) is set by a second request.
        if_none_match: ``*`` to fail if the object exists.
        force: allow on a read-only repository.
        presign: whether to send the data to the store directly; default: if the server supports it.
        part_size: size of a part in bytes; larger files go to the store in parts, if the server supports that.
        workers: maximum number of parts at a time.
        verify: compare the checksum, if it looks like an MD5. An object sent to the store in one piece gets its MD5
            as the checksum, because the ETag of an encrypting store is not an MD5.
        progress: called after each block.
        cancel: set this event from another thread to stop.

    Returns:
        The object.

    Raises:
        PreconditionFailed: the object exists and ``if_none_match`` is ``*``.
        Conflict: someone else wrote the object while the outcome was unknown; it was not overwritten.
        ChecksumMismatch: the server received other bytes than were sent.
        Cancelled: ``cancel`` was set; nothing was written.
        InvalidArgument: the path is empty, too long or starts with ``/``; the source is not a path, a binary file or
            bytes; the metadata is not a mapping of strings to strings, or has line breaks; or the file was shortened,
            replaced or rewritten during the upload. Nothing was written.
        OSError: the source cannot be read.

    Example:
        >>> upload_file(client, "lake", "dev", "daily/2015-01.csv", "./2015-01.csv")  # doctest: +SKIP
    """
    paths.relative(path)
    if not isinstance(source, str | os.PathLike):
        check_content(source, "source", iterators=False)
    elif Path(source).is_dir():
        raise errors.InvalidArgument(f"{source} is a directory; pass the path of a file, or use upload_tree")
    check_metadata(metadata)
    upload = _Upload(
        client, repository, branch, content_type=content_type, metadata=metadata, if_none_match=if_none_match,
        force=force, presign=pool.direct_store(client, presign), part_size=part_size, workers=workers, verify=verify,
    )  # fmt: skip
    return upload.run(path, source, Tracker(progress, cancel, _size(source)))


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
    workers: int = pool.TREE_WORKERS,
    verify: bool = True,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> pool.TreeResult:
    """Upload a directory tree below a prefix, uncommitted. Objects that are not in the tree are kept.

    Files that change during the call are handled as in `upload_file`. Partial files that an interrupted download has
    left in the directory are not uploaded.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to write to.
        prefix: the folder to write to; empty for the root of the branch.
        source: the directory.
        skip_equal: skip objects that exist with the same size and checksum; takes one listing.
        follow_symlinks: upload the targets of symbolic links; if False, a symbolic link is an error.
        content_type: returns the media type for a path.
        if_none_match: ``*`` to fail if an object exists.
        force: allow on a read-only repository.
        presign: whether to send the data to the store directly; default: if the server supports it.
        workers: maximum number of transfers at a time, limited to the client's connection pool size.
        verify: compare checksums that look like an MD5.
        progress: called after each block.
        cancel: set this event from another thread to stop.

    Returns:
        The objects that were transferred and those that were equal.

    Raises:
        InvalidArgument: a symbolic link, a device, a prefix that starts with ``/``, or a name that cannot be an
            object's path; nothing was sent.
        Conflict: someone else wrote an object while its outcome was unknown; it was not overwritten.
        Cancelled: ``cancel`` was set; objects are either complete or unchanged.

    Example:
        >>> upload_tree(client, "lake", "dev", "images/", "./images").transferred  # doctest: +SKIP
        ('images/cat.png',)
    """
    base, prefix = Path(source), paths.folder(prefix)
    if prefix:
        paths.relative(prefix, "prefix")
    if content_type is not None and not callable(content_type):
        raise errors.InvalidArgument(
            f"content_type must be a function that returns the media type for a path, got {content_type!r}"
        )
    files = {prefix + name: file for name, file in paths.walk(base, follow_symlinks=follow_symlinks)}
    for path in files:
        object_path(path)
    sizes = {path: file.stat().st_size for path, file in files.items()}
    existing: dict[str, ObjectStats] = {}
    if skip_equal and files:
        listed = client.objects.list(repository, branch, prefix=prefix or None, user_metadata=False)
        existing = {entry.path: entry for entry in listed if entry.path in files}
    upload = _Upload(
        client, repository, branch, if_none_match=if_none_match, force=force,
        presign=pool.direct_store(client, presign), workers=1, verify=verify,
    )  # fmt: skip
    tracker = Tracker(progress, cancel, sum(sizes.values()), len(files))

    def upload_one(path: str) -> bool:
        file, size = files[path], sizes[path]
        if path in existing and same_content(file, size, existing[path], tracker):
            tracker.moved(path, size)
            tracker.finished(path)
            return False
        stats = upload.run(path, file, tracker, content_type(path) if content_type else None)
        sizes[path] = stats.size_bytes or 0
        return True

    return pool.tree_result(pool.run_all(upload_one, files, pool.worker_count(client, workers), tracker), sizes)


class _Upload:
    """Uploads objects through the server, or to the store in one piece or in parts."""

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
        part_size: int = pool.PART_SIZE,
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

    def run(self, path: str, source: Any, tracker: Tracker, content_type: str | None = None) -> ObjectStats:
        """Upload one object."""
        tracker.check()
        content_type = content_type or self._content_type
        with _opened(source) as (file, size, snapshot):
            if snapshot is not None and self._in_parts(snapshot.size):
                stats, sent, digest = self._parts(path, snapshot, tracker, content_type), snapshot.size, None
            else:
                direct = self._storage is not None and size is not None and size <= MAX_SINGLE_PUT
                send = self._to_store if direct else self._through_server
                with contextlib.closing(
                    _HashingReader(file, path, tracker, length=size, hashed=self._verify, snapshot=snapshot)
                ) as body:
                    stats = send(path, body, content_type)
                    sent = body.count if size is None else size
                    # A reader that was rewound found its object on the branch, with the same checksum.
                    digest = body.digest() if body.count == sent else None
            if snapshot is not None and (grown := snapshot.growth()):
                logger.warning("%s grew by %d bytes; %r has the first %d bytes", snapshot.path, grown, path, sent)
        if stats.size_bytes != sent:
            raise mismatch(path, f"the object has {stats.size_bytes} bytes, {sent} were sent")
        if digest is not None and is_md5(stats.checksum) and stats.checksum != digest:
            raise mismatch(path, f"the object's checksum is {stats.checksum}, the source has {digest}")
        tracker.finished(path)
        return stats

    def _in_parts(self, size: int) -> bool:
        # A multipart upload supports neither if_none_match nor force.
        possible = self._storage is not None and self._storage.pre_sign_multipart_upload
        return bool(possible and size > self._part_size and not self._if_none_match and not self._force)

    def _through_server(self, path: str, body: _HashingReader, content_type: str | None) -> ObjectStats:
        objects, metadata = self._client.objects, self._metadata
        in_headers = fits_headers(metadata)
        stats = objects.upload(
            self._repository, self._branch, path, cast("IO[bytes]", body), content_type=content_type,
            metadata=metadata if in_headers else None, if_none_match=self._if_none_match, force=self._force,
        )  # fmt: skip
        if not in_headers:
            self._set_metadata(path, stats)
            stats = replace(stats, metadata=metadata)
        return stats

    def _set_metadata(self, path: str, uploaded: ObjectStats) -> None:
        """Set the metadata of the uploaded object, and once more if the first request was lost."""
        objects, place = self._client.objects, (self._repository, self._branch, path)
        try:
            objects.update_user_metadata(*place, set=self._metadata)
        except errors.TRANSIENT:
            now = objects.stat(*place)
            if now.physical_address != uploaded.physical_address:
                raise
            if now.metadata != self._metadata:
                objects.update_user_metadata(*place, set=self._metadata)

    def _to_store(self, path: str, body: _HashingReader, content_type: str | None) -> ObjectStats:
        staging = self._client.staging
        place = staging.get_physical_address(self._repository, self._branch, path, presign=True)
        if not place.presigned_url:
            return self._through_server(path, body, content_type)
        # The ETag of an encrypting store may look like an MD5 but is not one.
        tag = self._put(place.presigned_url, path, body)
        checksum = body.digest() or tag
        return staging.link_physical_address(
            self._repository, self._branch, path, staging=place, checksum=checksum, size_bytes=body.count,
            user_metadata=self._metadata or None, content_type=content_type, if_none_match=self._if_none_match,
            force=self._force,
        )  # fmt: skip

    def _parts(self, path: str, source: _Snapshot, tracker: Tracker, content_type: str | None) -> ObjectStats:
        size = source.size
        part_size = max(self._part_size, -(-size // MAX_PARTS))
        count = -(-size // part_size)
        staging = self._client.staging
        upload = staging.create_multipart_upload(self._repository, self._branch, path, parts=count)

        def url_of(number: int) -> str:
            return staging.upload_part(
                self._repository, self._branch, upload.upload_id, number, path,
                physical_address=upload.physical_address,
            ).presigned_url  # fmt: skip

        def send(number: int) -> UploadPart:
            start = (number - 1) * part_size
            urls = upload.presigned_urls or []
            url = urls[number - 1] if number <= len(urls) else url_of(number)
            with source.path.open("rb", buffering=0) as file:
                length = min(part_size, size - start)
                body = _HashingReader(file, path, tracker, start=start, length=length, snapshot=source)
                try:
                    etag = self._put(url, path, body)
                except errors.PermissionDenied:
                    # URLs from the start of a long upload expire, usually after 15 minutes.
                    body.seek(0)
                    etag = self._put(url_of(number), path, body)
            return UploadPart(part_number=number, etag=etag)

        try:
            parts = pool.run_all(send, range(1, count + 1), pool.worker_count(self._client, self._workers), tracker)
            source.check(source.path.stat)
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

    def _put(self, url: str, path: str, body: _HashingReader) -> str:
        """Send bytes to a presigned URL; return their ETag."""
        headers = {"Content-Type": "application/octet-stream"}
        if self._storage is not None and self._storage.blockstore_type == "azure":
            headers["x-ms-blob-type"] = "BlockBlob"
        params = {"repository": self._repository, "branch": self._branch, "path": path}
        call = Call(
            "presignedUpload", "PUT", "", params, bytes, body=cast("IO[bytes]", body), headers=headers, idempotent=True
        )
        with self._client.transport.open_at(url, call) as response:
            response.read()
            return (response.headers.get("ETag") or "").strip('"') or f"size-{body.count}"


class _Snapshot:
    """A local file as it was when its upload started.

    Attributes:
        path: the file's path.
        size: its size in bytes; what is added later is not uploaded.
    """

    def __init__(self, path: Path, state: os.stat_result) -> None:
        self.path, self.size = path, state.st_size
        self._state = self._last = state

    def check(self, state: Callable[[], os.stat_result]) -> None:
        """Check that the bytes up to `size` are unchanged, as far as the file's properties show.

        Args:
            state: returns the file's present properties.

        Raises:
            InvalidArgument: the file was shortened, replaced or rewritten.
        """
        self._last = state()
        if self._is_rewritten():
            # An append that is still under way has changed the time, but not yet the size.
            time.sleep(0.05)
            self._last = state()
        if not os.path.samestat(self._last, self._state) or self._last.st_size < self.size or self._is_rewritten():
            raise errors.InvalidArgument(
                f"{self.path} was changed by another program during its upload; upload it again when it is complete"
            )

    def _is_rewritten(self) -> bool:
        return self._last.st_size == self.size and self._last.st_mtime_ns != self._state.st_mtime_ns

    def growth(self) -> int:
        """Return by how many bytes the file has grown."""
        return self._last.st_size - self.size


class _HashingReader:
    """A file or a part of it; counts and hashes the bytes read, and raises when the transfer is cancelled.

    Its last bytes are only returned if the file is still the one of the snapshot, so a changed file is never complete.
    It has no ``readinto``: a block that its reader may overwrite cannot be hashed later.
    """

    def __init__(
        self, file: IO[bytes], path: str, tracker: Tracker, *, start: int | None = None, length: int | None = None,
        hashed: bool = False, snapshot: _Snapshot | None = None,
    ) -> None:  # fmt: skip
        self._file, self._path, self._tracker, self._length, self._hashed = file, path, tracker, length, hashed
        self._snapshot = snapshot
        self._start, self._digest = start, Digest()
        if start is not None:
            file.seek(start)
        elif getattr(file, "seekable", bool)():
            self._start = file.tell()
        self.count = 0

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; empty at the end."""
        size = min(size, BLOCK_SIZE)
        if self._length is not None:
            size = min(size, self._length - self.count)
        data = self._file.read(size)
        block = b"" if data is None else require_bytes(data)
        if self._hashed:
            self._digest.update(block)
        self.count += len(block)
        if self._snapshot is not None and self.count == self._length:
            self._snapshot.check(lambda: os.fstat(self._file.fileno()))
        self._tracker.moved(self._path, len(block))
        return block

    def tell(self) -> int:
        return self.count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek to the start to send again, or to the end to measure the length."""
        if self._start is None:
            raise io.UnsupportedOperation("seek")
        if whence == io.SEEK_END:
            # A file that has become shorter must be noticed, not sent as it is.
            return self._file.seek(0, io.SEEK_END) - self._start if self._length is None else self._length
        self._file.seek(self._start + offset)
        if offset == 0 and self.count:
            self._tracker.moved(self._path, -self.count)
            self.count = 0
            self._digest.close()
            self._digest = Digest()
        return offset

    def digest(self) -> str | None:
        """Return the MD5 of the bytes read, None if they were not hashed."""
        return self._digest.hexdigest() if self._hashed else None

    def close(self) -> None:
        """Stop hashing; the file stays open."""
        self._digest.close()


def _size(source: Any) -> int | None:
    if isinstance(source, str | os.PathLike):
        return Path(source).stat().st_size
    if isinstance(source, bytes | bytearray | memoryview):
        return memoryview(source).nbytes
    return measure(source)[1]


@contextlib.contextmanager
def _opened(source: Any) -> Iterator[tuple[IO[bytes], int | None, _Snapshot | None]]:
    """Open a source; yield the file, its size (None if unknown), and a snapshot if it is a regular file's path."""
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb", buffering=0) as file:
            state = os.fstat(file.fileno())
            if stat.S_ISREG(state.st_mode):
                yield cast("IO[bytes]", file), state.st_size, _Snapshot(Path(source), state)
            else:
                yield cast("IO[bytes]", file), None, None
    elif isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source), _size(source), None
    else:
        yield source, _size(source), None
