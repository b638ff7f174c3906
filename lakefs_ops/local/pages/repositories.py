"""The list of repositories."""

from __future__ import annotations

from typing import Any

from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.frame import badge, document, heading, moment, nothing, paging, search, table
from lakefs_ops.local.pages.html import Markup, h
from lakefs_ops.local.pages.visit import Visit, address


def list_repositories(visit: Visit) -> Answer:
    """Show the repositories, ordered by name."""
    wanted = visit.query.get("search", "")
    found, following = visit.ask_list("listRepositories", search=wanted)

    def row(repository: dict[str, Any]) -> Markup:
        name = h("a", repository["id"], href=address("repositories", repository["id"], "objects"), class_="name")
        return h(
            "tr",
            h("td", name, " ", badge("read-only") if repository["read_only"] else None),
            h("td", h("span", repository["default_branch"], class_="ref")),
            h("td", repository["storage_namespace"], class_="mono dim"),
            h("td", moment(repository["creation_date"]), class_="end"),
        )

    rows = table(
        ("Repository", "Default branch", "Storage namespace", "Created"),
        map(row, found),
        nothing(f"No repository has {wanted} in its name.")
        if wanted
        else nothing(
            "There is no repository yet.",
            "A repository holds objects and their history. Start with lakefs-ops local --sample, or create one:",
            'client.repositories.create(name="lake", storage_namespace="local://lake")',
        ),
    )
    title = heading("Repositories", search(visit, "Part of a name", "search"))
    return document(visit, "Repositories", title, rows, paging(visit, following, "repositories"))
