"""The log with its graph, and single commits."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    paging,
    picker,
    title_of,
)
from lakefs_ops.local.pages.graph import Row, draw, lay_out
from lakefs_ops.local.pages.html import Child, Markup, h, join
from lakefs_ops.local.pages.visit import PAGE, Visit
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.refs import POINTS_AT_A_COMMIT

BUTTON = "[url:ui]"
"""Ends the keys of metadata that lakeFS shows as a button."""

_NAMED = re.compile(r"::lakefs::(.*)::url\[url:ui\]", re.DOTALL)


def log(visit: Visit) -> Answer:
    """Show the commits that a ref holds, the newest first, and how they descend from each other."""
    ref = visit.ref
    head = visit.lake.refs.commit(visit.repository.uid, ref, dollar=POINTS_AT_A_COMMIT)
    rows, following = _page(_log(visit, head), visit.after)
    pointers = _pointers(visit)
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


def _log(visit: Visit, head: Commit) -> Iterator[Commit]:
    """Go through a log, up to where a commit names a parent that never was."""
    commits = visit.lake.commits.log(visit.repository.uid, head)
    while True:
        try:
            commit = next(commits, None)
        except KeyError:
            return
        if commit is None:
            return
        yield commit


def _page(log: Iterator[Commit], after: str) -> tuple[list[Row], str]:
    """Return the rows behind a commit, and behind which the next page begins.

    The rows before them are laid out too, so that the lanes of the pages meet.
    """
    rows: list[Row] = []
    begun = not after
    for row in lay_out(log):
        if begun:
            if len(rows) == PAGE:
                return rows, rows[-1].commit.id
            rows.append(row)
        begun = begun or row.commit.id == after
    return rows, ""


def _pointers(visit: Visit) -> dict[str, list[Markup]]:
    """Return the branches and tags at each commit."""
    found: dict[str, list[Markup]] = {}
    for operation, kind in (("listBranches", "ref"), ("listTags", "ref tag")):
        for item in visit.ask(operation, amount=1000)["results"]:
            to = visit.here("commits", ref=item["id"])
            found.setdefault(item["commit_id"], []).append(h("a", item["id"], href=to, class_=kind))
    return found


def _entry(visit: Visit, commit: Commit, pointers: dict[str, list[Markup]]) -> Child:
    first = [
        h("a", title_of(commit.message), href=visit.here("commits", commit.id), class_="name"),
        [[" ", pointer] for pointer in pointers.get(commit.id, ())],
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
    """Show a commit: what it says, and what it changed."""
    lake, uid = visit.lake, visit.repository.uid
    try:
        found = lake.refs.commit(uid, visit.names["commit"], dollar=POINTS_AT_A_COMMIT)
    except Missing:
        raise Missing(f"There is no commit {visit.names['commit']}.") from None
    parents = [h("div", commit_link(visit, id, id), " ", _message(visit, id)) for id in found.parents]
    pointers = _pointers(visit).get(found.id)
    buttons, plain = _metadata(found)
    first, _, rest = found.message.strip().partition("\n")
    pairs: list[tuple[str, Child]] = [
        ("Commit", h("span", found.id, class_="mono")),
        ("Committer", found.committer or "lakeFS"),
        ("Date", both(found.created)),
        ("Parents" if len(parents) > 1 else "Parent", parents or "none: the first commit"),
    ]
    if pointers:
        pairs.append(("At this commit", [[pointer, " "] for pointer in pointers]))
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


def _message(visit: Visit, id: str) -> Markup:
    found = visit.lake.commits.find(visit.repository.uid, id)
    return h("span", title_of(found.message) if found else "(not here)", class_="dim")


def _metadata(commit: Commit) -> tuple[list[Child], list[tuple[str, Child]]]:
    """Return the buttons of a commit, and the rest of its metadata."""
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
    """Whether a text is the address of a web page, and nothing that a browser would run."""
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
        return h("p", "Its parent is not in this repository, so there is nothing to compare with.", class_="empty")
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
        )
    return join(
        h("div", h("h2", "Changes"), others, class_="title"),
        differences(visit, changes, parent, found.id, "The same content as its parent."),
        paging(visit, following, "commits", found.id),
    )
