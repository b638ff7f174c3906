"""Objects as files: a seekable reader, and a writer that uploads on close."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex

from lakefs_ops import errors
from lakefs_ops.api.objects import check_metadata
from lakefs_ops.call import Call
from lakefs_ops.transfer.checksums import is_encrypted_etag
from lakefs_ops.transfer.paths import relative
from lakefs_ops.transfer.workers import direct_store

if TYPE_CHECKING:
    from lakefs_ops.api.common import ObjectStats
    from lakefs_ops.call import Stream
    from lakefs_ops.client import LakeFSClient

READ_BUFFER_SIZE = 1 << 20
"""Bytes that a reader buffers."""
MAX_WRITE_MEMORY = 1 << 23
"""Bytes that a writer holds in memory before it switches to a temporary file."""


def open_reader(
    client: LakeFSClient,
    repository: str,
    ref: str,
    path: str,
    *,
    presign: bool | None = None,
    buffer_size: int = READ_BUFFER_SIZE,
) -> io.BufferedReader:
    """Open an object for reading, as a seekable binary file.

    Sequential reads share one request; reading after a seek sends a new one. After a broken connection, reading
    resumes at the current position.

    Args:
        client: the client; it must stay open as long as the reader.
        repository: the repository's id.
        ref: a branch (including uncommitted changes), tag, commit or expression.
        path: the object's path.
        presign: whether to read from the store directly; default: if the server supports it.
        buffer_size: size of the buffer in bytes.

    Raises:
        ObjectNotFound: the object does not exist at this ref.
        Conflict: while reading: the object was overwritten since it was opened.

    Example:
        >>> with open_reader(client, "lake", "main", "daily.parquet") as file:  # doctest: +SKIP
        ...     table = pyarrow.parquet.read_table(file)
    """
    direct = direct_store(client, presign) is not None
    stats = client.objects.stat(repository, ref, path)
    return _BufferedReader(ObjectReader(client, repository, ref, stats, presign=direct), buffer_size)


def open_writer(
    client: LakeFSClient,
    repository: str,
    branch: str,
    path: str,
    *,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
    if_none_match: str | None = None,
    force: bool | None = None,
    presign: bool | None = None,
) -> ObjectWriter:
    r"""Open an object for writing, as a binary file.

    Data is held in memory, then in a temporary file; closing uploads it as an uncommitted object. If the ``with``
    block raises, nothing is uploaded, so no partial object exists. To write text, use
    ``io.TextIOWrapper(file, "utf-8", write_through=True)`` inside the ``with`` block; a ``with`` block around the
    wrapper would close and upload the file even after an error.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to write to.
        path: the object's path.
        content_type: the media type; default: ``application/octet-stream``.
        metadata: user metadata.
        if_none_match: ``*`` to fail if the object exists.
        force: allow on a read-only repository.
        presign: whether to send the data to the store directly; default: if the server supports it.

    Raises:
        InvalidArgument: the path is empty, too long or starts with ``/``, or the metadata is not a mapping of strings
            to strings, or has line breaks.
        PreconditionFailed: on close: the object exists and ``if_none_match`` is ``*``.

    Example:
        >>> with open_writer(client, "lake", "dev", "report.csv", content_type="text/csv") as file:  # doctest: +SKIP
        ...     file.write(b"day,total\n")
    """
    relative(path)
    check_metadata(metadata)
    settings = {"content_type": content_type, "metadata": metadata, "if_none_match": if_none_match, "force": force}
    return ObjectWriter(client, repository, branch, path, presign=presign, **settings)


class ResumingReader:
    """Reads a range of one version of an object; resumes at the current position after a broken response.

    Args:
        client: the client.
        repository: the repository's id.
        ref: where to read the object.
        stats: the object as it was when reading started; it must stay the same.
        start: offset of the first byte.
        end: offset after the last byte.
        presign: whether to read from the store directly.

    Attributes:
        position: offset of the next byte to read; may be set.
        retries: how many more times a broken response may be resumed; may be set.
        encrypted: whether a response has shown that the object's checksum is not an MD5 (`is_encrypted_etag`).
    """

    def __init__(
        self,
        client: LakeFSClient,
        repository: str,
        ref: str,
        stats: ObjectStats,
        start: int,
        end: int,
        *,
        presign: bool,
    ) -> None:
        self._client, self._repository, self._ref = client, repository, ref
        self._stats, self._end, self._presign = stats, end, presign
        self.position, self.retries, self.encrypted = start, client.config.retries.count, False
        self._stream: Stream | None = None
        self._stream_position = start

    def read(self, size: int) -> bytes:
        """Return at least one and at most ``size`` bytes; empty at the end of the range.

        Raises:
            TransportError: the response broke and ``retries`` are used up.
            Conflict: the object was overwritten.
        """
        failure: errors.TransportError
        while self.position < self._end:
            try:
                data = self._open().read(min(size, self._end - self.position))
            except (errors.ConnectionFailed, errors.TimedOut) as broken:
                failure = broken
            else:
                if data:
                    self.position = self._stream_position = self.position + len(data)
                    return data
                failure = errors.ConnectionFailed(
                    f"{self._stats.path!r} ended after {self.position} of {self._stats.size_bytes} bytes",
                    operation="getObject",
                    endpoint=self._client.config.endpoint,
                )
            self.close()
            if self.retries <= 0:
                raise failure
            self.retries -= 1
        return b""

    def close(self) -> None:
        """Release the connection; the next read opens another."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Stream:
        """Return a stream at the current position."""
        if self._stream is not None and self._stream_position == self.position:
            return self._stream
        self.close()
        whole = self.position == 0 and self._end == self._stats.size_bytes
        wanted = None if whole else f"bytes={self.position}-{self._end - 1}"
        stream = self._open_at_store(wanted) if self._presign else self._open_at_server(wanted)
        self.encrypted = self.encrypted or is_encrypted_etag(self._stats, stream.headers)
        try:
            # A proxy may ignore the range and send the whole object.
            if not whole and "Content-Range" not in stream.headers:
                self._skip(stream, self.position)
        except BaseException:
            stream.close()
            raise
        self._stream, self._stream_position = stream, self.position
        return stream

    def _skip(self, stream: Stream, count: int) -> None:
        while count:
            skipped = len(stream.read(min(count, READ_BUFFER_SIZE)))
            if not skipped:
                raise self._overwritten()
            count -= skipped

    def _open_at_server(self, wanted: str | None) -> Stream:
        stream = self._client.objects.open(self._repository, self._ref, self._stats.path, range=wanted)
        tag = (stream.headers.get("ETag") or "").strip('"')
        if tag and tag != self._stats.checksum:
            stream.close()
            raise self._overwritten()
        return stream

    def _open_at_store(self, wanted: str | None) -> Stream:
        """Open the object's physical address, whose bytes never change, if the ref still points to the same version."""
        path = self._stats.path
        now = self._client.objects.stat(self._repository, self._ref, path, user_metadata=False, presign=True)
        if (now.checksum, now.size_bytes) != (self._stats.checksum, self._stats.size_bytes):
            raise self._overwritten()
        params = {"repository": self._repository, "ref": self._ref, "path": path}
        call = Call("presignedDownload", "GET", "", params, bytes, headers={"Range": wanted} if wanted else {})
        return self._client.transport.open_at(now.physical_address, call)

    def _overwritten(self) -> errors.Conflict:
        return errors.Conflict(
            f"the object {self._stats.path!r} at {self._ref!r} was overwritten while it was being read; read it at a"
            " commit, or start over",
            status=409,
            reason="",
            operation="getObject",
            endpoint=self._client.config.endpoint,
            context={"repository": self._repository, "ref": self._ref},
            request_id=None,
            retry_after=None,
        )


