"""Objects as files: a reader that seeks, and a writer that uploads when it is closed."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lakefs_ops import errors
from lakefs_ops.call import Call
from lakefs_ops.transfer.workers import direct_store

if TYPE_CHECKING:
    from lakefs_ops.api.common import ObjectStats
    from lakefs_ops.call import Stream
    from lakefs_ops.client import LakeFSClient

READ_AHEAD = 1 << 20
"""Bytes a reader keeps in memory."""
KEPT_IN_MEMORY = 1 << 23
"""Bytes a writer keeps in memory before it goes to a temporary file."""


def open_reader(
    client: LakeFSClient,
    repository: str,
    ref: str,
    path: str,
    *,
    presign: bool | None = None,
    buffer_size: int = READ_AHEAD,
) -> io.BufferedReader:
    """Open an object for reading, as a file that seeks.

    Reading on from where it stands continues one answer; a seek asks for the rest from there. A broken connection is
    taken up again where it broke.

    Args:
        client: the client; it must stay open as long as the reader.
        repository: the repository's id.
        ref: a branch (uncommitted changes included), tag, commit or expression.
        path: the object's path.
        presign: from the store directly; by default if the server offers it.
        buffer_size: bytes kept in memory.

    Raises:
        ObjectNotFound: no such object at this ref.

    Example:
        >>> with open_reader(client, "lake", "main", "daily.parquet") as file:  # doctest: +SKIP
        ...     table = pyarrow.parquet.read_table(file)
    """
    direct = direct_store(client, presign) is not None
    stats = client.objects.stat(repository, ref, path)
    return io.BufferedReader(ObjectReader(client, repository, ref, path, stats, presign=direct), buffer_size)


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

    What is written goes to memory, then to a temporary file; closing uploads it, uncommitted. Leaving ``with`` by an
    error uploads nothing, so there is never half an object. Text goes through
    ``io.TextIOWrapper(file, "utf-8", write_through=True)`` inside the ``with``; a ``with`` of the wrapper's own would
    close the file, and so upload it, after an error too.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to write on.
        path: the object's path.
        content_type: its media type, ``application/octet-stream`` by default.
        metadata: user metadata.
        if_none_match: ``*`` to refuse when the object exists.
        force: also in a read-only repository.
        presign: send it to the store directly; by default if the server offers it.

    Raises:
        PreconditionFailed: at closing, it exists and ``if_none_match`` was given.

    Example:
        >>> with open_writer(client, "lake", "dev", "report.csv", content_type="text/csv") as file:  # doctest: +SKIP
        ...     file.write(b"day,total\n")
    """
    settings = {"content_type": content_type, "metadata": metadata, "if_none_match": if_none_match, "force": force}
    return ObjectWriter(client, repository, branch, path, presign=presign, **settings)


