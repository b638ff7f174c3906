"""Pull requests, and the runs of actions."""

from __future__ import annotations

from typing import Any

from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.changes import three_dot
from lakefs_ops.local.pages.frame import (
    badge,
    both,
    choice,
    commit_link,
    document,
    facts,
    heading,
    moment,
    nothing,
    of_timestamp,
    paging,
    quoted,
    ref_link,
    size,
    table,
)
from lakefs_ops.local.pages.html import Child, Markup, h
from lakefs_ops.local.pages.visit import Visit
from lakefs_ops.local.store.branches import Branches

OUTPUT = 1 << 16
"""Number of bytes of a hook's output that are shown, from its end."""

KINDS = {"open": "good", "merged": "calm", "completed": "good", "failed": "bad"}


def _status(status: str) -> Markup:
    return badge(status, KINDS.get(status, ""))


def pulls(visit: Visit) -> Answer:
    """Show the pull requests, newest first."""
    status = visit.query.get("status", "")
    status = status if status in ("open", "closed") else "all"
    found, following = visit.ask_list("listPullRequests", status=status)

    def row(pull: dict[str, Any]) -> Markup:
        return h(
            "tr",
            h("td", h("a", pull["title"], href=visit.here("pulls", pull["id"]), class_="name")),
            h("td", _status(pull["status"])),
            h("td", ref_link(visit, pull["source_branch"]), " → ", ref_link(visit, pull["destination_branch"])),
            h("td", moment(of_timestamp(pull["creation_date"])), class_="end dim"),
        )

    rows = table(("Title", "Status", "Branches", "Opened"), map(row, found), _no_pull(visit, status))
    states = choice(visit, "status", status, (("all", "All"), ("open", "Open"), ("closed", "Closed")), "pulls")
    title = heading("Pull requests", states)
    return document(visit, "Pull requests", title, rows, paging(visit, following, "pulls"), tab="pulls")


def _no_pull(visit: Visit, status: str) -> Markup:
    if status != "all":
        return nothing(f"No pull request is {status}.")
    name, base = quoted(visit.repository.id), quoted(visit.repository.default_branch)
    return nothing(
        "There is no pull request yet.",
        "A pull request proposes to merge one branch into another, and shows the changes:",
        f'client.branches.create({name}, name="dev", source={base})',
        f'client.pulls.create({name}, title="Try it", source_branch="dev", destination_branch={base})',
    )


def pull(visit: Visit) -> Answer:
    """Show a pull request, and its changes while it is open."""
    found = visit.ask("getPullRequest")
    source, destination = found["source_branch"], found["destination_branch"]
    pairs: list[tuple[str, Child]] = [
        ("Branches", [ref_link(visit, source), " → ", ref_link(visit, destination)]),
        ("Author", found["author"]),
        ("Opened", both(of_timestamp(found["creation_date"]))),
    ]
    if found.get("closed_date"):
        pairs.append(("Closed", both(of_timestamp(found["closed_date"]))))
    if found.get("merged_commit_id"):
        pairs.append(("Merged as", commit_link(visit, found["merged_commit_id"])))
    return document(
        visit,
        found["title"],
        heading([found["title"], " ", _status(found["status"])]),
        h("pre", found["description"], class_="card message") if found.get("description") else None,
        facts(pairs),
        _pull_changes(visit, destination, source) if found["status"] == "open" else None,
        tab="pulls",
    )


def _pull_changes(visit: Visit, destination: str, source: str) -> Child:
    """Return the changes of an open pull request; its branches may be gone."""
    store = Branches(visit.lake, visit.repository)
    gone = [name for name in (source, destination) if store.find(name) is None]
    if gone:
        return h("p", f"Cannot be merged: there is no branch {' and no branch '.join(gone)}.", class_="warning")
    return three_dot(visit, destination, source)


def runs(visit: Visit) -> Answer:
    """Show the runs of actions, newest first."""
    found, following = visit.ask_list("listRepositoryRuns")

    def row(run: dict[str, Any]) -> Markup:
        return h(
            "tr",
            h("td", h("a", run["run_id"], href=visit.here("actions", run["run_id"]), class_="id")),
            h("td", _status(run["status"])),
            h("td", run["event_type"], class_="event"),
            h("td", ref_link(visit, run["branch"])),
            h("td", commit_link(visit, run["commit_id"]) if run["commit_id"] else None),
            h("td", moment(of_timestamp(run["start_time"])), class_="end dim"),
        )

    rows = table(("Run", "Status", "Event", "Branch", "Commit", "Started"), map(row, found), _no_run(visit))
    return document(visit, "Actions", heading("Actions"), rows, paging(visit, following, "actions"), tab="actions")


def _no_run(visit: Visit) -> Markup:
    name, base = quoted(visit.repository.id), quoted(visit.repository.default_branch)
    action = "name: hello\non:\n  post-commit:\nhooks:\n  - id: hello\n    type: lua\n"
    action += "    properties:\n      script: print('hello')\n"
    path = quoted("_lakefs_actions/hello.yaml")
    return nothing(
        "No action has run yet.",
        "An action runs hooks before or after a commit, a merge or another event. This one prints a greeting:",
        f'action = b"""{action}"""',
        f"client.objects.upload({name}, {base}, {path}, action)",
        f'client.commits.create({name}, {base}, message="Add an action")',
    )


def run(visit: Visit) -> Answer:
    """Show a run and the output of its hooks."""
    found = visit.ask("getRun")
    hooks, following = visit.ask_list("listRunHooks")
    pairs: list[tuple[str, Child]] = [
        ("Event", found["event_type"]),
        ("Branch", ref_link(visit, found["branch"])),
        ("Started", both(of_timestamp(found["start_time"]))),
    ]
    if found.get("end_time"):
        pairs.append(("Ended", both(of_timestamp(found["end_time"]))))
    if found["commit_id"]:
        pairs.append(("Commit", commit_link(visit, found["commit_id"])))

    def hook_output(hook: dict[str, Any]) -> Child:
        output = visit.call("getRunHookOutput", {"hook_run_id": hook["hook_run_id"]}).body
        assert isinstance(output, bytes)
        text = output[-OUTPUT:].decode("utf-8", "replace")
        cut = None
        if len(output) > OUTPUT:
            cut = h("p", f"The last {size(OUTPUT)} of {size(len(output))}.", class_="note")
        return [
            h("h2", hook["action"], " / ", hook["hook_id"], " ", _status(hook["status"])),
            cut,
            h("pre", text, class_="card message output", tabindex=0) if text else h("p", "No output.", class_="note"),
        ]

    return document(
        visit,
        f"Run {found['run_id']}",
        heading(["Run ", h("span", found["run_id"], class_="mono"), " ", _status(found["status"])]),
        facts(pairs),
        map(hook_output, hooks),
        paging(visit, following, "actions", found["run_id"]),
        tab="actions",
    )
