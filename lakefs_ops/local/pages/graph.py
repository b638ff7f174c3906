"""The graph of commits beside a log: a picture a row, with lanes that go on from one to the next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lakefs_ops.local.pages.html import Markup, h
from lakefs_ops.local.store.commits import Commit

LANE = 18
"""The width of a lane."""

ROW = 60
"""The height of a row; the stylesheet's rows are as high."""

MIDDLE = ROW // 2
MOST = 12
"""How many lanes are drawn."""

COLOURS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """What is drawn beside one commit.

    Attributes:
        commit: the commit.
        lane: where it is.
        above: the lanes that come from above, each with the lane where it is in the middle or below.
        below: the lanes that lead from the commit to its parents.
        through: the lanes that pass it.
    """

    commit: Commit
    lane: int
    above: tuple[int, ...]
    below: tuple[int, ...]
    through: tuple[int, ...]

    @property
    def width(self) -> int:
        """How many lanes it needs."""
        return max((self.lane, *self.above, *self.below, *self.through)) + 1


class Lanes:
    """Gives each commit of a log a lane.

    A lane waits for a commit, the parent of one that was shown. The first parent of a commit stays in its lane, so
    that a branch is a straight line; others take the lane that waits for them already, or the first free one.

    Args:
        awaited: what each lane waits for, as the rows above left it; None for a free one.
    """

    def __init__(self, awaited: Iterable[str | None] = ()) -> None:
        self.awaited = list(awaited)

    def place(self, commit: Commit) -> Row:
        """Return the row of the commit that comes next."""
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
    """Return the picture of a row.

    Args:
        row: what is drawn.
        width: how many lanes the picture has.
    """
    width = min(width, MOST)
    lines = [_line(at, 0, at, ROW, at) for at in row.through]
    lines += [_line(at, 0, row.lane, MIDDLE, at) for at in row.above]
    lines += [_line(row.lane, MIDDLE, at, ROW, at) for at in row.below]
    merge = len(row.commit.parents) > 1
    node = h("circle", cx=_x(row.lane), cy=MIDDLE, r=5, class_=f"lane{row.lane % COLOURS}{' merge' if merge else ''}")
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


def _line(left: int, top: int, right: int, bottom: int, colour: int) -> Markup:
    a, b = _x(left), _x(right)
    bend = (top + bottom) // 2
    way = f"M{a} {top}V{bottom}" if a == b else f"M{a} {top}C{a} {bend} {b} {bend} {b} {bottom}"
    return h("path", d=way, class_=f"lane{colour % COLOURS}")
