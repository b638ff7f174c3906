"""Commit records: their ids, the log in lakeFS's order, and merge bases."""

from __future__ import annotations

import hashlib
import heapq
import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from lakefs_ops.local.store.database import Cache, Database

CACHED_COMMITS = 4096
NANOSECONDS = 1_000_000_000
MAX_INT64 = (1 << 63) - 1


class Commit(NamedTuple):
    """A commit.

    Attributes:
        id: 64 hexadecimal digits, see `commit_id`.
        parents: the ids of its parents; for a merge the destination comes first.
        committer: the id of the user who committed.
        message: the message.
        created: the date, in Unix seconds.
        moment: the date in nanoseconds, which orders the log.
        meta_range_id: the tree.
        metadata: keys and values.
        generation: one more than the highest generation of its parents.
        version: the version of the record's format.
    """

    id: str
    parents: tuple[str, ...]
    committer: str
    message: str
    created: int
    moment: int
    meta_range_id: str
    metadata: dict[str, str]
    generation: int
    version: int


def commit_id(
    *,
    committer: str,
    message: str,
    meta_range_id: str,
    created: int,
    metadata: Mapping[str, str],
    parents: tuple[str, ...],
) -> str:
    """Return the id of a commit, computed as lakeFS does (contract, part 3).

    Example:
        >>> len(commit_id(committer="", message="", meta_range_id="", created=0, metadata={}, parents=()))
        64
    """
    digest = hashlib.sha256()
    for text in ("commit:v1", committer, message, meta_range_id):
        digest.update(_text(text))
    digest.update(_number(created))
    digest.update(b"\x04" + _number(len(metadata)))
    for key in sorted(metadata, key=lambda key: key.encode()):
        digest.update(_text(key) + _text(metadata[key]))
    ancestry = hashlib.sha256(b"\x03" + _number(len(parents)) + b"".join(map(_text, parents))).digest()
    digest.update(b"\x05\x00" + _number(len(ancestry)) + ancestry)
    return digest.hexdigest()


def _number(value: int) -> bytes:
    return b"\x02\x08" + struct.pack(">q", value)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"\x01" + _number(len(data)) + data


def moment_of(date: int) -> int:
    """Return a date in nanoseconds, clamped to 64 bits."""
    return max(-MAX_INT64, min(MAX_INT64, date * NANOSECONDS))


def new_commit(
    *,
    parents: tuple[Commit, ...],
    committer: str,
    message: str,
    meta_range_id: str,
    metadata: Mapping[str, str],
    date: int | None = None,
) -> Commit:
    """Create a commit record without storing it; the arguments are those of `Commit`, the date is now by default."""
    now = time.time_ns()
    created = now // NANOSECONDS if date is None else date
    moment = now if date is None else moment_of(date)
    ids = tuple(parent.id for parent in parents)
    return Commit(
        commit_id(
            committer=committer,
            message=message,
            meta_range_id=meta_range_id,
            created=created,
            metadata=metadata,
            parents=ids,
        ),
        ids, committer, message, created, moment, meta_range_id, dict(metadata),
        max((parent.generation for parent in parents), default=0) + 1, 1,
    )  # fmt: skip


class Commits:
    """The commits of all repositories."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Cache[tuple[int, str], Commit] = Cache(CACHED_COMMITS)

    def find(self, repository: int, commit_id: str) -> Commit | None:
        """Return a commit by its full id, or None."""
        key = (repository, commit_id)
        found = self._known.get(key)
        if found is None:
            row = self._database.row(
                "SELECT id, parents, committer, message, created, moment, meta_range_id, metadata, generation, version"
                " FROM commits WHERE repository = ? AND id = ?",
                repository,
                commit_id,
            )
            if row is None:
                return None
            found = Commit._make((row[0], tuple(json.loads(row[1])), *row[2:7], json.loads(row[7]), *row[8:]))
            self._known[key] = found
        return found

    def get(self, repository: int, commit_id: str) -> Commit:
        """Return a commit that must exist.

        Raises:
            KeyError: it does not.
        """
        found = self.find(repository, commit_id)
        if found is None:
            raise KeyError(commit_id)
        return found

    def starting_with(self, repository: int, prefix: str) -> list[str]:
        """Return up to two ids that start with a prefix."""
        rows = self._database.rows(
            "SELECT id FROM commits WHERE repository = ? AND id >= ? AND id < ? LIMIT 2",
            repository,
            prefix,
            prefix + "g",
        )
        return [row[0] for row in rows]

    def store(self, repository: int, commit: Commit) -> None:
        """Store a commit unless it exists; equal ids mean equal commits."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    repository, commit.id, json.dumps(commit.parents), commit.committer, commit.message, commit.created,
                    commit.moment, commit.meta_range_id, json.dumps(commit.metadata), commit.generation, commit.version,
                ),
            )  # fmt: skip

    def log(
        self,
        repository: int,
        head: Commit,
        *,
        first_parent: bool = False,
        wanted: Callable[[Commit], bool] | None = None,
    ) -> Iterator[Commit]:
        """Iterate over a head and its ancestors, newest first.

        A parent comes only after its child, and of two commits of the same moment the larger id comes first (lakeFS
        1.84, recorded).

        Args:
            repository: the repository's number.
            head: the first commit.
            first_parent: follow only the first parent of each commit.
            wanted: whether to include a commit and follow its parents.
        """
        queue = [_NewestFirst(head)]
        seen = {head.id}
        while queue:
            commit = heapq.heappop(queue).commit
            if wanted is not None and not wanted(commit):
                continue
            yield commit
            for parent in commit.parents[:1] if first_parent else commit.parents:
                if parent not in seen:
                    seen.add(parent)
                    heapq.heappush(queue, _NewestFirst(self.get(repository, parent)))

    def merge_base(self, repository: int, left: Commit, right: Commit) -> Commit | None:
        """Return the merge base of two commits, or None.

        Commits are visited by the highest generation, then the newest. Each passes its marks to its parents; the first
        commit with both marks is the base (contract, 2.8).
        """
        if left.id == right.id:
            return left
        marks = {left.id: 1, right.id: 2}
        queue = [(-c.generation, -c.moment, c.id, c) for c in (left, right)]
        heapq.heapify(queue)
        while queue:
            commit = heapq.heappop(queue)[-1]
            mark = marks[commit.id]
            for parent_id in commit.parents:
                before = marks.get(parent_id, 0)
                marks[parent_id] = before | mark
                if marks[parent_id] == 3:
                    return self.get(repository, parent_id)
                if not before:
                    parent = self.get(repository, parent_id)
                    heapq.heappush(queue, (-parent.generation, -parent.moment, parent.id, parent))
        return None


class _NewestFirst:
    """Orders the commits of a queue."""

    __slots__ = ("commit",)

    def __init__(self, commit: Commit) -> None:
        self.commit = commit

    def __lt__(self, other: _NewestFirst) -> bool:
        one, two = self.commit, other.commit
        return one.moment > two.moment if one.moment != two.moment else one.id > two.id
