"""Checks that a data directory is intact: everything referenced exists and matches its digest."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from lakefs_ops.local.store.commits import commit_id
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

_UPLOAD = re.compile(r"(.*)/data/[0-9a-v]{20}/[0-9a-v]{20}", re.DOTALL)
_COMMITS = "SELECT repository, id, parents, committer, message, created, meta_range_id, metadata FROM commits"


class Check:
    """Checks a data directory that no server has open.

    Args:
        directory: the data directory.
        deep: also read the bytes of each object and compare their digest.
        made_up: allow commits that refer to trees and parents that never existed, as the API does.

    Attributes:
        seen: number of checked items by kind.

    Raises:
        FileNotFoundError: not a data directory.
        InUse: a server has the directory open.
    """

    def __init__(self, directory: Path, *, deep: bool = False, made_up: bool = False) -> None:
        if not (directory / FILE).is_file():
            raise FileNotFoundError(f"{directory} is not a data directory: it has no {FILE}")
        self._directory = directory
        self._deep = deep
        self._made_up = made_up
        self._blobs: dict[tuple[str, int], str] = {}
        self._namespaces: set[str] = set()
        self.seen: Counter[str] = Counter()

    def problems(self) -> Iterator[str]:
        """Yield each problem as a sentence."""
        try:
            database = Database(self._directory)
        except sqlite3.DatabaseError as error:
            yield f"the database cannot be opened: {error}"
            return
        try:
            for (result,) in database.rows("PRAGMA integrity_check"):
                if result != "ok":
                    yield f"the database: {result}"
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
                f"SELECT DISTINCT repository FROM {table} WHERE repository NOT IN (SELECT uid FROM repositories)"
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
                    yield f"meta-range {id}: it describes range {span.id} unlike another meta-range"

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
                yield f"range {id}: it continues where a range ends"
            if span is not None and span[1:4] != (paths[0], paths[-1], len(paths)):
                yield f"range {id}: it does not match its meta-ranges"
            for path, entry in records:
                if problem := self._bytes(entry):
                    yield f"range {id}: {path!r}: {problem}"
        for id in missing:
            yield f"range {id}: it is missing"

    def _bytes(self, entry: Entry) -> str:
        """Return the problem with the bytes of an object, empty for none; bytes stored elsewhere are not checked."""
        found = _UPLOAD.fullmatch(entry.address)
        if found is None or found[1] not in self._namespaces:
            return ""
        key = (entry.checksum, entry.size)
        if key not in self._blobs:
            self.seen["files"] += 1
            self._blobs[key] = self._file(*key)
        return self._blobs[key]

    def _file(self, checksum: str, size: int) -> str:
        path = self._directory / "objects" / checksum[:2] / f"{checksum}-{size:x}"
        try:
            if (there := path.stat().st_size) != size:
                return f"its file holds {there} bytes, not {size}"
            if self._deep:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
                if digest.hexdigest() != checksum:
                    return f"its file has the digest {digest.hexdigest()}, not {checksum}"
        except OSError as error:
            return f"its file cannot be read: {error.strerror}"
        return ""

    # history --------------------------------------------------------------------------------------------

    def _commits(self, database: Database) -> Iterator[str]:
        known = set(database.rows("SELECT repository, id FROM commits"))
        self._known = known
        for uid, id, parents, committer, message, created, tree, metadata in database.connection.execute(_COMMITS):
            self.seen["commits"] += 1
            of: dict[str, Any] = {
                "committer": committer, "message": message, "meta_range_id": tree, "created": created,
                "metadata": json.loads(metadata), "parents": tuple(json.loads(parents)),
            }  # fmt: skip
            where = f"repository {self._names.get(uid, uid)}: commit {id}"
            if commit_id(**of) != id:
                yield f"{where}: its id does not match its content"
            if self._made_up:
                continue
            if tree not in self._trees:
                yield f"{where}: its meta-range {tree} is missing"
            for parent in of["parents"]:
                if (uid, parent) not in known:
                    yield f"{where}: its parent {parent} is missing"

    def _pointers(self, database: Database) -> Iterator[str]:
        for table, what in (("branches", "branch"), ("tags", "tag")):
            for uid, id, commit in database.connection.execute(f"SELECT repository, id, commit_id FROM {table}"):
                self.seen[table] += 1
                if (uid, commit) not in self._known:
                    yield f"repository {self._names.get(uid, uid)}: {what} {id}: its commit {commit} is missing"

    def _staging(self, database: Database) -> Iterator[str]:
        branches = set(database.rows("SELECT repository, id FROM branches"))
        rows = database.connection.execute("SELECT * FROM staging UNION ALL SELECT * FROM sealed")
        for uid, branch, path, entry in rows:
            self.seen["uncommitted"] += 1
            where = f"repository {self._names.get(uid, uid)}: branch {branch}: uncommitted {path!r}"
            if (uid, branch) not in branches:
                yield f"{where}: the branch does not exist"
            if entry is not None and (problem := self._bytes(decode(entry))):
                yield f"{where}: {problem}"
