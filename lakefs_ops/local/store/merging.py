"""Differences between trees, and three-way merges; what two trees share is skipped, not read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lakefs_ops.local.store.trees import Entry, Range, Trees


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
    a, b = (_Cursor(trees, [s for s in spans if s.id not in shared], start) for spans in (ours, theirs))
    while True:
        one, two = a.path, b.path
        if one is None and two is None:
            return
        if two is None or (one is not None and one < two):
            yield Change(one or "", a.take(), None)
        elif one is None or two < one:
            yield Change(two, None, b.take())
        else:
            before, after = a.take(), b.take()
            if before.identity != after.identity:
                yield Change(two, before, after)


class _Cursor:
    """A place in a tree; ranges are read only when something in them is asked for."""

    def __init__(self, trees: Trees, spans: Iterable[Range], start: str) -> None:
        self._trees = trees
        self._spans = iter(spans)
        self._skip()
        while self._span is not None and self._span.last < start:
            self._skip()
        while (path := self.path) is not None and path < start:
            self.take()

    def _skip(self) -> None:
        """Go to the start of the next range."""
        self._span = next(self._spans, None)
        self._at = 0

    @property
    def path(self) -> str | None:
        if self._span is None:
            return None
        return self._span.first if self._at == 0 else self._trees.records(self._span.id).paths[self._at]

    def take(self) -> Entry:
        """Return the entry here, and go on."""
        assert self._span is not None
        records = self._trees.records(self._span.id)
        entry = records.entries[self._at]
        self._at += 1
        if self._at == len(records.paths):
            self._skip()
        return entry


@dataclass(frozen=True, slots=True)
class Merged:
    """What a three-way merge comes to.

    Attributes:
        tree: the merged tree; that of the destination when there are conflicts.
        conflicts: the paths that both sides changed differently.
    """

    tree: str
    conflicts: list[str]


def merge(trees: Trees, base: str, source: str, destination: str, strategy: str = "") -> Merged:
    """Apply what the source changed since the base to the destination (contract, part 4).

    Args:
        trees: where the trees are.
        base: the tree that both come from.
        source: the tree whose changes are applied.
        destination: the tree they are applied to.
        strategy: who wins a conflict: ``source-wins``, ``dest-wins``, or empty for nobody.
    """
    if destination == base:
        return Merged(source, [])
    ours = {change.path: change.right for change in diff(trees, base, destination)}
    changes: dict[str, Entry | None] = {}
    conflicts: list[str] = []
    for change in diff(trees, base, source):
        if change.path not in ours or same(change.right, ours[change.path]) or strategy == "source-wins":
            changes[change.path] = change.right
        elif strategy != "dest-wins":
            conflicts.append(change.path)
    if conflicts:
        return Merged(destination, conflicts)
    whole = _untouched_ranges(trees, base, source, destination, changes)
    for span in whole:
        for path in trees.records(span.id).paths:
            del changes[path]
    return Merged(trees.apply(destination, changes, whole), [])


def _untouched_ranges(
    trees: Trees, base: str, source: str, destination: str, changes: Mapping[str, Entry | None]
) -> list[Range]:
    """Return the source's ranges that are new and lie beside everything of the destination.

    lakeFS takes them in as they are, so that a merge may hold the records of another tree in other ranges, and then
    has another meta-range id (1.84, recorded).
    """
    known = {span.id for span in trees.ranges(base)}
    theirs = trees.ranges(destination)
    found = []
    for span in trees.ranges(source):
        if span.id in known:
            continue
        at = bisect_left(theirs, span.first, key=lambda other: other.last)
        if at < len(theirs) and theirs[at].first <= span.last:
            continue
        if all(changes.get(path) is not None for path in trees.records(span.id).paths):
            found.append(span)
    return found


def same(one: Entry | None, other: Entry | None) -> bool:
    """Whether two sides hold equal objects, or neither holds one."""
    if one is None or other is None:
        return one is other
    return one.identity == other.identity