class ObjectReader(io.RawIOBase):
    """An object's bytes, unbuffered; `open_reader` wraps it.

    Attributes:
        stats: what the object was when it was opened.
    """

    def __init__(
        self,
        client: LakeFSClient,
        repository: str,
        ref: str,
        path: str,
        stats: ObjectStats,
        *,
        presign: bool = False,
    ) -> None:
        self._client, self._where, self._presign = client, (repository, ref, path), presign
        self.stats = stats
        self._size = stats.size_bytes or 0
        self._position = self._stream_at = 0
        self._stream: Stream | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is asked of the server before the next read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the object goes.

        Raises:
            TransportError: the bytes did not come, after the client's count of repeats.
            Conflict: the object is another one by now.
        """
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        for attempt in range(self._client.config.retries.count + 1):
            try:
                data = self._open().read(wanted)
            except (errors.ConnectionFailed, errors.TimedOut):
                self._drop()
                if attempt == self._client.config.retries.count:
                    raise
                continue
            if data:
                break
            self._drop()
        else:
            raise errors.ConnectionFailed(
                f"{self._where[2]!r} ended after {self._position} of {self._size} bytes",
                operation="getObject",
                endpoint=self._client.config.endpoint,
            )
        view[: len(data)] = data
        self._position += len(data)
        self._stream_at = self._position
        return len(data)

    def _open(self) -> Stream:
        if self._stream is None or self._stream_at != self._position:
            self._drop()
            self._stream = open_range(
                self._client, *self._where, self.stats, self._position, self._size, presign=self._presign
            )
            self._stream_at = self._position
        return self._stream

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def close(self) -> None:
        """Give the connection back."""
        self._drop()
        super().close()


class ObjectWriter(io.RawIOBase):
    """A binary file that becomes an object when it is closed; `open_writer` makes it.

    Attributes:
        stats: the object, once it is closed.
    """

    def __init__(self, client: LakeFSClient, repository: str, branch: str, path: str, **settings: Any) -> None:
        self._client, self._where, self._settings = client, (repository, branch, path), settings
        self._file: Any = tempfile.SpooledTemporaryFile(max_size=KEPT_IN_MEMORY)  # noqa: SIM115
        self.stats: ObjectStats | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, _buffer: Any) -> int:
        """Refuse: it is for writing."""
        raise io.UnsupportedOperation("not open for reading")

    def write(self, data: Any) -> int:
        """Write all of the bytes."""
        return int(self._file.write(data))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within what is written."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return where the next write begins."""
        return int(self._file.tell())

    def truncate(self, size: int | None = None) -> int:
        """Cut what is behind."""
        return int(self._file.truncate(size))

    def close(self) -> None:
        """Upload what was written; further calls do nothing.

        Raises:
            LakeFSError: the upload failed; what was written is lost.
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
            warnings.warn(f"a writer of {self._where[2]!r} was forgotten, and nothing uploaded", ResourceWarning, 2)


def open_range(
    client: LakeFSClient,
    repository: str,
    ref: str,
    path: str,
    stats: ObjectStats,
    start: int,
    end: int,
    *,
    presign: bool = False,
) -> Stream:
    """Open bytes ``start`` to ``end`` (exclusive) of an object that must still be the one of ``stats``.

    Raises:
        Conflict: it is another one by now.
    """
    whole = start == 0 and end == (stats.size_bytes or 0)
    wanted = None if whole else f"bytes={start}-{end - 1}"
    opened = _open_at_store if presign else _open_at_server
    stream = opened(client, repository, ref, path, stats, wanted)
    # Something in between may ignore ranges: then go over what is not wanted.
    left = 0 if whole or "Content-Range" in stream.headers else start
    with ExitStack() as failing:
        failing.callback(stream.close)
        while left:
            skipped = len(stream.read(min(left, READ_AHEAD)))
            if not skipped:
                raise _changed(client, repository, ref, path)
            left -= skipped
        failing.pop_all()
    return stream


def _open_at_server(
    client: LakeFSClient, repository: str, ref: str, path: str, stats: ObjectStats, wanted: str | None
) -> Stream:
    stream = client.objects.open(repository, ref, path, range=wanted)
    tag = (stream.headers.get("ETag") or "").strip('"')
    if tag and tag != stats.checksum:
        stream.close()
        raise _changed(client, repository, ref, path)
    return stream


def _open_at_store(
    client: LakeFSClient, repository: str, ref: str, path: str, stats: ObjectStats, wanted: str | None
) -> Stream:
    """Open bytes at the store, where an address keeps its bytes for ever; a branch may name another one meanwhile."""
    now = client.objects.stat(repository, ref, path, user_metadata=False, presign=True)
    if (now.checksum, now.size_bytes) != (stats.checksum, stats.size_bytes):
        raise _changed(client, repository, ref, path)
    names = {"repository": repository, "ref": ref, "path": path}
    call = Call("presignedDownload", "GET", "", names, bytes, headers={"Range": wanted} if wanted else {})
    return client.transport.open_at(now.physical_address, call)


def _changed(client: LakeFSClient, repository: str, ref: str, path: str) -> errors.Conflict:
    return errors.Conflict(
        f"the object {path!r} at {ref!r} was written anew while it was read; read it at a commit, or read it again",
        status=409,
        reason="",
        operation="getObject",
        endpoint=client.config.endpoint,
        path_params={"repository": repository, "ref": ref},
        request_id=None,
        retry_after=None,
    )
