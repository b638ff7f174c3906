"""The log with its graph, and single commits."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Container
from itertools import chain
from urllib.parse import urlsplit

from lakefs_ops.local.errors import Missing
from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.changes import differences
from lakefs_ops.local.pages.frame import (
    badge,
    both,
    commit_link,
    document,
    facts,
    heading,
    moment,
    nothing,
    paging,
    picker,
    title_of,
)
from lakefs_ops.local.pages.graph import Lanes, Row, draw
from lakefs_ops.local.pages.html import Child, Markup, h, join
from lakefs_ops.local.pages.visit import PAGE_ROWS, Visit
from lakefs_ops.local.store.branches import Branches, Tags
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.refs import POINTS_AT_A_COMMIT

BUTTON = "[url:ui]"
"""Suffix of the metadata keys that lakeFS shows as a button."""

DIGITS = 16
"""Number of digits of each commit id in the offset of a page of the log."""

FEW, MANY = 4, 20
"""Maximum number of branches and tags that are shown at a commit, in a log and on its own page."""

_DIGITS = re.compile(f"[0-9a-f]{{{DIGITS}}}")
_NAMED = re.compile(r"::lakefs::(.*)::url\[url:ui\]", re.DOTALL)


def log(visit: Visit) -> Answer:
    """Show a ref's commits, newest first, and the graph of their parents."""
    ref = visit.ref
    head = visit.lake.refs.commit(visit.repository.uid, ref, dollar=POINTS_AT_A_COMMIT)
    rows, following = _page(visit, head)
    pointers = _pointers(visit, {row.commit.id for row in rows})
    width = max((row.width for row in rows), default=1)
    items = [
        h("li", draw(row, width), h("div", _entry(visit, row.commit, pointers), class_="entry"), class_="row")
        for row in rows
    ]
    return document(
        visit,
        f"Commits of {ref}",
        heading("Commits", picker(visit, "commits", ref)),
        h("ol", items, class_="card log"),
        paging(visit, following, "commits"),
        tab="commits",
    )


def _page(visit: Visit, head: Commit) -> tuple[list[Row], str]:
    """Return the rows of a page, and the offset of the next one.

    The offset is the start of the commit id that each lane of the graph waits for. So no page repeats the walk of
    earlier ones, and the lines of two pages connect. A commit that is dated later than its child may appear again on a
    later page, because a page does not know the content of earlier ones.
    """
    commits, uid = visit.lake.commits, visit.repository.uid
    lanes = Lanes(_awaited(visit))
    first = [commits.find(uid, id) for id in dict.fromkeys(lanes.awaited) if id] if visit.after else [head]
    queue = sorted((commit.moment, commit.id, commit) for commit in first if commit)
    seen = {id for _, id, _ in queue}
    rows: list[Row] = []
    while queue and len(rows) < PAGE_ROWS:
        commit = queue.pop()[-1]
        rows.append(lanes.place(commit))
        for parent in [commits.find(uid, id) for id in commit.parents]:
            if parent and parent.id not in seen:
                seen.add(parent.id)
                insort(queue, (parent.moment, parent.id, parent))
    waiting = {id for _, id, _ in queue}
    return rows, ".".join((id or "")[:DIGITS] if id in waiting else "" for id in lanes.awaited) if queue else ""


def _awaited(visit: Visit) -> list[str | None]:
    found: list[str | None] = []
    for part in visit.after.split(".") if visit.after else ():
        ids = visit.lake.commits.starting_with(visit.repository.uid, part) if _DIGITS.fullmatch(part) else []
        if part and len(ids) != 1:
            raise Missing("The log has no such page.")
        found.append(ids[0] if ids else None)
    return found


def _pointers(visit: Visit, ids: Container[str]) -> dict[str, list[Markup]]:
    """Return the branches and tags at each of the commits."""
    found: dict[str, list[Markup]] = {}
    repository = visit.repository
    branches = ((branch.id, branch.commit_id, "ref") for branch in Branches(visit.lake, repository).list())
    tags = ((name, id, "ref tag") for name, id in Tags(visit.lake, repository).list())
    for name, id, kind in chain(branches, tags):
        if id in ids:
            to = visit.here("commits", ref=name)
            found.setdefault(id, []).append(h("a", name, href=to, class_=kind, title=name))
    return found


def _some(pointers: list[Markup], most: int) -> Child:
    """Return the first pointers, and the number of further ones."""
    more = len(pointers) - most
    return [[" ", pointer] for pointer in pointers[:most]] + ([f" and {more:,} more"] if more > 0 else [])


