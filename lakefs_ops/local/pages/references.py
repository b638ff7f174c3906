"""Branches and tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.frame import (
    badge,
    commit_link,
    document,
    heading,
    moment,
    nothing,
    paging,
    quoted,
    ref_link,
    search,
    table,
    title_of,
)
from lakefs_ops.local.pages.html import Child, Markup, h
from lakefs_ops.local.pages.visit import Visit
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.protection import is_protected


def branches(visit: Visit) -> Answer:
    """Show the branches, ordered by name."""
    repository = visit.repository
    default, store = repository.default_branch, Branches(visit.lake, repository)

    def row(branch: dict[str, Any]) -> Markup:
        name = branch["id"]
        staged = badge("uncommitted", "warm") if store.is_dirty(name) else None
        marks: Child = [
            badge("default", "good") if name == default else None,
            badge("protected") if is_protected(visit.lake, repository.uid, name) else None,
            staged and h("a", staged, href=visit.here("changes", ref=name)),
        ]
        compare = h("a", "compare", href=visit.here("compare", ref=default, compare=name)) if name != default else None
        links = [h("a", "log", href=visit.here("commits", ref=name)), " ", compare]
        return _row(visit, branch, ref_link(visit, name), marks, links)

    return _overview(visit, "branch", "Branches", row, nothing("There is no branch."))


def tags(visit: Visit) -> Answer:
    """Show the tags, ordered by name."""

    def row(tag: dict[str, Any]) -> Markup:
        name = h("a", tag["id"], href=visit.here("objects", ref=tag["id"]), class_="ref tag", title=tag["id"])
        return _row(visit, tag, name, None, h("a", "log", href=visit.here("commits", ref=tag["id"])))

    empty = nothing(
        "There is no tag yet.",
        "A tag is a permanent name for one commit, such as a release or the input of a report.",
        f'client.tags.create({quoted(visit.repository.id)}, id="v1", ref={quoted(visit.repository.default_branch)})',
    )
    return _overview(visit, "tag", "Tags", row, empty)


def _overview(visit: Visit, noun: str, title: str, row: Callable[[dict[str, Any]], Markup], empty: Markup) -> Answer:
    """Return the page with a list of branches or tags."""
    prefix = visit.query.get("prefix", "")
    found, following = visit.ask_list(f"list{title}", prefix=prefix)
    return document(
        visit,
        title,
        heading(title, search(visit, "Start of a name")),
        table(
            (noun.capitalize(), "Commit", "", "Date", ""),
            map(row, found),
            nothing(f"No {noun} starts with {prefix}.") if prefix else empty,
        ),
        paging(visit, following, title.lower()),
        tab=title.lower(),
    )


def _row(visit: Visit, pointer: dict[str, Any], name: Markup, marks: Child, links: Child) -> Markup:
    commit = visit.lake.commits.find(visit.repository.uid, pointer["commit_id"])
    return h(
        "tr",
        h("td", name, " ", marks),
        h("td", commit_link(visit, pointer["commit_id"])),
        h("td", title_of(commit.message) if commit else "", class_="wide"),
        h("td", moment(commit.created) if commit else "", class_="end dim"),
        h("td", links, class_="end links"),
    )
