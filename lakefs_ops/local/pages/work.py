"""Pull requests, and the runs of actions."""

from __future__ import annotations

from typing import Any

from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.changes import three_dot
from lakefs_ops.local.pages.frame import (
    badge,
    commit_link,
    document,
    facts,
    heading,
    moment,
    of_timestamp,
    paging,
    ref_link,
    table,
)
from lakefs_ops.local.pages.html import Child, Markup, h
from lakefs_ops.local.pages.visit import Visit

KINDS = {"open": "good", "merged": "calm", "completed": "good", "failed": "bad"}


def _status(status: str) -> Markup:
    return badge(status, KINDS.get(status, ""))


def pulls(visit: Visit) -> Answer:
    """Show the pull requests, the newest first."""
    found, following = visit.ask_list("listPullRequests")

    def row(pull: dict[str, Any]) -> Markup:
        return h(
            "tr",
            h("td", h("a", pull["title"], href=visit.here("pulls", pull["id"]), class_="name")),
            h("td", _status(pull["status"])),
            h("td", ref_link(visit, pull["source_branch"]), " → ", ref_link(visit, pull["destination_branch"])),
            h("td", moment(of_timestamp(pull["creation_date"])), class_="end dim"),
        )

    rows = table(("Title", "Status", "Branches", "Opened"), map(row, found), "There is no pull request yet.")
    return document(
        visit, "Pull requests", heading("Pull requests"), rows, paging(visit, following, "pulls"), tab="pulls"
    )


def pull(visit: Visit) -> Answer:
    """Show a pull request, and what it would bring while it is open."""
    found = visit.ask("getPullRequest")
    source, destination = found["source_branch"], found["destination_branch"]
    pairs: list[tuple[str, Child]] = [
        ("Branches", [ref_link(visit, source), " → ", ref_link(visit, destination)]),
        ("Author", found["author"]),
        ("Opened", moment(of_timestamp(found["creation_date"]))),
    ]
    if found.get("merged_commit_id"):
        pairs.append(("Merged as", commit_link(visit, found["merged_commit_id"])))
    return document(
        visit,
        found["title"],
        heading([found["title"], " ", _status(found["status"])]),
        h("pre", found["description"], class_="card message") if found.get("description") else None,
        facts(pairs),
        three_dot(visit, destination, source) if found["status"] == "open" else None,
        tab="pulls",
    )


def runs(visit: Visit) -> Answer:
    """Show the runs of actions, the newest first."""
    found, following = visit.ask_list("listRepositoryRuns")

    def row(run: dict[str, Any]) -> Markup:
        return h(
            "tr",
            h("td", h("a", run["run_id"], href=visit.here("actions", run["run_id"]), class_="id")),
            h("td", _status(run["status"])),
            h("td", run["event_type"]),
            h("td", run["branch"], class_="mono"),
            h("td", moment(of_timestamp(run["start_time"])), class_="end dim"),
        )

    rows = table(("Run", "Status", "Event", "Branch", "Started"), map(row, found), "No action has run yet.")
    return document(visit, "Actions", heading("Actions"), rows, paging(visit, following, "actions"), tab="actions")


def run(visit: Visit) -> Answer:
    """Show a run, and what its hooks said."""
    found = visit.ask("getRun")
    hooks, following = visit.ask_list("listRunHooks")
    pairs: list[tuple[str, Child]] = [
        ("Event", found["event_type"]),
        ("Branch", h("span", found["branch"], class_="mono")),
        ("Started", moment(of_timestamp(found["start_time"]))),
    ]
    if found["commit_id"]:
        pairs.append(("Commit", commit_link(visit, found["commit_id"])))

    def shown(hook: dict[str, Any]) -> Child:
        said = visit.call("getRunHookOutput", {"hook_run_id": hook["hook_run_id"]}).body
        assert isinstance(said, bytes)
        text = said.decode("utf-8", "replace")
        return [
            h("h2", hook["action"], " / ", hook["hook_id"], " ", _status(hook["status"])),
            h("pre", text, class_="card message scroll") if text else h("p", "It said nothing.", class_="note"),
        ]

    return document(
        visit,
        f"Run {found['run_id']}",
        heading([h("span", found["run_id"], class_="mono"), " ", _status(found["status"])]),
        facts(pairs),
        map(shown, hooks),
        paging(visit, following, "actions", found["run_id"]),
        tab="actions",
    )
