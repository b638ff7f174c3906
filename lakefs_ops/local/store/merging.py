"""Differences between trees, and three-way merges; ranges that two trees share are skipped without reading them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import NamedTuple

from lakefs_ops.local.store.trees import Entry, Range, Trees, Writer


class Change(NamedTuple):
    """One difference.

    Attributes:
        path: the object's path.
        left: the entry on the left side, None if it was added.
        right: the entry on the right side, None if it was removed.
    """

    path: str
    left: Entry | None
    right: Entry | None

    @property
    def type(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        if self.left is None:
            return "added"
        return "removed" if self.right is None else "changed"


def diff(trees: Trees, left: str, right: str, start: str = "") -> Iterator[Change]:
    """Iterate over the differences of two trees, ordered by path."""
    if left == right:
        return
    ours, theirs = trees.ranges(left), trees.ranges(right)
    shared = {span.id for span in ours}.intersection([span.id for span in theirs])
    a, b = (_Cursor(trees, [span for span in spans if span.id not in shared]) for spans in (ours, theirs))
    a.seek(start)
    b.seek(start)
    while a.span is not None or b.span is not None:
        a.enter()
        b.enter()
        if b.span is None or (a.span is not None and a.path < b.path):
            yield Change(a.path, a.entry, None)
            a.step()
        elif a.span is None or b.path < a.path:
            yield Change(b.path, None, b.entry)
            b.step()
        elif count := a.alike(b):
            a.step(count)
            b.step(count)
        else:
            if a.entry.identity != b.entry.identity:
                yield Change(a.path, a.entry, b.entry)
            a.step()
            b.step()


def merge(trees: Trees, base: str, source: str, destination: str, strategy: str = "") -> str | None:
    """Apply the changes of the source since the base to the destination (contract, part 4).

    Args:
        trees: the store of the trees.
        base: the common ancestor of both trees.
        source: the tree whose changes are applied.
        destination: the tree to apply them to.
        strategy: the winner of a conflict: ``source-wins``, ``dest-wins``, or empty for none.

    Returns:
        The merged tree, None on a conflict without a winner.
    """
    if destination == base:
        return source
    past, ours, theirs = (_Cursor(trees, trees.ranges(tree)) for tree in (base, source, destination))
    return _Merge(trees, trees.ranges(base), past, ours, theirs, strategy).run()


def replace(trees: Trees, tree: str, prefixes: Iterable[str], content: str) -> str | None:
    """Replace everything that starts with one of the prefixes by the records of another tree, as an import does.

    Returns:
        The new tree, None if an added record conflicts with one that was not removed.
    """
    sides = _Cursor(trees, trees.ranges(content)), _Without(trees, tree, prefixes)
    return _Merge(trees, [], _Cursor(trees, []), *sides, "").run()


def same(one: Entry | None, other: Entry | None) -> bool:
    """Whether two sides hold equal objects, or neither holds one."""
    if one is None or other is None:
        return one is other
    return one.identity == other.identity


class _Cursor:
    """A position in a tree: before a range, or at a record inside it.

    Attributes:
        span: the range, None at the end.
        inside: whether the position is at a record; only then the records of the range are read.
        whole: whether the range may be reused unchanged.
        records: the records of the range.
        at: the index of the current record.
    """

    whole = True

    def __init__(self, trees: Trees, spans: list[Range]) -> None:
        self._trees, self._spans = trees, spans
        self._next = 0
        self._read: tuple[str, Entry] | None = None
        self.skip()

    @property
    def path(self) -> str:
        """The current path; before a range its first one."""
        assert self.span is not None
        return self._record[0] if self.inside else self.span.first

    @property
    def entry(self) -> Entry:
        """The current entry, inside a range."""
        return self._record[1]

    @property
    def _record(self) -> tuple[str, Entry]:
        if self._read is None:
            self._read = self.records.record(self.at)
        return self._read

    def skip(self, count: int = 1) -> None:
        """Skip ranges, to before the next one."""
        self._next += count
        self.span = self._spans[self._next - 1] if self._next <= len(self._spans) else None
        self.inside = False

    def step(self, count: int = 1) -> None:
        """Enter the range, or advance inside it, and from its end to before the next one."""
        if not self.inside:
            self.enter()
        elif self.at + count < len(self.records):
            self.at += count
            self._read = None
        else:
            self.skip()

    def enter(self, path: str = "") -> None:
        """Enter the range at its first record that is not before a path."""
        if not self.inside and self.span is not None:
            self.records = self._trees.records(self.span.id)
            self.at = self.records.find(path) if self.span.first < path else 0
            self._read = None
            self.inside = True

    def seek(self, path: str) -> None:
        """Advance to a path, or to the first one after it, inside its range."""
        while self.span is not None and self.span.last < path:
            self.skip()
        self.enter(path)
        if self.span is not None and self.path < path:
            self.step(self.records.find(path, self.at) - self.at)

    def alike(self, other: _Cursor) -> int:
        """Return how many of the next ranges, or records of this range, are equal on both sides."""
        pairs = zip(self.ahead(), other.ahead(), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def following(self, count: int) -> list[Range]:
        """Return the next ranges."""
        return self._spans[self._next - 1 : self._next - 1 + count]

    def ahead(self) -> Iterator[str]:
        """Iterate over the identities of the next ranges, or records of this range."""
        if self.inside:
            return islice(self.records.lines, self.at, None)
        return (span.id for span in islice(self._spans, self._next - 1, None))


class _Without(_Cursor):
    """A position in a tree that skips everything that starts with one of the prefixes.

    Like lakeFS 1.84 it searches for one prefix at a time, so it may miss a record.
    """

    def __init__(self, trees: Trees, tree: str, prefixes: Iterable[str]) -> None:
        self._prefixes = sorted(prefixes)
        self._number = 0
        super().__init__(trees, trees.ranges(tree))

    @property
    def whole(self) -> bool:  # type: ignore[override]
        """Whether the range and the prefix do not overlap."""
        prefix, span = self._prefix, self.span
        if prefix is None or span is None:
            return True
        return not (span.first.startswith(prefix) or span.first <= prefix <= span.last)

    def ahead(self) -> Iterator[str]:
        return islice(super().ahead(), 1)  # each record or range may be removed

    def skip(self, count: int = 1) -> None:
        super().skip(count)
        self._find()
        while self.span is not None and self._is_removed(self.span.first) and self._is_removed(self.span.last):
            super().skip()
            self._find()

    def step(self, count: int = 1) -> None:
        super().step(count)
        self._find()
        while self.span is not None and self.inside and self._is_removed(self.path):
            super().step()
            self._find()

    @property
    def _prefix(self) -> str | None:
        return self._prefixes[self._number] if self._number < len(self._prefixes) else None

    def _is_removed(self, path: str) -> bool:
        return self._prefix is not None and path.startswith(self._prefix)

    def _find(self) -> None:
        """Advance to the prefix to search for at the current position."""
        if self.span is None:
            return
        while (prefix := self._prefix) is not None and prefix < self.path and not self.path.startswith(prefix):
            following = self._prefixes[self._number + 1 :]
            if following and following[0] > self.span.last:
                return
            self._number += 1


class _Conflict(Exception):
    """Both sides changed a path differently."""


@dataclass(frozen=True, slots=True)
class _Merge:
    """A walk through two trees in parallel; ranges that only one side has are reused or dropped as a whole.

    Attributes:
        trees: the store of the trees.
        base: the ranges of the common ancestor.
        past: the position in the common ancestor.
        source: the position in the tree whose changes are applied.
        destination: the position in the tree to apply them to.
        strategy: the winner of a conflict.
    """

    trees: Trees
    base: list[Range]
    past: _Cursor
    source: _Cursor
    destination: _Cursor
    strategy: str

    def run(self) -> str | None:
        source, destination, writer = self.source, self.destination, Writer(self.trees)
        try:
            while source.span is not None and destination.span is not None:
                if source.inside and destination.inside:
                    self._records(writer)
                elif source.inside:
                    self._range_and_record(writer, destination, source)
                elif destination.inside:
                    self._range_and_record(writer, source, destination)
                else:
                    self._ranges(writer, source.span, destination.span)
            for side in (source, destination):
                while side.span is not None:
                    if side.inside:
                        self._alone(writer, side)
                    elif not self._settle(writer, side):
                        side.step()
        except _Conflict:
            return None
        return writer.close()

    def _ranges(self, writer: Writer, ours: Range, theirs: Range) -> None:
        source, destination = self.source, self.destination
        taken = source.following(source.alike(destination))
        if not taken and (ours.first, ours.last) == (theirs.first, theirs.last):
            before = self._before(ours)
            if before is not None and before.id in (ours.id, theirs.id):
                taken = [theirs if before.id == ours.id else ours]
        elif (ours.last < theirs.first and self._settle(writer, source)) or (
            theirs.last < ours.first and destination.whole and self._settle(writer, destination)
        ):
            return
        if taken:
            writer.ranges(taken)
            source.skip(len(taken))
            destination.skip(len(taken))
        else:
            source.step()
            destination.step()

    def _range_and_record(self, writer: Writer, side: _Cursor, other: _Cursor) -> None:
        """Advance one side that is before a range, or the other one that is inside a range."""
        assert side.span is not None
        if side.span.first > other.path:
            self._alone(writer, other)
        elif side.span.last >= other.path or not side.whole or not self._settle(writer, side):
            side.step()

    def _records(self, writer: Writer) -> None:
        source, destination = self.source, self.destination
        if count := source.alike(destination):
            writer.take(source.records, source.at, source.at + count)
            source.step(count)
            destination.step(count)
            return
        if source.path != destination.path:
            self._alone(writer, min(source, destination, key=lambda side: side.path))
            return
        before = self._before_at(source.path)
        kept = source
        if not same(source.entry, destination.entry):
            if same(source.entry, before):
                kept = destination
            elif not same(destination.entry, before):
                kept = self._winner()
        writer.take(kept.records, kept.at, kept.at + 1)
        source.step()
        destination.step()

    def _alone(self, writer: Writer, side: _Cursor) -> None:
        """Keep or drop a record that the other side does not have."""
        before = self._before_at(side.path)
        if before is None or (not same(side.entry, before) and self._winner() is side):
            writer.take(side.records, side.at, side.at + 1)
        side.step()

    def _settle(self, writer: Writer, side: _Cursor) -> bool:
        """Reuse a range of one side that the base does not overlap, or drop one that it has; return whether done."""
        assert side.span is not None
        before = self._before(side.span)
        if before is None:
            writer.ranges([side.span])
        elif before.id != side.span.id:
            return False
        side.skip()
        return True

    def _before(self, span: Range) -> Range | None:
        """Return the first range of the base that overlaps a range, or None."""
        at = bisect_left(self.base, span.first, key=lambda other: other.last)
        return self.base[at] if at < len(self.base) and self.base[at].first <= span.last else None

    def _before_at(self, path: str) -> Entry | None:
        """Return the base's entry of a path, or None; paths must not decrease from call to call."""
        self.past.seek(path)
        return self.past.entry if self.past.span is not None and self.past.path == path else None

    def _winner(self) -> _Cursor:
        if not self.strategy:
            raise _Conflict
        return self.source if self.strategy == "source-wins" else self.destination
