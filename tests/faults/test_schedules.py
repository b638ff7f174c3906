"""Random schedules of faults over a whole pipeline, one for each seed (``LAKEFS_OPS_SEEDS=200`` for more)."""

from __future__ import annotations

import os
import random
import uuid

import pytest

from lakefs_ops import errors
from lakefs_ops.flows import ensure
from lakefs_ops.flows.step import Step
from lakefs_ops.local.faults import Fault

SEEDS = range(int(os.environ.get("LAKEFS_OPS_SEEDS", "12")))
OPERATIONS = (
    "createBranch", "uploadObject", "commit", "mergeIntoBranch", "createTag", "deleteBranch", "logCommits", "getBranch",
)  # fmt: skip
KINDS = (
    {"when": "before", "action": "reset"},
    {"when": "after", "action": "reset"},
    {"when": "after", "action": "truncate"},
    {"when": "before", "action": "status", "status": 503},
    {"when": "after", "action": "status", "status": 500},
    {"when": "before", "action": "status", "status": 429},
    {"when": "before", "action": "status", "status": 500, "message": "update branch main: predicate failed"},
)
STEPS = (
    lambda c, r, again: ensure.ensure_branch(c, r, "run", source="main", key="dag/run", retried=again),
    lambda c, r, again: c.objects.upload(r, "run", "a", b"1"),
    lambda c, r, again: Step(c, r, "dag/run/commit", again).commit("run", message="land"),
    lambda c, r, again: Step(c, r, "dag/run/merge", again).merge("run", "main", message="publish"),
    lambda c, r, again: ensure.ensure_tag(c, r, "v1", ref="main"),
    lambda c, r, again: ensure.delete_branch_if_exists(c, r, "run"),
)


def run_as_a_host_would(client, repository, dice):
    """Up to five tries for each step; sometimes a step is tried again although it succeeded."""
    for step in STEPS:
        for attempt in range(5):
            try:
                step(client, repository, attempt > 0)
            except errors.LakeFSError:
                if attempt == 4:
                    raise
            else:
                if dice.random() < 0.8 or step in (STEPS[0], STEPS[-1]):
                    break


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pipeline_under_random_faults(seed, server, faults, matrix):
    dice = random.Random(seed)
    name = f"s-{uuid.uuid4().hex[:12]}"
    with matrix.connect(server.endpoint, server.access_key_id, server.secret_access_key) as client:
        client.repositories.create(name=name, storage_namespace=f"local://{name}")
        for _ in range(dice.randint(3, 8)):
            faults.add(
                Fault(
                    dice.choice(OPERATIONS),
                    nth=dice.randint(1, 3),
                    times=dice.randint(1, 3),
                    where={"repository": name},
                    **dice.choice(KINDS),
                )
            )
        run_as_a_host_would(client, name, dice)
        faults.clear()
        assert matrix.state(client, name) == {
            "branches": {
                "main": {
                    "objects": {"a": "c4ca4238a0b923820dcc509a6f75849b"},
                    "uncommitted": [],
                    "log": [("publish", 2), ("land", 1), ("Create", 1), ("Repository", 0)],
                }
            },
            "tags": {"v1": ["publish"]},
            "pulls": [],
            "other": False,
            "protected": [],
            "retention": None,
        }