class _NotPicklable:
    """An open file, which belongs to one process."""

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"an open {type(self).__name__.lstrip('_')} cannot be pickled or copied; pass the object's repository, ref"
            " and path, and open it where it is used"
        )


class _BufferedReader(_NotPicklable, io.BufferedReader):
    """What `open_reader` returns."""


class ObjectReader(_NotPicklable, io.RawIOBase):
    """An object as an unbuffered, seekable file; `open_reader` wraps it in a buffer.

    Attributes:
        stats: the object as it was when it was opened.
    """

    def __init__(
        self, client: LakeFSClient, repository: str, ref: str, stats: ObjectStats, *, presign: bool = False
    ) -> None:
        self.stats = stats
        self._size = stats.size_bytes or 0
        self._retries = client.config.retries.count
        self._reader = ResumingReader(client, repository, ref, stats, 0, self._size, presign=presign)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the current position."""
        return self._reader.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position; no request is sent before the next read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._reader.position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._reader.position = start + offset
        return self._reader.position

    def readinto(self, buffer: Any) -> int:
        """Read up to the buffer's size; each call has the client's full number of retries.

        Raises:
            TransportError: the bytes could not be read, after all retries.
            Conflict: the object was overwritten since it was opened.
        """
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        self._reader.retries = self._retries
        data = self._reader.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Release the connection."""
        self._reader.close()
        super().close()


class ObjectWriter(_NotPicklable, io.RawIOBase):
    """A binary file that is uploaded as an object on close; `open_writer` returns it.

    Attributes:
        stats: the object, after close.
    """

    def __init__(self, client: LakeFSClient, repository: str, branch: str, path: str, **settings: Any) -> None:
        self._client, self._where, self._settings = client, (repository, branch, path), settings
        self._file: Any = tempfile.SpooledTemporaryFile(max_size=MAX_WRITE_MEMORY)  # noqa: SIM115
        self.stats: ObjectStats | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, _buffer: Any) -> int:
        """Raise: the file is open for writing only."""
        raise io.UnsupportedOperation("not open for reading")

    def write(self, data: Any) -> int:
        """Write all bytes."""
        return int(self._file.write(data))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the current position."""
        return int(self._file.tell())

    def truncate(self, size: int | None = None) -> int:
        """Cut the file at ``size``, or at the current position."""
        return int(self._file.truncate(size))

    def close(self) -> None:
        """Upload the data; further calls do nothing.

        Raises:
            LakeFSError: the upload failed; the data is lost.
        """
        if self.closed:
            return
        from lakefs_ops.transfer.uploads import upload_file

        try:
            self._file.seek(0)
            self.stats = upload_file(self._client, *self._where, self._file, **self._settings)
        finally:
            self.discard()

    def discard(self) -> None:
        """Close without uploading."""
        self._file.close()
        super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if not self.closed:
            self.discard()
            warnings.warn(f"{self._where[2]!r} was never closed, so nothing was uploaded", ResourceWarning, 2)
