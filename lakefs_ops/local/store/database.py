"""SQLite in WAL mode: one writer at a time, concurrent readers, one connection per thread.

A committed transaction survives the end of the process, even by SIGKILL. With ``synchronous=NORMAL`` a power failure
may lose the last ones, which is acceptable for a test server.
"""

from __future__ import annotations

import errno
import fcntl
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lakefs_ops.local.errors import Refusal

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS repositories (
    uid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, storage_namespace TEXT NOT NULL,
    default_branch TEXT NOT NULL, created INTEGER NOT NULL, read_only INTEGER NOT NULL, bare INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS namespaces (storage_namespace TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    repository INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (repository, kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS branches (
    repository INTEGER NOT NULL, id TEXT NOT NULL, commit_id TEXT NOT NULL, hidden INTEGER NOT NULL,
    PRIMARY KEY (repository, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (
    repository INTEGER NOT NULL, id TEXT NOT NULL, commit_id TEXT NOT NULL, PRIMARY KEY (repository, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS staging (
    repository INTEGER NOT NULL, branch TEXT NOT NULL, path TEXT NOT NULL, entry TEXT,
    PRIMARY KEY (repository, branch, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sealed (
    repository INTEGER NOT NULL, branch TEXT NOT NULL, path TEXT NOT NULL, entry TEXT,
    PRIMARY KEY (repository, branch, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commits (
    repository INTEGER NOT NULL, id TEXT NOT NULL, parents TEXT NOT NULL, committer TEXT NOT NULL,
    message TEXT NOT NULL, created INTEGER NOT NULL, moment INTEGER NOT NULL, meta_range_id TEXT NOT NULL,
    metadata TEXT NOT NULL, generation INTEGER NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (repository, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta_ranges (id TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS ranges (id TEXT PRIMARY KEY, data BLOB NOT NULL);
"""


FILE = "lakefs.db"
"""The name of the database in the data directory."""

NO_SPACE = "no space left on the disk of the data directory"
"""The message for a full disk."""

K = TypeVar("K")
V = TypeVar("V")


class Cache(OrderedDict[K, V]):
    """A dictionary that keeps only the items added last.

    Args:
        size: maximum number of items.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        while len(self) > self._size:
            self.popitem(last=False)


def is_disk_full(error: Exception) -> bool:
    """Whether an operation failed because the disk, or the user's share of it, is full."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class InUse(Refusal):
    """Another process has the data directory open."""


class Database:
    """The database of one data directory.

    Args:
        directory: the data directory, created if missing. Only one process at a time may open it.

    Raises:
        InUse: another process has it open.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / FILE
        self._lock_file = (directory / "lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise InUse(f"another process serves {directory}: stop it, or use another directory") from None
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._registry = threading.Lock()
        self._writer = threading.RLock()
        try:
            self.connection.executescript(SCHEMA)
        except sqlite3.DatabaseError:
            self.close()
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(
                self._file, isolation_level=None, check_same_thread=False, timeout=60, cached_statements=256
            )
            with self._registry:
                self._all.append(found)
            for pragma in (
                "page_size=16384",
                "journal_mode=WAL",
                "synchronous=NORMAL",
                "cache_size=-8192",
                "temp_store=MEMORY",
            ):
                found.execute(f"PRAGMA {pragma}")
            self._local.connection = found
        return found

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run a write transaction, the only one at a time; an exception inside rolls it back."""
        with self._writer:
            connection = self.connection
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back when the disk is full
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def unless_busy(self) -> Iterator[bool]:
        """Keep other threads from writing, unless one does already; yield whether this thread may write at once."""
        free = self._writer.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._writer.release()

    def row(self, statement: str, *values: Any, **named: Any) -> Any:
        """Return the first row, or None."""
        return self.connection.execute(statement, named or values).fetchone()

    def rows(self, statement: str, *values: Any, **named: Any) -> list[Any]:
        """Return all rows."""
        return self.connection.execute(statement, named or values).fetchall()

    def close(self) -> None:
        """Close all connections and release the directory."""
        with self._writer, self._registry:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._lock_file.close()