def _entry(visit: Visit, commit: Commit, pointers: dict[str, list[Markup]]) -> Child:
    first = [
        h("a", title_of(commit.message), href=visit.here("commits", commit.id), class_="name"),
        _some(pointers.get(commit.id, []), FEW),
    ]
    second = [
        commit_link(visit, commit.id),
        h("span", commit.committer or "lakeFS"),
        moment(commit.created),
        h("a", "browse", href=visit.here("objects", ref=commit.id)),
    ]
    return [h("p", first), h("p", second, class_="small dim")]


# one commit ---------------------------------------------------------------------------------------------


def commit(visit: Visit) -> Answer:
    """Show a commit: its properties and its changes."""
    lake, uid = visit.lake, visit.repository.uid
    try:
        found = lake.refs.commit(uid, visit.names["commit"], dollar=POINTS_AT_A_COMMIT)
    except Missing:
        raise Missing(f"There is no commit {visit.names['commit']}.") from None
    parents = [h("div", commit_link(visit, id, id), " ", _title(visit, id)) for id in found.parents]
    pointers = _pointers(visit, {found.id}).get(found.id)
    buttons, plain = _metadata(found)
    first, _, rest = found.message.strip().partition("\n")
    pairs: list[tuple[str, Child]] = [
        ("Commit", h("span", found.id, class_="mono")),
        ("Committer", found.committer or "lakeFS"),
        ("Date", both(found.created)),
        ("Parents" if len(parents) > 1 else "Parent", parents or "none: the first commit"),
    ]
    if pointers:
        pairs.append(("At this commit", _some(pointers, MANY)))
    return document(
        visit,
        first or "(no message)",
        heading(
            [first or "(no message)", " ", badge("merge", "calm") if len(parents) > 1 else None],
            h("a", "Browse objects", href=visit.here("objects", ref=found.id), class_="button"),
            h("a", "Log from here", href=visit.here("commits", ref=found.id), class_="button"),
        ),
        h("pre", rest.strip("\n"), class_="card message") if rest.strip() else None,
        h("p", buttons, class_="buttons") if buttons else None,
        facts(pairs),
        [h("h2", "Metadata"), facts(plain)] if plain else None,
        _changes(visit, found),
        tab="commits",
    )


def _title(visit: Visit, id: str) -> Markup:
    found = visit.lake.commits.find(visit.repository.uid, id)
    return h("span", title_of(found.message) if found else "(not here)", class_="dim")


def _metadata(commit: Commit) -> tuple[list[Child], list[tuple[str, Child]]]:
    """Return the buttons of a commit, and its other metadata."""
    buttons: list[Child] = []
    plain: list[tuple[str, Child]] = []
    for key, value in sorted(commit.metadata.items()):
        if key.endswith(BUTTON) and _is_link(value):
            named = _NAMED.fullmatch(key)
            label = f"Open {named[1]} UI" if named else f"Open {key.removesuffix(BUTTON).strip(':') or 'UI'}"
            buttons.append(h("a", label, href=value, class_="button primary", rel="noreferrer noopener", title=value))
        else:
            plain.append((key, h("span", value, class_="mono pre")))
    return buttons, plain


def _is_link(text: str) -> bool:
    """Whether a text is the address of a web page, not a script."""
    try:
        found = urlsplit(text)
    except ValueError:
        return False
    return found.scheme in ("http", "https") and bool(found.netloc)


def _changes(visit: Visit, found: Commit) -> Markup | None:
    if not found.parents:
        return None
    number = visit.query.get("parent", "1")
    at = int(number) - 1 if re.fullmatch("[1-9]", number) and int(number) <= len(found.parents) else 0
    parent = found.parents[at]
    if visit.lake.commits.find(visit.repository.uid, parent) is None:
        return h(
            "div", nothing("The parent is not in this repository, so there are no changes to show."), class_="empty"
        )
    changes, following = visit.ask_list("diffRefs", {"leftRef": parent, "rightRef": found.id}, type="two_dot")
    others = None
    if len(found.parents) > 1:
        others = h(
            "nav",
            [
                h(
                    "a",
                    f"to parent {which}",
                    href=visit.here("commits", found.id, parent=str(which)),
                    aria_current=which == at + 1 and "true",
                )
                for which in range(1, len(found.parents) + 1)
            ],
            class_="choice",
            aria_label="Parent",
        )
    return join(
        h("div", h("h2", "Changes"), others, class_="title"),
        differences(visit, changes, parent, found.id, nothing("The same content as its parent.")),
        paging(visit, following, "commits", found.id),
    )
