"""Multipart uploads: parts that wait for their completion, in files that nothing else refers to."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.store.blobs import link, segment_name

if TYPE_CHECKING:
    from lakefs_ops.local.store.blobs import Incoming
    from lakefs_ops.local.store.lake import Lake

UPLOAD = "multipart"
PART = "multipart part/"
"""Kinds of the documents of uploads and, with the ID of an upload, of its parts."""

MAX_PART = 10_000
"""Largest number of a part."""

MIN_PART = 5 << 20
"""Smallest part but the last on an object store, in bytes."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that is not completed.

    Attributes:
        id: its ID.
        repository: the number of its repository.
        branch: the branch that it was started on.
        path: the path of its object.
        metadata: the user metadata of its object.
        content_type: the media type of its object, empty without one.
        created: when it was started, in Unix seconds.
    """

    id: str
    repository: int
    branch: str
    path: str
    metadata: dict[str, str]
    content_type: str
    created: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload.

    Attributes:
        number: its number, from 1.
        checksum: the MD5 of its bytes, in hexadecimal.
        size: their number.
        mtime: when it was written, in Unix seconds.
        file: the name of its file.
    """

    number: int
    checksum: str
    size: int
    mtime: int
    file: str


class Unordered(ValueError):
    """A list of parts whose numbers do not ascend."""


class Multipart:
    """The multipart uploads of all repositories; they survive a restart.

    Args:
        lake: the state.
        directory: the directory of the parts; created if missing, cleared of files without an upload.
    """

    def __init__(self, lake: Lake, directory: Path) -> None:
        self._lake = lake
        self._directory = directory
        directory.mkdir(exist_ok=True)
        known = {part.file for part in self._all_parts()}
        for file in directory.iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name not in known:
                file.unlink()

    def _all_parts(self) -> Iterator[Part]:
        rows = self._lake.database.rows(
            "SELECT repository, kind FROM documents WHERE kind >= ? AND kind < ? GROUP BY repository, kind",
            PART, PART + "\U0010ffff",
        )  # fmt: skip
        for repository, kind in rows:
            for _, value in self._lake.documents(repository, kind):
                yield Part(**value)

    def create(self, repository: int, branch: str, path: str, *, metadata: dict[str, str], content_type: str) -> Upload:
        """Start an upload."""
        upload = Upload(secrets.token_hex(16), repository, branch, path, metadata, content_type, int(time.time()))
        self._lake.put_document(repository, UPLOAD, asdict(upload), upload.id)
        return upload

    def find(self, repository: int, id: str) -> Upload | None:
        """Return an upload, or None."""
        found: dict[str, Any] | None = self._lake.document(repository, UPLOAD, id) if id else None
        return None if found is None else Upload(**found)

    def uploads(self, repository: int) -> list[Upload]:
        """Return the uploads of a repository, ordered by path and start."""
        found = [Upload(**value) for _, value in self._lake.documents(repository, UPLOAD)]
        return sorted(found, key=lambda upload: (upload.path, upload.created, upload.id))

    def parts(self, upload: Upload) -> list[Part]:
        """Return the parts of an upload, ordered by number."""
        return [Part(**value) for _, value in self._lake.documents(upload.repository, PART + upload.id)]

    def put(self, upload: Upload, number: int, incoming: Incoming) -> Part | None:
        """Store a part in place of the one with its number, if there is one.

        Returns:
            The part; None if the upload is not there any more.
        """
        part = Part(number, incoming.checksum, incoming.size, int(time.time()), secrets.token_hex(16))
        incoming.keep(self._directory / part.file)
        with self._lake.database.writing():
            kind, id = PART + upload.id, f"{number:05d}"
            known = self.find(upload.repository, upload.id) is not None
            before = self._lake.document(upload.repository, kind, id)
            if known:
                self._lake.put_document(upload.repository, kind, asdict(part), id)
        self._delete([before["file"]] if known and before else [] if known else [part.file])
        return part if known else None

    def listed(self, upload: Upload, wanted: Sequence[tuple[int, str]]) -> list[Part]:
        """Return the parts of a list of numbers and ETags.

        Raises:
            Unordered: the numbers do not ascend.
            LookupError: a part does not exist, or has another ETag.
        """
        if any(after[0] <= before[0] for before, after in pairwise(wanted)):
            raise Unordered
        known = {part.number: part for part in self.parts(upload)}
        parts = [known[number] for number, _ in wanted]
        for part, (number, tag) in zip(parts, wanted, strict=True):
            if part.checksum != tag.strip(' "'):
                raise LookupError(number)
        return parts

    def complete(self, upload: Upload, parts: Sequence[Part], target: Path, stage: Callable[[str, int], None]) -> None:
        """Make an object of the parts of an upload, and end the upload. If that fails, the upload remains.

        The bytes are not copied: the object is a folder with a second link to the file of each part.

        Args:
            upload: the upload.
            parts: its parts, in order.
            target: the folder of the object, see `blobs.Segments`.
            stage: stages the object, given its checksum and its size; called inside the transaction.

        Raises:
            FileNotFoundError: the upload ended in the meantime.
            FileExistsError: another object is at the target.
        """
        checksum = hashlib.md5(b"".join(bytes.fromhex(part.checksum) for part in parts), usedforsecurity=False)
        folder = self._directory / secrets.token_hex(16)
        try:
            size = self._link(parts, folder)
            with self._lake.database.writing():
                done = self._end(upload)
                folder = _move(folder, target)
                stage(checksum.hexdigest(), size)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.discard(done)

    def _link(self, parts: Iterable[Part], folder: Path) -> int:
        """Link the files of parts into a new folder; return the number of their bytes.

        Raises:
            FileNotFoundError: a part is gone, because the upload ended in the meantime.
        """
        folder.mkdir()
        size = 0
        for part in parts:
            if part.size:
                link(self._directory / part.file, folder / segment_name(size))
                size += part.size
        return size

    def _end(self, upload: Upload) -> list[Part]:
        parts = self.forget(upload)
        if parts is None:
            raise FileNotFoundError(upload.id)
        return parts

    def forget(self, upload: Upload) -> list[Part] | None:
        """Remove the records of an upload and its parts, inside a transaction.

        Returns:
            The parts, whose files `discard` deletes after the transaction; None if the upload is not there any more.
        """
        with self._lake.database.writing():
            parts = self.parts(upload)
            if not self._lake.drop_document(upload.repository, UPLOAD, upload.id):
                return None
            for part in parts:
                self._lake.drop_document(upload.repository, PART + upload.id, f"{part.number:05d}")
            return parts

    def discard(self, parts: Iterable[Part]) -> None:
        """Delete the files of parts."""
        self._delete([part.file for part in parts])

    def _delete(self, files: Iterable[str]) -> None:
        for file in files:
            (self._directory / file).unlink(missing_ok=True)


def _move(folder: Path, target: Path) -> Path:
    if target.exists():
        raise FileExistsError(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    return folder.rename(target)
