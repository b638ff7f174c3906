"""The graph next to a log: one picture for each row, with lanes that continue from row to row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lakefs_ops.local.pages.html import Markup, h
from lakefs_ops.local.store.commits import Commit

LANE = 18
"""Width of a lane, in pixels."""

ROW = 60
"""Height of a row, in pixels, as in the stylesheet."""

MIDDLE = ROW // 2
MAX_LANES = 12
"""Maximum number of lanes that are drawn."""

COLORS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """The lanes in the row of one commit.

    Attributes:
        commit: the commit.
        lane: the lane of the commit.
        above: the lanes that lead to the commit from above.
        below: the lanes that lead from the commit to its parents.
        through: the lanes that pass the commit.
    """

    commit: Commit
    lane: int
    above: tuple[int, ...]
    below: tuple[int, ...]
    through: tuple[int, ...]

    @property
    def width(self) -> int:
        """The number of lanes."""
        return max((self.lane, *self.above, *self.below, *self.through)) + 1


class Lanes:
    """Assigns a lane to each commit of a log.

    A lane waits for a commit, the parent of an earlier one. The first parent of a commit stays in its lane, so a branch
    is a straight line; other parents take the lane that already waits for them, or the first free one.

    Args:
        awaited: the commit that each lane waits for after the rows above; None for a free lane.
    """

    def __init__(self, awaited: Iterable[str | None] = ()) -> None:
        self.awaited = list(awaited)

    def place(self, commit: Commit) -> Row:
        """Return the row of the next commit."""
        lanes = self.awaited
        above = tuple(at for at, awaited in enumerate(lanes) if awaited == commit.id)
        lane = above[0] if above else self._free()
        for at in above:
            lanes[at] = None
        through = tuple(at for at, awaited in enumerate(lanes) if awaited is not None)
        below = []
        for number, parent in enumerate(commit.parents):
            at = lane if number == 0 else lanes.index(parent) if parent in lanes else self._free()
            lanes[at] = parent
            below.append(at)
        while lanes and lanes[-1] is None:
            lanes.pop()
        return Row(commit, lane, above, tuple(dict.fromkeys(below)), through)

    def _free(self) -> int:
        if None not in self.awaited:
            self.awaited.append(None)
        return self.awaited.index(None)


def draw(row: Row, width: int) -> Markup:
    """Return the picture of a row, as wide as a number of lanes."""
    width = min(width, MAX_LANES)
    lines = [_line(at, 0, at, ROW, at) for at in row.through]
    lines += [_line(at, 0, row.lane, MIDDLE, at) for at in row.above]
    lines += [_line(row.lane, MIDDLE, at, ROW, at) for at in row.below]
    merge = len(row.commit.parents) > 1
    node = h("circle", cx=_x(row.lane), cy=MIDDLE, r=5, class_=f"lane{row.lane % COLORS}{' merge' if merge else ''}")
    return h(
        "svg",
        lines,
        node,
        viewBox=f"0 0 {width * LANE} {ROW}",
        width=width * LANE,
        height=ROW,
        class_="graph",
        aria_hidden="true",
    )


def _x(lane: int) -> int:
    return lane * LANE + LANE // 2


def _line(left: int, top: int, right: int, bottom: int, color: int) -> Markup:
    a, b = _x(left), _x(right)
    bend = (top + bottom) // 2
    way = f"M{a} {top}V{bottom}" if a == b else f"M{a} {top}C{a} {bend} {b} {bend} {b} {bottom}"
    return h("path", d=way, class_=f"lane{color % COLORS}")
