"""Files to objects: through the server, to the store, or to the store in parts."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from lakefs_ops import errors
from lakefs_ops.api.objects import travels_in_headers
from lakefs_ops.api.staging import UploadPart
from lakefs_ops.call import Call
from lakefs_ops.transfer import paths
from lakefs_ops.transfer.checksums import Digest, equal, is_md5, mismatch
from lakefs_ops.transfer.progress import OnProgress, Tracker
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
    from lakefs_ops.api.server import StorageConfig
    from lakefs_ops.client import LakeFSClient

MOST_PARTS = 10_000
"""Parts of a presigned upload that lakeFS 1.84 allows."""
MOST_AT_ONCE = 5_000 << 20
"""Bytes that a store takes in one request: Azure 5,000 MiB, S3 a little more."""


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
        metadata: user metadata. What headers would not keep (large letters, other than ASCII, spaces around a value)
            is set by a second request when the object goes through the server.
        if_none_match: ``*`` to refuse when the object exists.
        force: also in a read-only repository.
        presign: to the store directly; by default if the server offers it.
        part_size: in bytes; larger files go to the store in parts, where the server offers that.
        workers: parts at a time.
        verify: compare the checksum, if it looks like an MD5. Of what goes to the store in one piece, the MD5 is made
            the object's checksum; an ETag of the store would be none where it encrypts.
        progress: called after each block.
        cancel: set it from another thread to stop.

    Returns:
        The object.

    Raises:
        PreconditionFailed: it exists, and ``if_none_match`` was given.
        ChecksumMismatch: the server has something else than was sent.
        Cancelled: ``cancel`` was set; nothing was written.
        InvalidArgument: the source is nothing of the kind.
        OSError: the source cannot be read.

    Example:
        >>> upload_file(client, "lake", "dev", "daily/2015-01.csv", "./2015-01.csv")  # doctest: +SKIP
    """
    upload = _Upload(
        client, repository, branch, content_type=content_type, metadata=metadata, if_none_match=if_none_match,
        force=force, presign=direct_store(client, presign), part_size=part_size, workers=workers, verify=verify,
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
        skip_equal: leave out what is there already with the same size and checksum; one listing tells.
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
        client, repository, branch, if_none_match=if_none_match, force=force, presign=direct_store(client, presign),
        workers=1, verify=verify,
    )  # fmt: skip
    tracker = Tracker(progress, cancel, sum(sizes.values()), len(files))

    def one(path: str) -> bool:
        file, size = files[path], sizes[path]
        if path in there and equal(file, size, there[path], tracker):
            tracker.moved(path, size)
            tracker.finished(path)
            return False
        upload.run(path, file, size, tracker, content_type(path) if content_type else None)
        return True

    return tree_result(each(one, files, width(client, workers), tracker), sizes)


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
        if size is not None and self._in_parts(source, size):
            stats, sent, digest = self._parts(path, Path(source), size, tracker, content_type), size, None
        else:
            direct = self._storage is not None and size is not None and size <= MOST_AT_ONCE
            send = self._to_the_store if direct else self._through_the_server
            with _opened(source) as file, _Watched(file, path, tracker, hashed=self._verify) as body:
                stats = send(path, body, content_type)
                sent, digest = body.count, body.digest()
        if stats.size_bytes != sent:
            raise mismatch(path, f"{stats.size_bytes} bytes arrived of {sent}")
        if digest is not None and is_md5(stats.checksum) and stats.checksum != digest:
            raise mismatch(path, f"the server has the checksum {stats.checksum}, the source {digest}")
        tracker.finished(path)
        return stats

    def _in_parts(self, source: Any, size: int) -> bool:
        # Completing knows neither conditions nor force, so what needs them goes in one piece.
        possible = self._storage is not None and self._storage.pre_sign_multipart_upload
        named = isinstance(source, str | os.PathLike)
        return bool(possible and named and size > self._part_size and not self._if_none_match and not self._force)

    def _through_the_server(self, path: str, body: _Watched, content_type: str | None) -> ObjectStats:
        objects, metadata = self._client.objects, self._metadata
        alongside = travels_in_headers(metadata)
        stats = objects.upload(
            self._repository, self._branch, path, cast("IO[bytes]", body), content_type=content_type,
            metadata=metadata if alongside else None, if_none_match=self._if_none_match, force=self._force,
        )  # fmt: skip
        if not alongside:
            objects.update_user_metadata(self._repository, self._branch, path, set=metadata)
            stats = replace(stats, metadata=metadata)
        return stats

    def _to_the_store(self, path: str, body: _Watched, content_type: str | None) -> ObjectStats:
        staging = self._client.staging
        place = staging.get_physical_address(self._repository, self._branch, path, presign=True)
        if not place.presigned_url:
            return self._through_the_server(path, body, content_type)
        # A store's ETag may look like an MD5 and be none, when it encrypts.
        tag = self._put(place.presigned_url, path, body)
        checksum = body.digest() or tag
        return staging.link_physical_address(
            self._repository, self._branch, path, staging=place, checksum=checksum, size_bytes=body.count,
            user_metadata=self._metadata or None, content_type=content_type, if_none_match=self._if_none_match,
            force=self._force,
        )  # fmt: skip

    def _parts(self, path: str, source: Path, size: int, tracker: Tracker, content_type: str | None) -> ObjectStats:
        part_size = max(self._part_size, -(-size // MOST_PARTS))
        count = -(-size // part_size)
        staging = self._client.staging
        upload = staging.create_multipart_upload(self._repository, self._branch, path, parts=count)

        def address(number: int) -> str:
            return staging.upload_part(
                self._repository, self._branch, upload.upload_id, number, path,
                physical_address=upload.physical_address,
            ).presigned_url  # fmt: skip

        def send(number: int) -> UploadPart:
            start = (number - 1) * part_size
            urls = upload.presigned_urls or []
            url = urls[number - 1] if number <= len(urls) else address(number)
            with source.open("rb", buffering=0) as file:
                body = _Watched(file, path, tracker, start=start, length=min(part_size, size - start))
                try:
                    etag = self._put(url, path, body)
                except errors.PermissionDenied:
                    # The addresses from the start of a long upload end (after 15 minutes as a rule).
                    body.seek(0)
                    etag = self._put(address(number), path, body)
            return UploadPart(part_number=number, etag=etag)

        try:
            parts = each(send, range(1, count + 1), width(self._client, self._workers), tracker)
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
        self._start, self._digest = start, Digest()
        if start is not None:
            file.seek(start)
        elif getattr(file, "seekable", bool)():
            self._start = file.tell()
        self._begin()

    def _begin(self) -> None:
        self.count = 0
        self._digest.close()
        self._digest = Digest()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._start is not None

    def readinto(self, buffer: Any) -> int:
        # The buffer still holds the block that is being hashed.
        self._digest.settle()
        view = memoryview(buffer)
        if self._length is not None:
            view = view[: self._length - self.count]
        if hasattr(self._file, "readinto"):
            count = self._file.readinto(view) or 0
        else:
            data = self._file.read(len(view))
            if not isinstance(data, bytes):
                raise errors.InvalidArgument("the source gives text, not bytes; open it in binary mode")
            count = len(data)
            view[:count] = data
        if self._hashed:
            self._digest.update(view[:count])
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
        if offset == 0 and self.count:
            self._tracker.moved(self._path, -self.count)
            self._begin()
        return offset

    def digest(self) -> str | None:
        """Return the MD5 of what was read, None when it was not hashed."""
        return self._digest.hexdigest() if self._hashed else None

    def close(self) -> None:
        self._digest.close()
        super().close()


def _size(source: Any) -> int | None:
    if isinstance(source, str | os.PathLike):
        return Path(source).stat().st_size
    if isinstance(source, bytes | bytearray):
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
    elif isinstance(source, bytes | bytearray):
        yield io.BytesIO(source)
    elif hasattr(source, "read"):
        yield source
    else:
        raise errors.InvalidArgument(
            f"the source must be a file's path, a file opened in binary mode, or bytes; got {type(source).__name__}"
        )
