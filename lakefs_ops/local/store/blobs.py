"""The bytes of objects: files that are complete before anything names them."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

CHUNK = 1 << 20


class Blobs:
    """Files below one directory, named by what refers to them.

    Args:
        directory: where the files are; made when missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._incoming = directory / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left_over in self._incoming.iterdir():
            left_over.unlink()

    def write(self) -> Incoming:
        """Begin a new file; nothing refers to it until it is kept."""
        return Incoming(self._directory, self._incoming)

    def path(self, name: str) -> Path:
        """Return where the file of a name is."""
        return self._directory / name[:2] / name

    def open(self, name: str) -> IO[bytes]:
        """Open a file to read.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.path(name).open("rb")


class Incoming:
    """A file that is being written.

    Attributes:
        size: bytes so far.
    """

    def __init__(self, directory: Path, incoming: Path) -> None:
        self._directory = directory
        self._path = incoming / secrets.token_hex(16)
        self._file = self._path.open("wb")
        self._digest = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Add bytes."""
        self._digest.update(chunk)
        self._file.write(chunk)
        self.size += len(chunk)

    @property
    def checksum(self) -> str:
        """MD5 of the bytes so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def keep(self) -> str:
        """Finish the file and return its name; equal bytes share one file."""
        self._file.close()
        name = f"{self.checksum}{self.size:x}"
        target = self._directory / name[:2] / name
        target.parent.mkdir(exist_ok=True)
        os.replace(self._path, target)
        return name

    def discard(self) -> None:
        """Forget the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def pieces(file: IO[bytes], start: int, length: int) -> Iterator[bytes]:
    """Give a part of a file in pieces, and close the file."""
    with file:
        file.seek(start)
        while length > 0 and (chunk := file.read(min(CHUNK, length))):
            length -= len(chunk)
            yield chunk
