"""A data directory: repositories, documents, and access to everything else in it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath
from typing import Any, NamedTuple

from lakefs_ops.local.errors import Conflicting, Forbidden, Invalid, Missing
from lakefs_ops.local.store import names
from lakefs_ops.local.store.blobs import Blobs
from lakefs_ops.local.store.commits import Commit, Commits, new_commit
from lakefs_ops.local.store.database import Database
from lakefs_ops.local.store.multipart import Multipart
from lakefs_ops.local.store.refs import Refs
from lakefs_ops.local.store.trees import ROOT, Trees

SERVER = 0
"""The repository number of documents that belong to the server."""

MAX_FOLDER_NAME = 255
"""Longest name of a folder, in bytes."""


class Repository(NamedTuple):
    """A repository.

    Attributes:
        uid: the number, never reused.
        id: the name.
        storage_namespace: the nominal location of its data.
        default_branch: the branch that cannot be deleted.
        created: time of creation, in Unix seconds.
        read_only: whether changes need ``force``.
        bare: whether it was created without a branch.
    """

    uid: int
    id: str
    storage_namespace: str
    default_branch: str
    created: int
    read_only: bool
    bare: bool


class Lake:
    """The state of the embedded lakeFS.

    Attributes:
        directory: the data directory.
        namespaces: the folder of the storage namespaces.

    Raises:
        InUse: another process has it open.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.namespaces = directory.absolute() / "namespaces"
        self.database = Database(directory)
        self.blobs = Blobs(directory / "objects")
        self.trees = Trees(self.database)
        self.commits = Commits(self.database)
        self.refs = Refs(self.database, self.commits)
        self.multipart = Multipart(self, directory / "multipart")

    def close(self) -> None:
        """Close the database and release the directory."""
        self.database.close()

    # documents: small JSON values of a repository (of the server under number 0) ------------------------

    def document(self, repository: int, kind: str, id: str = "") -> Any:
        """Return a document, or None."""
        row = self.database.row(
            "SELECT value FROM documents WHERE repository = ? AND kind = ? AND id = ?", repository, kind, id
        )
        return None if row is None else json.loads(row[0])

    def documents(self, repository: int, kind: str, prefix: str = "", after: str = "") -> Iterator[tuple[str, Any]]:
        """Iterate over the documents of a kind, ordered by id."""
        rows = self.database.rows(
            "SELECT id, value FROM documents WHERE repository = ? AND kind = ? AND id >= ? AND id > ? ORDER BY id",
            repository, kind, prefix, after,
        )  # fmt: skip
        return ((id, json.loads(value)) for id, value in rows if id.startswith(prefix))

    def put_document(self, repository: int, kind: str, value: Any, id: str = "") -> None:
        """Store a document."""
        with self.database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", (repository, kind, id, json.dumps(value))
            )

    def drop_document(self, repository: int, kind: str, id: str = "") -> bool:
        """Delete a document; return whether it existed."""
        with self.database.writing() as connection:
            done = connection.execute(
                "DELETE FROM documents WHERE repository = ? AND kind = ? AND id = ?", (repository, kind, id)
            )
            return done.rowcount > 0

    # repositories ---------------------------------------------------------------------------------------

    def repository(self, name: str, *, checked: bool = True) -> Repository:
        """Return a repository.

        Raises:
            Invalid: the name is not valid.
            Missing: the repository does not exist.
        """
        row = self.database.row("SELECT * FROM repositories WHERE id = ?", name)
        if row is None:
            if checked:
                names.check_repository(name)
            raise Missing("repository not found")
        return _repository(row)

    def writable(self, name: str, *, force: bool = False, checked: bool = True) -> Repository:
        """Return a repository for a change, as `repository` does.

        Raises:
            Forbidden: the repository is read-only, and the change is not forced.
        """
        repository = self.repository(name, checked=checked)
        if repository.read_only and not force:
            raise Forbidden("read-only repository")
        return repository

    def repositories(self, prefix: str = "", after: str = "", search: str = "") -> Iterator[Repository]:
        """Iterate over the repositories, ordered by name."""
        rows = self.database.rows(
            "SELECT * FROM repositories WHERE id >= ? AND id > ? AND instr(id, ?) > 0 ORDER BY id",
            prefix,
            after,
            search,
        )
        return (_repository(row) for row in rows if row[1].startswith(prefix))

    def check_new(self, name: str) -> None:
        """Raise if the name is taken."""
        if self.database.row("SELECT 1 FROM repositories WHERE id = ?", name):
            raise Conflicting("error creating repository: not unique")

    def create_repository(
        self, name: str, storage_namespace: str, *, default_branch: str, read_only: bool, bare: bool
    ) -> Repository:
        """Create a repository with its first commit and its default branch.

        Raises:
            Conflicting: the name is taken.
            Invalid: the namespace is not valid, or was used before.
        """
        with self.database.writing() as connection:
            self.check_new(name)
            folder = storage_namespace.removeprefix("local://")
            if folder == storage_namespace:
                raise Invalid("failed to match required regex ^local://: invalid namespace")
            if not (read_only or bare):
                _check_folder(folder)
                namespace = f"local://{normpath(f'./{folder}')}"
                if self.database.row("SELECT 1 FROM namespaces WHERE storage_namespace = ?", namespace):
                    raise Invalid(
                        "failed to create repository: found lakeFS objects in the storage"
                        f" (:{storage_namespace}) key(_lakefs/dummy): storage namespace already in use"
                    )
                connection.execute("INSERT INTO namespaces VALUES (?)", (namespace,))
            inserted = connection.execute(
                "INSERT INTO repositories VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                (name, storage_namespace, default_branch, int(time.time()), read_only, bare),
            )
            repository = self.repository(name)
            assert repository.uid == inserted.lastrowid
            if not bare:
                first = new_commit(
                    parents=(), committer="", message="Repository created", meta_range_id=ROOT, metadata={}
                )
                self.commits.store(repository.uid, first)
                connection.execute(
                    "INSERT INTO branches (repository, id, commit_id, hidden) VALUES (?, ?, ?, 0)",
                    (repository.uid, default_branch, first.id),
                )
            return repository

    def delete_repository(self, name: str, *, force: bool) -> None:
        """Delete a repository with everything in it; its namespace stays in use."""
        with self.database.writing() as connection:
            repository = self.writable(name, force=force)
            for table in ("branches", "tags", "staging", "sealed", "commits", "documents"):
                connection.execute(f"DELETE FROM {table} WHERE repository = ?", (repository.uid,))  # noqa: S608
            connection.execute("DELETE FROM repositories WHERE uid = ?", (repository.uid,))


def _repository(row: tuple[Any, ...]) -> Repository:
    return Repository._make((*row[:5], bool(row[5]), bool(row[6])))


def _check_folder(folder: str) -> None:
    """Raise unless the files of a namespace can be in the store."""
    first, *parts = normpath(f"./{folder}").split("/")
    if first in (".", "..") or any(len(part.encode()) > MAX_FOLDER_NAME for part in (first, *parts)):
        raise Invalid("failed to create repository: failed to access storage")


def new_id() -> str:
    """Return an id that sorts by time: 20 characters of ``0-9a-v``."""
    return _base32((int(time.time()) << 64) | secrets.randbits(64))


def newest_first_id() -> str:
    """Return an id that sorts newest second first, and oldest first within a second (lakeFS 1.84)."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return _base32(0xFFFF_FFFF - seconds << 68 | rest << 38 | secrets.randbits(34) << 4)


def _base32(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuv"
    text = ""
    for _ in range(20):
        number, rest = divmod(number, 32)
        text = digits[rest] + text
    return text


__all__ = ["Commit", "Lake", "Repository", "new_id", "newest_first_id"]
