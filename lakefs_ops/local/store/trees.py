"""What a commit holds: sorted, immutable ranges of records under a meta-range, both named by their content.

A range ends behind each record whose path hashes to a multiple of `RECORDS`, so where ranges end depends on the paths
alone, but for ranges that were taken in as they were. A commit rewrites only the ranges that it touches; differences
and merges skip the ranges that two trees share. Which ranges a change touches follows lakeFS: what led to a content
may show in its id, and by the ids a merge has changes or none.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from lakefs_ops.local.errors import DataGone

if TYPE_CHECKING:
    from lakefs_ops.local.store.database import Database

V = TypeVar("V")

RECORDS = 1024
"""How many records a range holds on average."""

EMPTY = "00fb7eff1a97c500eb3ca8d2ef5464131d6b6a5f9512e41eba97843522213b66"
"""The id of the meta-range without records (lakeFS 1.84, recorded)."""

ROOT = ""
"""The meta-range id of a repository's first commit (lakeFS 1.84, recorded)."""

CACHED_RANGES = 256
CACHED_META_RANGES = 64


class Entry(NamedTuple):
    """What is known of an object.

    Attributes:
        address: where its bytes are.
        checksum: their digest.
        size: their number.
        mtime: when they were written, in Unix seconds.
        metadata: user metadata.
        content_type: the media type, empty when none was given.
    """

    address: str
    checksum: str
    size: int
    mtime: int
    metadata: dict[str, str]
    content_type: str

    @property
    def identity(self) -> tuple[int, str, dict[str, str], str]:
        """What makes two objects equal; when and where they were written does not count (contract, part 3)."""
        return self.size, self.checksum, self.metadata, self.content_type


def encode(entry: Entry) -> str:
    """Return an entry as text."""
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False)


def decode(text: str) -> Entry:
    """Read an entry back."""
    return Entry(*json.loads(text))


class Range(NamedTuple):
    """One range: where it is kept and what it spans.

    Attributes:
        id: a digest of its records.
        first: its first path.
        last: its last path.
        records: how many it holds.
    """

    id: str
    first: str
    last: str
    records: int


class Records(NamedTuple):
    """The records of a range, in order.

    Attributes:
        paths: the paths.
        entries: an entry for each.
    """

    paths: list[str]
    entries: list[Entry]


def ends_range(path: str) -> bool:
    """Whether a range ends behind this path."""
    return zlib.crc32(path.encode("utf-8", "surrogatepass")) % RECORDS == 0


def range_id(data: bytes) -> str:
    """Return the id of a range."""
    return hashlib.sha256(data).hexdigest()


def meta_range_id(data: bytes) -> str:
    """Return the id of a meta-range."""
    return hashlib.sha256(b"meta-range:" + data).hexdigest()


