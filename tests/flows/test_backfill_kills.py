"""A backfill with eight worker processes, lost requests and replies, and SIGKILLs: one merge, nothing lost or double.

``LAKEFS_OPS_PARTITIONS=200`` for the whole size.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from lakefs_ops.flows.backfill import MEMBER, PUBLISHED
from lakefs_ops.local.faults import Fault

PARTITIONS = int(os.environ.get("LAKEFS_OPS_PARTITIONS", "40"))
WORKERS = 8
SCRIPT = Path(__file__).with_name("backfill_workers.py")
CALLS = ["mergeIntoBranch", "commit", "createBranch", "deleteBranch", "uploadObject", "logCommits", "diffRefs"]


@pytest.fixture
def run(lakefs, lakefs_repository):
    """Runs the workers while requests and replies get lost; returns what they report."""

    def run(partitions, *, early):
        settings = {
            "endpoint": lakefs.endpoint, "access_key_id": lakefs.access_key_id,
            "secret_access_key": lakefs.secret_access_key, "repository": lakefs_repository, "partitions": partitions,
            "workers": WORKERS, "kills": partitions // 4, "compute": 0, "seed": 1, "early": early,
        }  # fmt: skip
        dice, done, faults = random.Random(1), threading.Event(), 0

        def lose():
            nonlocal faults
            while not done.wait(0.03):
                when, operation = dice.choice(["before", "after"]), dice.choice(CALLS)
                where = {"repository": lakefs_repository}
                lakefs.faults.add(Fault(operation, when=when, action="reset", where=where))
                faults += 1

        thread = threading.Thread(target=lose)
        thread.start()
        command = [sys.executable, str(SCRIPT), json.dumps(settings)]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        finally:
            done.set()
            thread.join()
            lakefs.faults.clear()
        assert process.returncode == 0, process.stderr[-3000:]
        result = json.loads(process.stdout)
        assert result["kills"] >= partitions // 10
        print(f"{result['kills']} kills, {faults} faults, {result['collected_in']:.1f} s")
        return result

    return run


@pytest.fixture
def published(lakefs, lakefs_repository):
    """Returns the only merge on main, and the partitions there; each has its content, and is on one commit."""

    def published():
        client, repository = lakefs.client, lakefs_repository
        merges = [c for c in client.refs.log(repository, "main", first_parent=True) if len(c.parents) > 1]
        (merge,) = merges
        paths = [entry.path for entry in client.objects.list(repository, "main")]
        names = [path.removeprefix("daily/") for path in paths]
        for path, name in zip(paths, names, strict=True):
            assert client.objects.get(repository, "main", path) == f"content of {name}".encode()
        members = Counter(
            name
            for commit in client.refs.log(repository, merge.parents[1], first_parent=True)
            for name in json.loads(commit.metadata.get(MEMBER, "[]"))
        )
        assert members == dict.fromkeys(names, 1)
        assert merge.metadata[PUBLISHED].startswith(f"{len(names)}: ")
        return merge.id, names

    return published


def test_many_processes_with_faults_and_kills_publish_once(run, published, lakefs, lakefs_repository):
    result = run(PARTITIONS, early=False)
    merge, names = published()
    assert names == sorted(result["green"]) == [f"day-{number:03}" for number in range(PARTITIONS)]
    assert {*result["published"]} == {merge}
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_a_publication_in_the_middle_has_exactly_the_runs_that_are_green(run, published, lakefs, lakefs_repository):
    result = run(PARTITIONS, early=True)
    merge, names = published()
    assert {*result["published"]} == {merge}
    assert names == sorted(result["green"])
    assert len(names) + len(result["refused"]) == PARTITIONS
    branches = [branch.id for branch in lakefs.client.branches.list(lakefs_repository)]
    for name in {*result["refused"]} & {*result["audited"]}:
        (branch,) = (branch for branch in branches if branch.startswith(f"wap-fix-2015-{name}-"))
        assert lakefs.client.objects.get(lakefs_repository, branch, f"daily/{name}")
