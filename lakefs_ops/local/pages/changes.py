"""Differences between two refs, and the uncommitted changes of a branch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lakefs_ops.local.errors import Missing
from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.frame import document, heading, nothing, paging, picker, quoted, size, table
from lakefs_ops.local.pages.html import Child, Markup, h
from lakefs_ops.local.pages.visit import Visit
from lakefs_ops.local.store.branches import Branches

SYMBOLS = {"added": "+", "removed": "\N{MINUS SIGN}", "changed": "~", "conflict": "!"}


def differences(visit: Visit, found: Iterable[dict[str, Any]], left: str, right: str, empty: Child) -> Markup:
    """Return a table of differences."""

    def row(change: dict[str, Any]) -> Markup:
        kind = change["type"]
        gone = kind == "removed"
        to = visit.here("object", ref=left if gone else right, path=change["path"])
        return h(
            "tr",
            h("td", h("span", SYMBOLS.get(kind, "?"), aria_hidden="true"), h("span", kind), class_=f"change {kind}"),
            h("td", h("a", change["path"], href=to), class_="name"),
            h("td", "" if gone else size(change.get("size_bytes") or 0), class_="number dim"),
        )

    return table(("Change", "Object", "Size"), map(row, found), empty, numbers={2})


def uncommitted(visit: Visit) -> Answer:
    """Show the uncommitted changes of a branch."""
    ref = visit.ref
    if Branches(visit.lake, visit.repository).find(ref) is None:
        raise Missing(f"There is no branch {ref}; only a branch has uncommitted changes.")
    found, following = visit.ask_list("diffBranch", {"branch": ref})
    none = nothing(
        "There are no uncommitted changes.",
        f"The branch {ref} equals its last commit. Changes are listed here until they are committed:",
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
    """Return the changes that a merge of one ref into another would apply, with conflicts marked."""
    names = {"leftRef": base, "rightRef": other}
    found, following = visit.ask_list("diffRefs", names, type="three_dot")
    conflicts = sum(change["type"] == "conflict" for change in found)
    warning = None
    if conflicts:
        several = "1 object" if conflicts == 1 else f"{conflicts} objects"
        warning = h("p", f"{several} on this page changed on both sides: a merge needs a strategy.", class_="warning")

    empty = nothing("Nothing to merge.", f"{other} has no changes that {base} does not have.")
    return [warning, differences(visit, found, base, other, empty), paging(visit, following, *_here(visit))]


def _here(visit: Visit) -> tuple[str, ...]:
    pull = visit.names.get("pull_request")
    return ("pulls", pull) if pull else ("compare",)


def compare(visit: Visit) -> Answer:
    """Show the changes that a merge of one ref into another would apply."""
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
        about = "Compare two branches, tags, commits or expressions to see what a merge of the second one changes."
        result: list[Child] = [h("div", nothing("Choose two different refs.", about), class_="empty")]
    else:
        result = three_dot(visit, base, other)
    return document(visit, f"{base} ← {other}", heading("Compare"), form, result, tab="compare")
