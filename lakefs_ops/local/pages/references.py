"""Branches and tags."""

from __future__ import annotations

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
    """Show the branches by name."""
    prefix = visit.query.get("prefix", "")
    found, following = visit.ask_list("listBranches", prefix=prefix)
    repository = visit.repository
    default = repository.default_branch
    of = Branches(visit.lake, repository)

    def row(branch: dict[str, Any]) -> Markup:
        name = branch["id"]
        staged = badge("uncommitted", "warm") if of.is_dirty(name) else None
        marks: Child = [
            badge("default", "good") if name == default else None,
            badge("protected") if is_protected(visit.lake, repository.uid, name) else None,
            staged and h("a", staged, href=visit.here("changes", ref=name)),
        ]
        to = None
        if name != default:
            to = h("a", "compare", href=visit.here("compare", ref=default, compare=name))
        links = [h("a", "log", href=visit.here("commits", ref=name)), " ", to]
        return _row(visit, branch, ref_link(visit, name), marks, links)

    none = nothing(f"No branch begins with {prefix}." if prefix else "There is no branch.")
    return document(
        visit,
        "Branches",
        heading("Branches", search(visit, "Beginning of a name")),
        table(("Branch", "Last commit", "", "Date", ""), map(row, found), none),
        paging(visit, following, "branches"),
        tab="branches",
    )


def tags(visit: Visit) -> Answer:
    """Show the tags by name."""
    prefix = visit.query.get("prefix", "")
    found, following = visit.ask_list("listTags", prefix=prefix)

    def row(tag: dict[str, Any]) -> Markup:
        name = h("a", tag["id"], href=visit.here("objects", ref=tag["id"]), class_="ref tag", title=tag["id"])
        return _row(visit, tag, name, None, h("a", "log", href=visit.here("commits", ref=tag["id"])))

    none = nothing(f"No tag begins with {prefix}.") if prefix else nothing(
        "There is no tag yet.",
        "A tag names one commit for good: a release, or what a report was made from.",
        f'client.tags.create({quoted(visit.repository.id)}, id="v1", ref={quoted(visit.repository.default_branch)})',
    )  # fmt: skip
    return document(
        visit,
        "Tags",
        heading("Tags", search(visit, "Beginning of a name")),
        table(("Tag", "Commit", "", "Date", ""), map(row, found), none),
        paging(visit, following, "tags"),
        tab="tags",
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
