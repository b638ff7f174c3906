"""The content of a commit: sorted, immutable ranges of records under a meta-range, both identified by their content.

A range ends after each record whose path hashes to a multiple of `RECORDS`, so the ends of ranges depend only on the
paths, except for ranges that were reused unchanged. A commit rewrites only the ranges that it touches; differences and
merges skip the ranges that two trees share. Which ranges a change touches follows lakeFS: the history of a content can
affect its id, and the ids decide whether a merge has changes.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from lakefs_ops.local.errors import DataGone
from lakefs_ops.local.store.database import Cache, Database

RECORDS = 1024
"""Average number of records in a range."""

EMPTY = "00fb7eff1a97c500eb3ca8d2ef5464131d6b6a5f9512e41eba97843522213b66"
"""The id of the meta-range without records (lakeFS 1.84, recorded)."""

ROOT = ""
"""The meta-range id of a repository's first commit (lakeFS 1.84, recorded)."""

DECODED_TOGETHER = 128
"""Number of records that an iteration decodes at a time."""

CACHED_RANGES = 256
CACHED_META_RANGES = 64

_DECODER = json.JSONDecoder()


class Entry(NamedTuple):
    """The record of an object.

    Attributes:
        address: the physical address of its bytes.
        checksum: their digest.
        size: their number.
        mtime: the time of the last write, in Unix seconds.
        metadata: user metadata.
        content_type: the media type, empty without one.
    """

    address: str
    checksum: str
    size: int
    mtime: int
    metadata: dict[str, str]
    content_type: str

    @property
    def identity(self) -> tuple[int, str, dict[str, str], str]:
        """The fields that make two objects equal, without time and address (contract, part 3)."""
        return self.size, self.checksum, self.metadata, self.content_type


def encode(entry: Entry) -> str:
    """Serialize an entry."""
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False)


def decode(text: str) -> Entry:
    """Deserialize an entry."""
    return Entry(*json.loads(text))


class Range(NamedTuple):
    """One range of a tree.

    Attributes:
        id: the digest of its records.
        first: the first path.
        last: the last path.
        records: the number of records.
        line: all of these as a line of a meta-range, JSON.
    """

    id: str
    first: str
    last: str
    records: int
    line: str

    @classmethod
    def of(cls, id: str, first: str, last: str, records: int) -> Range:
        """Create a range."""
        return cls(id, first, last, records, _as_line((id, first, last, records)))


class Records:
    """The records of a range, in order; each is a line of JSON, decoded on demand.

    Args:
        lines: the lines, each a path and the fields of its entry.
    """

    __slots__ = ("lines",)

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def __len__(self) -> int:
        return len(self.lines)

    def path(self, at: int) -> str:
        """Return the path of a record."""
        return _path(self.lines[at])

    def record(self, at: int) -> tuple[str, Entry]:
        """Return the path and the entry of a record."""
        path, *entry = json.loads(self.lines[at])
        return path, Entry._make(entry)

    def entry(self, at: int) -> Entry:
        """Return the entry of a record."""
        return self.record(at)[1]

    def find(self, path: str, start: int = 0) -> int:
        """Return the index of a path, or where it would be inserted."""
        return bisect_left(self.lines, path, lo=start, key=_path)

    def get(self, path: str) -> Entry | None:
        """Return the entry of a path, or None."""
        at = self.find(path)
        return self.entry(at) if at < len(self) and self.path(at) == path else None

    def items(self, start: int = 0) -> Iterator[tuple[str, Entry]]:
        """Iterate over the paths and entries from an index on."""
        for at in range(start, len(self), DECODED_TOGETHER):
            for path, *entry in json.loads("[" + ",".join(self.lines[at : at + DECODED_TOGETHER]) + "]"):
                yield path, Entry._make(entry)


def ends_range(path: str) -> bool:
    """Whether a range ends after this path."""
    return zlib.crc32(path.encode("utf-8", "surrogatepass")) % RECORDS == 0


def read_meta_range(data: bytes) -> list[Range]:
    """Parse a meta-range: one line of JSON for each range."""
    lines = _lines(data)
    return [
        Range._make((*fields, line)) for fields, line in zip(json.loads(f"[{','.join(lines)}]"), lines, strict=True)
    ]


def read_range(data: bytes) -> Records:
    """Parse a range: one line of JSON for each record."""
    return Records(_lines(data))


def range_id(data: bytes) -> str:
    """Return the id of a range."""
    return hashlib.sha256(data).hexdigest()


def meta_range_id(data: bytes) -> str:
    """Return the id of a meta-range."""
    return hashlib.sha256(b"meta-range:" + data).hexdigest()


