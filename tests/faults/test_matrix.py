"""Every verb under every fault ends as if nothing had failed; docs/exactly-once.md has the expected results.

A cell with another result fails. ``LAKEFS_OPS_WRITE_TABLE=1`` writes it again.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lakefs_ops import errors
from lakefs_ops.flows.attempts import OutcomeUnknown
from lakefs_ops.local.faults import Fault

PAGE = Path(__file__).parents[2] / "docs" / "exactly-once.md"
WRITE = bool(os.environ.get("LAKEFS_OPS_WRITE_TABLE"))
READ_TIMEOUT = 0.6
SLOW = 1.0

VERBS = (
    "ensure_branch",
    "ensure_tag",
    "ensure_repository",
    "ensure_branch_protection",
    "ensure_retention",
    "Step.commit",
    "Step.merge",
    "Step.revert",
    "Step.revert(since=...)",
    "Step.cherry_pick",
    "Step.import_",
    "Step.pull_request",
    "merge_pull_request",
    "hard_reset",
    "reset_branch",
    "delete_branch_if_exists",
    "delete_tag_if_exists",
    "delete_repository_if_exists",
    "WriteAuditPublish",
)
LOCKED = "branch is currently locked, try again later"
FAULTS = {
    "request lost": {"when": "before", "action": "reset"},
    "reply lost": {"when": "after", "action": "reset"},
    "reply cut": {"when": "after", "action": "truncate"},
    "429": {"when": "before", "action": "status", "status": 429, "message": "Too many attempts, try again later"},
    "locked": {"when": "before", "action": "status", "status": 500, "message": LOCKED},
    "500 before": {"when": "before", "action": "status", "status": 500, "message": "internal"},
    "500 after": {"when": "after", "action": "status", "status": 500, "message": "internal"},
    "503 before": {"when": "before", "action": "status", "status": 503, "message": "Slow down"},
    "503 after": {"when": "after", "action": "status", "status": 503, "message": "Slow down"},
    "late effect": {"when": "before", "action": "delay", "seconds": SLOW},
    "late reply": {"when": "after", "action": "delay", "seconds": SLOW},
}
DEATHS = {"killed before": "before", "killed after": "after"}
COLUMNS = (*FAULTS, *DEATHS, "two at once")

PLAIN = "once"
TWICE = "twice"
UNKNOWN = "`OutcomeUnknown`, once by the retry"


@pytest.fixture
def repository(server, matrix):
    name = f"m-{uuid.uuid4().hex[:12]}"
    with connect(matrix, server) as client:
        client.repositories.create(name=name, storage_namespace=f"local://{name}")
    return name


def connect(matrix, server, **more):
    return matrix.connect(server.endpoint, server.access_key_id, server.secret_access_key, **more)


@pytest.fixture(scope="session")
def wanted(server, matrix, import_folder):
    """The state of a repository after each verb, without faults."""
    known = {}

    def state(verb):
        if verb not in known:
            name = f"m-{uuid.uuid4().hex[:12]}"
            with connect(matrix, server) as client:
                client.repositories.create(name=name, storage_namespace=f"local://{name}")
                matrix.VERBS[verb].prepare(client, name)
                matrix.VERBS[verb].run(client, name, False, str(import_folder))
                known[verb] = matrix.state(client, name)
        return known[verb]

    return state


def expected(verb, column):
    rows = {
        cells[0].strip("` "): dict(zip(COLUMNS, (c.strip() for c in cells[1:]), strict=True))
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `") and len(cells := line.strip("|").split("|")) == len(COLUMNS) + 1
    }
    return rows[verb][column]


def settle(verb, result, column):
    if WRITE:
        with (PAGE.parent / f".cells-{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps([verb, column, result]) + "\n")
    else:
        assert result == expected(verb, column)


@pytest.fixture
def release(server, faults):
    """Lets the calls that are held take effect, as calls do that outlive their client."""

    def release():
        faults.clear()
        while server._server.server_state.tasks:
            time.sleep(0.01)

    return release


@pytest.mark.parametrize("column", FAULTS)
@pytest.mark.parametrize("verb", VERBS)
def test_under_a_fault(verb, column, server, faults, release, matrix, repository, import_folder, wanted):
    goal = wanted(verb)
    folder = str(import_folder)
    timing_out = "late" in column
    with connect(matrix, server) as client, connect(matrix, server, read=READ_TIMEOUT) as hasty:
        matrix.VERBS[verb].prepare(client, repository)
        faults.add(Fault(matrix.VERBS[verb].operation, **FAULTS[column]))
        result = PLAIN
        try:
            matrix.VERBS[verb].run(hasty if timing_out else client, repository, False, folder)
        except OutcomeUnknown:
            result = UNKNOWN
            release()
            matrix.VERBS[verb].run(client, repository, True, folder)
        else:
            release()
        assert matrix.state(client, repository) == goal
    settle(verb, result, column)


@pytest.fixture
def kill_and_retry(server, faults, release, matrix, repository, import_folder):
    """Kills the process of a verb while the server holds its call, and calls the verb again as a retry."""

    def kill_and_retry(verb, operation, when, way="run"):
        with connect(matrix, server) as client:
            matrix.VERBS[verb].prepare(client, repository)
            struck = faults.add(Fault(operation, when=when, action="delay", seconds=20))
            keys = [server.endpoint, server.access_key_id, server.secret_access_key]
            child = subprocess.Popen(
                [sys.executable, matrix.__file__, verb, way, *keys, repository, str(import_folder)]
            )
            assert struck.wait(20)
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            release()
            getattr(matrix.VERBS[verb], way)(client, repository, True, str(import_folder))
            return matrix.state(client, repository)

    return kill_and_retry


@pytest.mark.parametrize("column", DEATHS)
@pytest.mark.parametrize("verb", VERBS)
def test_the_client_is_killed_and_retried(verb, column, matrix, kill_and_retry, wanted):
    goal = wanted(verb)
    assert kill_and_retry(verb, matrix.VERBS[verb].operation, DEATHS[column]) == goal
    settle(verb, PLAIN, column)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "operation", ["createBranch", "uploadObject", "commit", "mergeIntoBranch", "createTag", "deleteBranch"]
)
def test_a_publish_is_killed_at_each_step(operation, when, kill_and_retry, wanted):
    goal = wanted("WriteAuditPublish")
    assert kill_and_retry("WriteAuditPublish", operation, when) == goal


@pytest.mark.parametrize("verb", VERBS)
def test_two_at_once(verb, server, faults, matrix, repository, import_folder, wanted):
    goal = wanted(verb)
    start = threading.Barrier(2)

    def run(client):
        start.wait()
        try:
            (matrix.VERBS[verb].at_once or matrix.VERBS[verb].run)(client, repository, False, str(import_folder))
        except errors.LakeFSError as error:
            return type(error).__name__
        return None

    with connect(matrix, server) as one, connect(matrix, server) as two:
        matrix.VERBS[verb].prepare(one, repository)
        with ThreadPoolExecutor(2) as pool:
            failed = [name for name in pool.map(run, (one, two)) if name]
        same = matrix.state(one, repository) == goal
    settle(verb, ", ".join(failed) or (PLAIN if same else TWICE), "two at once")


CLAIM = 4  # create the claim's commit and the claim, search, delete the claim
BARE = {
    "WriteAuditPublish": None,
    "Step.import_": None,
    "Step.cherry_pick": 2 + CLAIM,
    "Step.revert": 3 + CLAIM,
    "Step.revert(since=...)": None,
    "Step.pull_request": 1 + CLAIM,
    "hard_reset": 3,
    "delete_branch_if_exists": 2,
    "delete_tag_if_exists": 2,
    "delete_repository_if_exists": 2,
    "ensure_tag": 2,
    "ensure_branch_protection": 2,
    "ensure_retention": 2,
}
OWN_SEARCHES = {"Step.revert": 1, "merge_pull_request": 1, "hard_reset": 1}
"""Calls of the test itself, which search for an id."""


@pytest.mark.parametrize("verb", [v for v in VERBS if BARE.get(v, 1)])
def test_nothing_but_the_bare_call_without_faults(verb, server, faults, matrix, repository, import_folder):
    with connect(matrix, server) as client:
        matrix.VERBS[verb].prepare(client, repository)
        before = sum(faults.calls.values())
        matrix.VERBS[verb].run(client, repository, False, str(import_folder))
        assert sum(faults.calls.values()) - before - OWN_SEARCHES.get(verb, 0) == BARE.get(verb, 1)


@pytest.mark.parametrize("verb", [v for v in VERBS if BARE.get(v, 1)])
def test_at_most_two_searches_after_a_lost_reply(verb, server, faults, matrix, repository, import_folder):
    with connect(matrix, server) as client:
        matrix.VERBS[verb].prepare(client, repository)
        faults.add(Fault(matrix.VERBS[verb].operation, when="after", action="reset"))
        before = sum(faults.calls.values())
        matrix.VERBS[verb].run(client, repository, False, str(import_folder))
        sends = 2 if verb in ("ensure_branch", "ensure_tag", "ensure_repository", "delete_branch_if_exists") else 1
        # A merge of a pull request that is found is also compared with the destination's head.
        searches = 3 if verb == "merge_pull_request" else 2
        assert (
            sum(faults.calls.values()) - before - OWN_SEARCHES.get(verb, 0) <= sends + BARE.get(verb, 1) - 1 + searches
        )


def test_the_page_has_every_cell():
    if not WRITE:
        assert all(expected(verb, column) for verb in VERBS for column in COLUMNS)
        assert re.search(r"^# ", PAGE.read_text(), re.MULTILINE)
