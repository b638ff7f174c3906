"""Differences between trees, and three-way merges; what two trees share is skipped, not read."""

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
        left: the entry on the left side, None when it was added.
        right: the entry on the right side, None when it was removed.
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
    """Go through the differences of two trees in the order of their paths.

    Args:
        trees: where the trees are.
        left: the tree to compare with.
        right: the tree that is compared.
        start: begin at this path.
    """
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
    """Apply what the source changed since the base to the destination (contract, part 4).

    Args:
        trees: where the trees are.
        base: the tree that both come from.
        source: the tree whose changes are applied.
        destination: the tree they are applied to.
        strategy: who wins a conflict: ``source-wins``, ``dest-wins``, or empty for nobody.

    Returns:
        The merged tree, None when both sides changed a path differently and nobody wins.
    """
    if destination == base:
        return source
    past, ours, theirs = (_Cursor(trees, trees.ranges(tree)) for tree in (base, source, destination))
    return _Merge(trees, trees.ranges(base), past, ours, theirs, strategy).run()


def replace(trees: Trees, tree: str, prefixes: Iterable[str], content: str) -> str | None:
    """Put what a tree holds in the place of what begins with one of the prefixes, as an import does.

    Args:
        trees: where the trees are.
        tree: the tree to begin with.
        prefixes: what goes.
        content: the tree whose records come.

    Returns:
        The new tree, None when a record of the content meets another one that stayed.
    """
    sides = _Cursor(trees, trees.ranges(content)), _Without(trees, tree, prefixes)
    return _Merge(trees, [], _Cursor(trees, []), *sides, "").run()


def same(one: Entry | None, other: Entry | None) -> bool:
    """Whether two sides hold equal objects, or neither holds one."""
    if one is None or other is None:
        return one is other
    return one.identity == other.identity


class _Cursor:
    """A place in a tree: before a range, or at a record inside it.

    Attributes:
        span: the range, None at the end.
        inside: whether it is at a record; the records of a range are read only then.
        whole: whether the range may be taken in as it is.
        records: those of the range it is inside.
        at: which of them it is at.
    """

    whole = True

    def __init__(self, trees: Trees, spans: list[Range]) -> None:
        self._trees, self._spans = trees, spans
        self._next = 0
        self._read: tuple[str, Entry] | None = None
        self.skip()

    @property
    def path(self) -> str:
        """The path here; before a range its first."""
        assert self.span is not None
        return self._record[0] if self.inside else self.span.first

    @property
    def entry(self) -> Entry:
        """The entry here, inside a range."""
        return self._record[1]

    @property
    def _record(self) -> tuple[str, Entry]:
        if self._read is None:
            self._read = self.records.record(self.at)
        return self._read

    def skip(self, count: int = 1) -> None:
        """Go before the next range, or one behind it."""
        self._next += count
        self.span = self._spans[self._next - 1] if self._next <= len(self._spans) else None
        self.inside = False

    def step(self, count: int = 1) -> None:
        """Enter the range, or go on inside it, and from its end before the next one."""
        if not self.inside:
            self.enter()
        elif self.at + count < len(self.records):
            self.at += count
            self._read = None
        else:
            self.skip()

    def enter(self, path: str = "") -> None:
        """Go to the first record of the range that is not before a path."""
        if not self.inside and self.span is not None:
            self.records = self._trees.records(self.span.id)
            self.at = self.records.find(path) if self.span.first < path else 0
            self._read = None
            self.inside = True

    def seek(self, path: str) -> None:
        """Go on to a path, or to the first one behind it, into its range."""
        while self.span is not None and self.span.last < path:
            self.skip()
        self.enter(path)
        if self.span is not None and self.path < path:
            self.step(self.records.find(path, self.at) - self.at)

    def alike(self, other: _Cursor) -> int:
        """Return how many ranges, or records of this range, are from here on what they are on the other side."""
        pairs = zip(self.ahead(), other.ahead(), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def following(self, count: int) -> list[Range]:
        """Return so many ranges from here on."""
        return self._spans[self._next - 1 : self._next - 1 + count]

    def ahead(self) -> Iterator[str]:
        """Go through what identifies the ranges, or the records of this range, from here on."""
        if self.inside:
            return islice(self.records.lines, self.at, None)
        return (span.id for span in islice(self._spans, self._next - 1, None))


class _Without(_Cursor):
    """A place in a tree without what begins with one of the prefixes.

    It looks for one prefix at a time, the way of lakeFS 1.84: what that passes over stays.
    """

    def __init__(self, trees: Trees, tree: str, prefixes: Iterable[str]) -> None:
        self._prefixes = sorted(prefixes)
        self._number = 0
        super().__init__(trees, trees.ranges(tree))

    @property
    def whole(self) -> bool:  # type: ignore[override]
        """Whether the range holds nothing that goes, and no place for it."""
        prefix, span = self._prefix, self.span
        if prefix is None or span is None:
            return True
        return not (span.first.startswith(prefix) or span.first <= prefix <= span.last)

    def ahead(self) -> Iterator[str]:
        return islice(super().ahead(), 1)  # at each it is asked anew what goes

    def skip(self, count: int = 1) -> None:
        super().skip(count)
        self._find()
        while self.span is not None and self._goes(self.span.first) and self._goes(self.span.last):
            super().skip()
            self._find()

    def step(self, count: int = 1) -> None:
        super().step(count)
        self._find()
        while self.span is not None and self.inside and self._goes(self.path):
            super().step()
            self._find()

    @property
    def _prefix(self) -> str | None:
        return self._prefixes[self._number] if self._number < len(self._prefixes) else None

    def _goes(self, path: str) -> bool:
        return self._prefix is not None and path.startswith(self._prefix)

    def _find(self) -> None:
        """Go on to the prefix that is to be looked for here."""
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
    """A walk through two trees side by side; ranges of one side alone are taken in or left out as a whole.

    Attributes:
        trees: where the trees are.
        base: the ranges of the tree that both come from.
        past: a place in that tree, which goes along.
        source: the place in the one whose changes are applied.
        destination: the place in the one they are applied to.
        strategy: who wins a conflict.
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
        """Look at a side that is before a range, while the other one is inside one."""
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
        """Keep or leave out a record that the other side has not."""
        before = self._before_at(side.path)
        if before is None or (not same(side.entry, before) and self._winner() is side):
            writer.take(side.records, side.at, side.at + 1)
        side.step()

    def _settle(self, writer: Writer, side: _Cursor) -> bool:
        """Take in a range of one side alone that the base has not, or leave it out if the base has it; else neither."""
        assert side.span is not None
        before = self._before(side.span)
        if before is None:
            writer.ranges([side.span])
        elif before.id != side.span.id:
            return False
        side.skip()
        return True

    def _before(self, span: Range) -> Range | None:
        """Return the base's first range that overlaps one, or None."""
        at = bisect_left(self.base, span.first, key=lambda other: other.last)
        return self.base[at] if at < len(self.base) and self.base[at].first <= span.last else None

    def _before_at(self, path: str) -> Entry | None:
        """Return the base's entry of a path that is not before the last one asked for, or None."""
        self.past.seek(path)
        return self.past.entry if self.past.span is not None and self.past.path == path else None

    def _winner(self) -> _Cursor:
        if not self.strategy:
            raise _Conflict
        return self.source if self.strategy == "source-wins" else self.destination
