"""The bytes of objects: files that are complete before anything refers to them."""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_SIZE = 1 << 20
"""Number of bytes that are read at a time."""

LARGEST_IN_MEMORY = 1 << 16
"""Largest number of bytes that wait in memory for their end."""

_DIGEST = re.compile(r"[0-9a-f]{32}")


class Blobs:
    """Files in one directory, named by their content.

    Args:
        directory: the directory of the files; created if missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._incoming = directory / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left_over in self._incoming.iterdir():
            left_over.unlink()

    def write(self) -> Incoming:
        """Open a new file; nothing refers to it until it is kept."""
        return Incoming(self, self._incoming)

    def path(self, checksum: str, size: int) -> Path:
        """Return the path of the file with these bytes."""
        return Path(f"{self._directory}/{checksum[:2]}/{checksum}-{size:x}")

    def open(self, checksum: str, size: int) -> IO[bytes]:
        """Open the file with these bytes for reading.

        Raises:
            FileNotFoundError: it does not exist.
        """
        if not _DIGEST.fullmatch(checksum):
            raise FileNotFoundError(checksum)
        return self.path(checksum, size).open("rb", buffering=0)


class Incoming:
    """Bytes that are being written: into memory while they are few, so that those already stored need no file.

    Attributes:
        size: number of bytes so far.
    """

    def __init__(self, blobs: Blobs, incoming: Path) -> None:
        self._blobs = blobs
        self._path = incoming / secrets.token_hex(16)
        self._head = bytearray()
        self._file: io.FileIO | None = None
        self._digest = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        self._digest.update(chunk)
        self.size += len(chunk)
        if self._file is None and self.size <= LARGEST_IN_MEMORY:
            self._head += chunk
        else:
            self._write_out(chunk)

    def _write_out(self, chunk: bytes | bytearray | memoryview) -> None:
        if self._file is None:
            self._file = self._path.open("xb", buffering=0)
            _write_all(self._file, self._head)
        _write_all(self._file, chunk)

    @property
    def checksum(self) -> str:
        """MD5 of the bytes so far, in hexadecimal."""
        return self._digest.hexdigest()

    def keep(self, target: Path | None = None) -> None:
        """Finish the file.

        Args:
            target: the path to move it to; by default that of its bytes, where files with equal bytes become one.
        """
        if target is None:
            target = self._blobs.path(self.checksum, self.size)
            if _has_size(target, self.size):  # replacing a file takes long: ext4 writes the new one to the disk first
                return
        self._write_out(b"")
        self._close()
        try:
            self._path.replace(target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.replace(target)
        self._file = None

    def discard(self) -> None:
        """Delete the file, unless it was moved."""
        if self._file is not None:
            self._close()
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()


def _write_all(file: io.FileIO, chunk: bytes | bytearray | memoryview) -> None:
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) :]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


@dataclass(slots=True)
class FilePart:
    """A part of an open file; an iteration yields it in pieces, and closes the file.

    Attributes:
        file: the file.
        start: the position of the next byte.
        length: the number of bytes, as far as the file has them.
    """

    file: IO[bytes]
    start: int
    length: int

    def plain_file(self) -> tuple[IO[bytes] | io.FileIO, int]:
        """Return the file on the disk that has the next byte, and its position in it.

        Raises:
            EOFError: no file has it.
        """
        raw = getattr(self.file, "raw", self.file)
        return raw.at(self.start) if isinstance(raw, Segments) else (raw, self.start)

    def __iter__(self) -> Iterator[bytes]:
        with self.file:
            self.file.seek(self.start)
            while self.length > 0 and (chunk := self.file.read(min(READ_SIZE, self.length))):
                self.start += len(chunk)
                self.length -= len(chunk)
                yield chunk


# objects in several files ---------------------------------------------------------------------------------


def segment_name(start: int) -> str:
    """Return the name of the file in a folder of `Segments` whose first byte is at this position of the object."""
    return f"{start:016x}"


def link(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


class Segments(io.RawIOBase):
    """An object in several files, read as one.

    Args:
        folder: the folder of the files, which has nothing else; see `segment_name`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        with os.scandir(folder) as files:
            self._starts = sorted(int(file.name, 16) for file in files)
        self._at = 0
        self._index = -1
        self._file: io.FileIO | None = None

    @classmethod
    def open(cls, folder: Path) -> IO[bytes]:
        """Open an object for reading."""
        return io.BufferedReader(cls(folder))

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it has positions: yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, relative to the start or to the current position."""
        if whence == os.SEEK_END:
            raise io.UnsupportedOperation("seek from the end")
        self._at = offset if whence == os.SEEK_SET else self._at + offset
        return self._at

    def at(self, position: int) -> tuple[io.FileIO, int]:
        """Return the file that has a position of the object, and the position in it; the file is closed with this one.

        Raises:
            EOFError: no file has it.
        """
        index = bisect(self._starts, position) - 1
        if index < 0:
            raise EOFError
        if self._file is None or index != self._index:
            self._close_file()
            self._file, self._index = io.FileIO(self._folder / segment_name(self._starts[index])), index
        return self._file, position - self._starts[index]

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read from the current position, at most up to the end of its file."""
        try:
            file, position = self.at(self._at)
        except EOFError:
            return 0
        file.seek(position)
        length = file.readinto(buffer)
        self._at += length
        return length

    def close(self) -> None:
        """Close the file that is open."""
        self._close_file()
        super().close()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
