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

from lakefs_ops.flows.backfill import MEMBER, PUBLISHED
from lakefs_ops.local.faults import Fault

PARTITIONS = int(os.environ.get("LAKEFS_OPS_PARTITIONS", "40"))
WORKERS = 8
SCRIPT = Path(__file__).with_name("backfill_workers.py")
CALLS = ["mergeIntoBranch", "commit", "createBranch", "deleteBranch", "uploadObject", "logCommits", "diffRefs"]


def test_many_processes_with_faults_and_kills_publish_once(lakefs, lakefs_repository):
    client, repository = lakefs.client, lakefs_repository
    settings = {
        "endpoint": lakefs.endpoint, "access_key_id": lakefs.access_key_id,
        "secret_access_key": lakefs.secret_access_key, "repository": repository, "partitions": PARTITIONS,
        "workers": WORKERS, "kills": PARTITIONS // 4, "compute": 0, "seed": 1,
    }  # fmt: skip
    dice, done, lost = random.Random(1), threading.Event(), []

    def lose() -> None:
        while not done.wait(0.1):
            fault = Fault(
                dice.choice(CALLS), when=dice.choice(["before", "after"]), action="reset",
                where={"repository": repository},
            )  # fmt: skip
            lost.append(lakefs.faults.add(fault))

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        process = subprocess.run(
            [sys.executable, SCRIPT, json.dumps(settings)], capture_output=True, text=True, timeout=600, check=False
        )
    finally:
        done.set()
        thread.join()
        lakefs.faults.clear()
    assert process.returncode == 0, process.stderr[-3000:]
    result = json.loads(process.stdout)
    print({name: value for name, value in result.items() if name != "green"}, Counter(result["failed"]), len(lost))

    names = [f"day-{number:03}" for number in range(PARTITIONS)]
    assert result["kills"] >= PARTITIONS // 4
    assert sorted(result["green"]) == names
    merges = [c for c in client.refs.log(repository, "main", first_parent=True) if len(c.parents) > 1]
    assert {*result["published"]} == {merge.id for merge in merges}
    (merge,) = merges
    assert merge.metadata[PUBLISHED].startswith(f"{PARTITIONS}: day-000, ")
    content = {
        entry.path: client.objects.get(repository, "main", entry.path)
        for entry in client.objects.list(repository, "main")
    }
    assert content == {f"daily/{name}": f"content of {name}".encode() for name in names}
    members = Counter(
        name
        for commit in client.refs.log(repository, merge.parents[1], first_parent=True)
        for name in json.loads((commit.metadata or {}).get(MEMBER, "[]"))
    )
    assert members == dict.fromkeys(names, 1)
    assert [branch.id for branch in client.branches.list(repository)] == ["main"]