class Trees:
    """Meta-ranges and ranges of all repositories.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._meta_ranges: OrderedDict[str, list[Range]] = OrderedDict()
        self._ranges: OrderedDict[str, Records] = OrderedDict()

    def exists(self, tree: str) -> bool:
        """Whether a meta-range is known."""
        return tree in (EMPTY, ROOT) or self._database.row("SELECT 1 FROM meta_ranges WHERE id = ?", tree) is not None

    def ranges(self, tree: str) -> list[Range]:
        """Return the ranges of a tree, in order.

        Raises:
            DataGone: no such meta-range; commits may name any (lakeFS 1.84, recorded).
        """
        if tree in (EMPTY, ROOT):
            return []
        found = self._meta_ranges.get(tree)
        if found is None:
            row = self._database.row("SELECT data FROM meta_ranges WHERE id = ?", tree)
            if row is None:
                raise DataGone("No data")
            found = [Range(*item) for item in json.loads(row[0])]
            _keep(self._meta_ranges, tree, found, CACHED_META_RANGES)
        return found

    def stored(self, id: str) -> bytes:
        """Return a meta-range or a range as it is kept.

        Raises:
            DataGone: there is none of that name.
        """
        if id == EMPTY:
            return b"[]"
        found = "SELECT data FROM meta_ranges WHERE id = ? UNION ALL SELECT data FROM ranges WHERE id = ?"
        row = self._database.row(found, id, id)
        if row is None:
            raise DataGone("No data")
        data: bytes = row[0]
        return data

    def records(self, range_id: str) -> Records:
        """Return the records of a range."""
        found = self._ranges.get(range_id)
        if found is None:
            (data,) = self._database.row("SELECT data FROM ranges WHERE id = ?", range_id)
            rows = json.loads(data)
            found = Records([row[0] for row in rows], [Entry._make(row[1:]) for row in rows])
            _keep(self._ranges, range_id, found, CACHED_RANGES)
        return found

    def get(self, tree: str, path: str) -> Entry | None:
        """Return the entry of a path, or None."""
        ranges = self.ranges(tree)
        at = bisect_left(ranges, path, key=_last)
        if at == len(ranges) or ranges[at].first > path:
            return None
        paths, entries = self.records(ranges[at].id)
        at = bisect_left(paths, path)
        return entries[at] if at < len(paths) and paths[at] == path else None

    def walk(self, tree: str, start: str = "") -> Iterator[tuple[str, Entry]]:
        """Go through a tree from a path on, that path included."""
        ranges = self.ranges(tree)
        for at in range(bisect_left(ranges, start, key=_last), len(ranges)):
            paths, entries = self.records(ranges[at].id)
            begin = bisect_left(paths, start) if ranges[at].first < start else 0
            yield from zip(paths[begin:], entries[begin:], strict=True)

    def apply(self, tree: str, changes: Mapping[str, Entry | None]) -> str:
        """Write a tree with changes applied, and return its id.

        A range is kept as it is unless a change lies in it, or between it and the one before; what lies behind the
        last range makes ranges of its own.

        Args:
            tree: the tree to begin with.
            changes: an entry for each path to write, None for each to remove.
        """
        writer = Writer(self)
        keys = sorted(changes)
        done = 0
        for span in self.ranges(tree):
            upto = bisect_right(keys, span.last, lo=done)
            if upto == done:
                writer.range(span)
            else:
                for path, entry in _overlay(self.records(span.id), keys[done:upto], changes):
                    writer.record(path, entry)
            done = upto
        for key in keys[done:]:
            written = changes[key]
            if written is not None:
                writer.record(key, written)
        return writer.close()

    def write_range(self, records: Records) -> Range:
        """Keep a range."""
        rows = [(path, *entry) for path, entry in zip(records.paths, records.entries, strict=True)]
        data = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        id = range_id(data)
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO ranges VALUES (?, ?)", (id, data))
        _keep(self._ranges, id, records, CACHED_RANGES)
        return Range(id, records.paths[0], records.paths[-1], len(records.paths))

    def write_meta_range(self, ranges: list[Range]) -> str:
        """Keep a meta-range, and return its id."""
        if not ranges:
            return EMPTY
        data = json.dumps(ranges, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        tree = meta_range_id(data)
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO meta_ranges VALUES (?, ?)", (tree, data))
        _keep(self._meta_ranges, tree, ranges, CACHED_META_RANGES)
        return tree


class Writer:
    """Writes a tree in the order of its paths.

    Args:
        trees: where it is kept.
    """

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._ranges: list[Range] = []
        self._open = Records([], [])

    def record(self, path: str, entry: Entry) -> None:
        """Add a record to the open range, which ends here or goes on."""
        self._open.paths.append(path)
        self._open.entries.append(entry)
        if ends_range(path):
            self._end_range()

    def range(self, span: Range) -> None:
        """Take in a range as it is; the open one ends before it."""
        self._end_range()
        self._ranges.append(span)

    def close(self) -> str:
        """Return the tree's id."""
        self._end_range()
        return self._trees.write_meta_range(self._ranges)

    def _end_range(self) -> None:
        if self._open.paths:
            self._ranges.append(self._trees.write_range(self._open))
            self._open = Records([], [])


def _overlay(records: Records, keys: Iterable[str], changes: Mapping[str, Entry | None]) -> Iterator[tuple[str, Entry]]:
    """Merge sorted changes into the records of a range; a record stays where the change equals it."""
    paths, entries = records
    at = 0
    for key in keys:
        upto = bisect_left(paths, key, lo=at)
        yield from zip(paths[at:upto], entries[at:upto], strict=True)
        known = entries[upto] if upto < len(paths) and paths[upto] == key else None
        at = upto + (known is not None)
        entry = changes[key]
        if entry is not None:
            yield key, known if known is not None and known.identity == entry.identity else entry
    yield from zip(paths[at:], entries[at:], strict=True)


def _last(span: Range) -> str:
    return span.last


def _keep(cache: OrderedDict[str, V], key: str, value: V, most: int) -> None:
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)
