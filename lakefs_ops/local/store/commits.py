"""Commit records: their ids, the log in lakeFS's order, and the merge base."""

from __future__ import annotations

import hashlib
import heapq
import json
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lakefs_ops.local.store.database import Database

CACHED = 4096
NANOSECONDS = 1_000_000_000
LARGEST = (1 << 63) - 1


class Commit(NamedTuple):
    """A commit.

    Attributes:
        id: 64 hexadecimal digits, see `commit_id`.
        parents: the ids of its parents; of a merge the destination's first.
        committer: who made it.
        message: its message.
        created: its date, in Unix seconds.
        moment: the same in nanoseconds, which orders the log.
        meta_range_id: its tree.
        metadata: keys and values.
        generation: one more than its highest parent's.
        version: of the record.
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
    """Return the id that lakeFS gives a commit (contract, part 3).

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
    """Return a date in nanoseconds; what is beyond 64 bits is at their end."""
    return max(-LARGEST, min(LARGEST, date * NANOSECONDS))


def new_commit(
    *,
    parents: tuple[Commit, ...],
    committer: str,
    message: str,
    meta_range_id: str,
    metadata: Mapping[str, str],
    date: int | None = None,
) -> Commit:
    """Make a commit record, not yet stored.

    Args:
        parents: its parents; of a merge the destination's first.
        committer: who makes it.
        message: its message.
        meta_range_id: its tree.
        metadata: keys and values.
        date: its date in Unix seconds, now by default.
    """
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
    """The commits of all repositories.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[int, str], Commit] = OrderedDict()

    def find(self, repository: int, commit_id: str) -> Commit | None:
        """Return a commit by its whole id, or None."""
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
            self._remember(key, found)
        return found

    def get(self, repository: int, commit_id: str) -> Commit:
        """Return a commit that must be there.

        Raises:
            KeyError: it is not.
        """
        found = self.find(repository, commit_id)
        if found is None:
            raise KeyError(commit_id)
        return found

    def beginning(self, repository: int, prefix: str) -> list[str]:
        """Return up to two ids that begin so."""
        rows = self._database.rows(
            "SELECT id FROM commits WHERE repository = ? AND id >= ? AND id < ? LIMIT 2",
            repository,
            prefix,
            prefix + "g",
        )
        return [row[0] for row in rows]

    def store(self, repository: int, commit: Commit) -> None:
        """Keep a commit; a commit of the same id is the same commit."""
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
        """Go through the commits that a head holds, the newest first.

        A parent is looked at only after its child was shown, and of two of the same moment the larger id comes
        first (lakeFS 1.84, recorded).

        Args:
            repository: the repository's number.
            head: where to begin.
            first_parent: follow only the first parent.
            wanted: whether to walk through a commit at all.
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
        """Return the commit from which both come, or None.

        Commits are taken by the highest generation, then the newest; each hands its marks to its parents, and the
        first that bears both is the base (contract, 2.8).
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

    def _remember(self, key: tuple[int, str], commit: Commit) -> None:
        self._known[key] = commit
        while len(self._known) > CACHED:
            self._known.popitem(last=False)


class _NewestFirst:
    """Orders commits in a queue."""

    __slots__ = ("commit",)

    def __init__(self, commit: Commit) -> None:
        self.commit = commit

    def __lt__(self, other: _NewestFirst) -> bool:
        one, two = self.commit, other.commit
        return one.moment > two.moment if one.moment != two.moment else one.id > two.id
