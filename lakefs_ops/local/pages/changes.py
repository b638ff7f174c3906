"""Differences: between two refs, and between a branch and what is uncommitted on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lakefs_ops.local.errors import Missing
from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.frame import document, heading, nothing, paging, picker, quoted, size, table
from lakefs_ops.local.pages.html import Child, Markup, h
from lakefs_ops.local.pages.visit import Visit
from lakefs_ops.local.store.branches import Branches

SIGNS = {"added": "+", "removed": "\N{MINUS SIGN}", "changed": "~", "conflict": "!"}


def differences(visit: Visit, found: Iterable[dict[str, Any]], left: str, right: str, empty: Child) -> Markup:
    """Return a table of differences.

    Args:
        visit: the request for the page.
        found: the differences as the API answers them.
        left: the ref that holds what was removed.
        right: the ref that holds the rest.
        empty: what to say when there are none.
    """

    def row(change: dict[str, Any]) -> Markup:
        kind = change["type"]
        gone = kind == "removed"
        to = visit.here("object", ref=left if gone else right, path=change["path"])
        return h(
            "tr",
            h("td", h("span", SIGNS.get(kind, "?"), aria_hidden="true"), h("span", kind), class_=f"change {kind}"),
            h("td", h("a", change["path"], href=to), class_="name"),
            h("td", "" if gone else size(change.get("size_bytes") or 0), class_="number dim"),
        )

    return table(("Change", "Object", "Size"), map(row, found), empty, numbers={2})


def uncommitted(visit: Visit) -> Answer:
    """Show what is uncommitted on a branch."""
    ref = visit.ref
    if Branches(visit.lake, visit.repository).find(ref) is None:
        raise Missing(f"There is no branch {ref}; only a branch has uncommitted changes.")
    found, following = visit.ask_list("diffBranch", {"branch": ref})
    none = nothing(
        "Nothing is uncommitted.",
        f"The branch {ref} is as its last commit left it. What is written to it is listed here until it is committed:",
        f'client.objects.upload({quoted(visit.repository.id)}, {quoted(ref)}, "hello.txt", b"hello")',
    )
    return document(
        visit,
        f"Uncommitted on {ref}",
        heading("Uncommitted changes", picker(visit, "changes", ref)),
        differences(visit, found, f"{ref}@", ref, none),
        paging(visit, following, "changes"),
        tab="changes",
    )


def three_dot(visit: Visit, base: str, other: str) -> list[Child]:
    """Return what merging a ref into another would bring, conflicts marked."""
    names = {"leftRef": base, "rightRef": other}
    found, following = visit.ask_list("diffRefs", names, type="three_dot")
    conflicts = sum(change["type"] == "conflict" for change in found)
    said = None
    if conflicts:
        several = "1 object" if conflicts == 1 else f"{conflicts} objects"
        said = h("p", f"{several} on this page changed on both sides: a merge needs a strategy.", class_="warning")
    empty = nothing("Nothing to merge.", f"{other} brings nothing that {base} does not have.")
    return [said, differences(visit, found, base, other, empty), paging(visit, following, *_here(visit))]


def _here(visit: Visit) -> tuple[str, ...]:
    pull = visit.names.get("pull_request")
    return ("pulls", pull) if pull else ("compare",)


def compare(visit: Visit) -> Answer:
    """Show what one ref would bring to another."""
    base, other = visit.ref, visit.query.get("compare") or visit.ref
    known = visit.ask("listBranches", amount=1000)["results"] + visit.ask("listTags", amount=1000)["results"]

    def side(label: str, name: str, value: str) -> Markup:
        box = h("input", name=name, value=value, list="refs", required=True, class_="mono")
        return h("label", h("span", label), box)

    form = h(
        "form",
        side("Into", "ref", base),
        h("span", "←", class_="arrow", aria_hidden="true"),
        side("From", "compare", other),
        h("button", "Compare", class_="primary"),
        h("a", "Switch", href=visit.here("compare", ref=other, compare=base), class_="button"),
        h("datalist", [h("option", value=item["id"]) for item in known], id="refs"),
        action=visit.here("compare"),
        class_="card sides",
    )
    if base == other:
        about = "Two branches, tags, commits or expressions, to see what merging the second into the first would bring."
        result: list[Child] = [h("div", nothing("Choose two different refs.", about), class_="empty")]
    else:
        result = three_dot(visit, base, other)
    return document(visit, f"{base} ← {other}", heading("Compare"), form, result, tab="compare")
