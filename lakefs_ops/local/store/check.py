"""Whether a data directory is whole: everything that is named is there, and is what its name says."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.store.blobs import CHUNK, Blobs
from lakefs_ops.local.store.commits import Commit, commit_id
from lakefs_ops.local.store.database import FILE, Database
from lakefs_ops.local.store.trees import (
    EMPTY,
    ROOT,
    Entry,
    Range,
    decode,
    ends_range,
    meta_range_id,
    range_id,
    read_meta_range,
    read_range,
)

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake

DANGLING = "dangling"
"""The kind of the documents that name commits which lacked a tree or a parent from the start."""

PRESENT = "present"

_UPLOAD = re.compile(r"(.*)/data/[0-9a-v]{20}/[0-9a-v]{20}", re.DOTALL)
_COMMITS = "SELECT repository, id, parents, committer, message, created, meta_range_id, metadata FROM commits"


def remember_dangling(lake: Lake, repository: int, commit: Commit) -> None:
    """Remember that a commit names what never was; lakeFS lets the API do that, so it is no damage."""
    known = all(lake.commits.find(repository, parent) for parent in commit.parents)
    if not known or not lake.trees.exists(commit.meta_range_id):
        lake.put_document(repository, DANGLING, PRESENT, commit.id)


class Check:
    """Looks through a data directory that no server has open.

    Args:
        directory: the data directory.
        deep: read the bytes of each object too, and compare their digest.

    Attributes:
        seen: how many of each thing were looked at.

    Raises:
        FileNotFoundError: it is no data directory.
        InUse: a server has it open.
    """

    def __init__(self, directory: Path, *, deep: bool = False) -> None:
        if not (directory / FILE).is_file():
            raise FileNotFoundError(f"{directory} is no data directory: it has no {FILE}")
        self._directory = directory
        self._deep = deep
        self._blobs: dict[tuple[str, int], str] = {}
        self._namespaces: set[str] = set()
        self.seen: Counter[str] = Counter()

    def problems(self) -> Iterator[str]:
        """Go through all that is wrong, a sentence each."""
        try:
            database = Database(self._directory)
        except sqlite3.DatabaseError as error:
            yield f"the database cannot be opened: {error}"
            return
        try:
            for (said,) in database.rows("PRAGMA integrity_check"):
                if said != "ok":
                    yield f"the database: {said}"
            yield from self._repositories(database)
            yield from self._meta_ranges(database)
            yield from self._ranges(database)
            yield from self._commits(database)
            yield from self._pointers(database)
            yield from self._staging(database)
        except sqlite3.DatabaseError as error:
            yield f"the database cannot be read: {error}"
        finally:
            database.close()

    def _repositories(self, database: Database) -> Iterator[str]:
        rows = database.rows(
            "SELECT r.uid, r.id, r.storage_namespace, r.default_branch, r.bare, b.id FROM repositories r"
            " LEFT JOIN branches b ON b.repository = r.uid AND b.id = r.default_branch"
        )
        self._names = {row[0]: row[1] for row in rows}
        self._namespaces = {row[2].rstrip("/") for row in rows}
        self.seen["repositories"] = len(rows)
        for _, name, _, default, bare, found in rows:
            if not bare and found is None:
                yield f"repository {name}: its default branch {default} is missing"
        for table in ("branches", "tags", "commits", "staging"):
            for (uid,) in database.rows(
                f"SELECT DISTINCT repository FROM {table} WHERE repository NOT IN (SELECT uid FROM repositories)"  # noqa: S608
            ):
                yield f"{table}: there is no repository {uid}"

    # trees ----------------------------------------------------------------------------------------------

    def _meta_ranges(self, database: Database) -> Iterator[str]:
        self._spans: dict[str, Range] = {}
        self._trees = {EMPTY, ROOT}
        for id, data in database.connection.execute("SELECT id, data FROM meta_ranges"):
            self.seen["meta-ranges"] += 1
            self._trees.add(id)
            if meta_range_id(data) != id:
                yield f"meta-range {id}: its content has another digest"
                continue
            ranges = read_meta_range(data)
            for before, span in pairwise(ranges):
                if before.last >= span.first:
                    yield f"meta-range {id}: range {span.id} begins before {before.id} ends"
            for span in ranges:
                if self._spans.setdefault(span.id, span) != span:
                    yield f"meta-range {id}: it says of range {span.id} what another one does not"

    def _ranges(self, database: Database) -> Iterator[str]:
        missing = dict(self._spans)
        for id, data in database.connection.execute("SELECT id, data FROM ranges"):
            self.seen["ranges"] += 1
            span = missing.pop(id, None)
            if range_id(data) != id:
                yield f"range {id}: its content has another digest"
                continue
            records = list(read_range(data).items())
            paths = [path for path, _ in records]
            if any(one >= other for one, other in pairwise(paths)):
                yield f"range {id}: its paths are not in order"
            if any(map(ends_range, paths[:-1])):
                yield f"range {id}: it goes on where a range ends"
            if span is not None and span[1:4] != (paths[0], paths[-1], len(paths)):
                yield f"range {id}: it does not hold what its meta-ranges say"
            for path, entry in records:
                if problem := self._bytes(entry):
                    yield f"range {id}: {path!r}: {problem}"
        for id in missing:
            yield f"range {id}: it is missing"

    def _bytes(self, entry: Entry) -> str:
        """Return what is wrong with the bytes of an object; those that lie elsewhere are not ours to check."""
        found = _UPLOAD.fullmatch(entry.address)
        if found is None or found[1] not in self._namespaces:
            return ""
        key = (entry.checksum, entry.size)
        if key not in self._blobs:
            self.seen["files"] += 1
            self._blobs[key] = self._file(Blobs.path_in(self._directory / "objects", *key), *key)
        return self._blobs[key]

    def _file(self, path: Path, checksum: str, size: int) -> str:
        try:
            if (there := path.stat().st_size) != size:
                return f"its file holds {there} bytes, not {size}"
            if self._deep:
                with path.open("rb") as file:
                    digest = hashlib.md5(usedforsecurity=False)
                    while chunk := file.read(CHUNK):
                        digest.update(chunk)
                if digest.hexdigest() != checksum:
                    return f"its file has the digest {digest.hexdigest()}, not {checksum}"
        except OSError as error:
            return f"its file cannot be read: {error.strerror}"
        return ""

    # history --------------------------------------------------------------------------------------------

    def _commits(self, database: Database) -> Iterator[str]:
        dangling = {row[0] for row in database.rows("SELECT id FROM documents WHERE kind = ?", DANGLING)}
        known = set(database.rows("SELECT repository, id FROM commits"))
        self._known = known
        for uid, id, parents, committer, message, created, tree, metadata in database.connection.execute(_COMMITS):
            self.seen["commits"] += 1
            of: dict[str, Any] = {
                "committer": committer, "message": message, "meta_range_id": tree, "created": created,
                "metadata": json.loads(metadata), "parents": tuple(json.loads(parents)),
            }  # fmt: skip
            told = f"repository {self._names.get(uid, uid)}: commit {id}"
            if commit_id(**of) != id:
                yield f"{told}: its id is not that of what it says"
            if id in dangling:
                continue
            if tree not in self._trees:
                yield f"{told}: its meta-range {tree} is missing"
            for parent in of["parents"]:
                if (uid, parent) not in known:
                    yield f"{told}: its parent {parent} is missing"

    def _pointers(self, database: Database) -> Iterator[str]:
        for table, what in (("branches", "branch"), ("tags", "tag")):
            for uid, id, commit in database.connection.execute(f"SELECT repository, id, commit_id FROM {table}"):  # noqa: S608
                self.seen[table] += 1
                if (uid, commit) not in self._known:
                    yield f"repository {self._names.get(uid, uid)}: {what} {id}: its commit {commit} is missing"

    def _staging(self, database: Database) -> Iterator[str]:
        branches = set(database.rows("SELECT repository, id FROM branches"))
        rows = database.connection.execute("SELECT * FROM staging UNION ALL SELECT * FROM sealed")
        for uid, branch, path, entry in rows:
            self.seen["uncommitted"] += 1
            told = f"repository {self._names.get(uid, uid)}: branch {branch}: uncommitted {path!r}"
            if (uid, branch) not in branches:
                yield f"{told}: there is no such branch"
            if entry is not None and (problem := self._bytes(decode(entry))):
                yield f"{told}: {problem}"