class Trees:
    """Meta-ranges and ranges of all repositories."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._meta_ranges: Cache[str, list[Range]] = Cache(CACHED_META_RANGES)
        self._ranges: Cache[str, Records] = Cache(CACHED_RANGES)

    def ranges(self, tree: str) -> list[Range]:
        """Return the ranges of a tree, in order.

        Raises:
            DataGone: the meta-range does not exist; commits may refer to any id (lakeFS 1.84, recorded).
        """
        if tree in (EMPTY, ROOT):
            return []
        found = self._meta_ranges.get(tree)
        if found is None:
            row = self._database.row("SELECT data FROM meta_ranges WHERE id = ?", tree)
            if row is None:
                raise DataGone("No data")
            found = self._meta_ranges[tree] = read_meta_range(row[0])
        return found

    def stored(self, id: str) -> bytes:
        """Return the stored bytes of a meta-range or a range.

        Raises:
            DataGone: the id does not exist.
        """
        if id == EMPTY:
            return b""
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
            found = self._ranges[range_id] = read_range(data)
        return found

    def get(self, tree: str, path: str) -> Entry | None:
        """Return the entry of a path, or None."""
        ranges = self.ranges(tree)
        at = bisect_left(ranges, path, key=_last)
        if at == len(ranges) or ranges[at].first > path:
            return None
        return self.records(ranges[at].id).get(path)

    def walk(self, tree: str, start: str = "") -> Iterator[tuple[str, Entry]]:
        """Iterate over a tree from a path on (inclusive)."""
        ranges = self.ranges(tree)
        for at in range(bisect_left(ranges, start, key=_last), len(ranges)):
            records = self.records(ranges[at].id)
            yield from records.items(records.find(start) if ranges[at].first < start else 0)

    def apply(self, tree: str, changes: Mapping[str, Entry | None]) -> str:
        """Apply changes to a tree, and return the id of the new one.

        A range is reused unless a change falls into it, or between it and the previous one. Changes after the last
        range become new ranges.

        Args:
            tree: the tree to start from.
            changes: an entry for each path to write, None for each path to remove.
        """
        writer = Writer(self)
        ranges, keys = self.ranges(tree), sorted(changes)
        at = done = 0
        while done < len(keys) and at < len(ranges):
            touched = bisect_left(ranges, keys[done], lo=at, key=_last)
            writer.ranges(ranges[at:touched])
            at = touched
            if at < len(ranges):
                upto = bisect_right(keys, ranges[at].last, lo=done)
                writer.overlay(self.records(ranges[at].id), keys[done:upto], changes)
                at, done = at + 1, upto
        writer.ranges(ranges[at:])
        for key in keys[done:]:
            written = changes[key]
            if written is not None:
                writer.record(key, written)
        return writer.close()

    def write_range(self, records: Records) -> Range:
        """Store a range."""
        data = _data(records.lines)
        id = range_id(data)
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO ranges VALUES (?, ?)", (id, data))
        self._ranges[id] = records
        return Range.of(id, records.path(0), records.path(-1), len(records))

    def write_meta_range(self, ranges: list[Range]) -> str:
        """Store a meta-range, and return its id."""
        if not ranges:
            return EMPTY
        data = _data([span.line for span in ranges])
        tree = meta_range_id(data)
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO meta_ranges VALUES (?, ?)", (tree, data))
        self._meta_ranges[tree] = ranges
        return tree


class Writer:
    """Writes a tree in the order of its paths."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._ranges: list[Range] = []
        self._open: list[str] = []

    def record(self, path: str, entry: Entry) -> None:
        """Add a record to the open range, and end the range after a path that requires it."""
        self._open.append(_as_line((path, *entry)))
        if ends_range(path):
            self._end_range()

    def take(self, records: Records, start: int, end: int) -> None:
        """Add records of a range unchanged; only the last one may end the open range."""
        if start < end:
            self._open += records.lines[start:end]
            if ends_range(records.path(end - 1)):
                self._end_range()

    def overlay(self, records: Records, keys: Iterable[str], changes: Mapping[str, Entry | None]) -> None:
        """Add the records of a range with sorted changes; a record stays if the change equals it."""
        at = 0
        for key in keys:
            upto = records.find(key, at)
            self.take(records, at, upto)
            known = records.entry(upto) if upto < len(records) and records.path(upto) == key else None
            at = upto + (known is not None)
            entry = changes[key]
            if entry is not None:
                self.record(key, known if known is not None and known.identity == entry.identity else entry)
        self.take(records, at, len(records))

    def ranges(self, spans: Sequence[Range]) -> None:
        """Reuse whole ranges; the open range ends before them."""
        if spans:
            self._end_range()
            self._ranges.extend(spans)

    def close(self) -> str:
        """Finish the tree, and return its id."""
        self._end_range()
        return self._trees.write_meta_range(self._ranges)

    def _end_range(self) -> None:
        if self._open:
            self._ranges.append(self._trees.write_range(Records(self._open)))
            self._open = []


def _as_line(fields: tuple[object, ...]) -> str:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogatepass").split("\n")


def _data(lines: list[str]) -> bytes:
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _path(line: str) -> str:
    """Return the path at the start of a record's line, without decoding the rest."""
    path: str = _DECODER.raw_decode(line, 1)[0]
    return path


def _last(span: Range) -> str:
    return span.last
