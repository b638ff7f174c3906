"""The gateway answers as that of lakeFS 1.84 was recorded to, scenario by scenario."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from lakefs_ops.local import LocalLakeFS

HERE = Path(__file__).parent
RECORDINGS = sorted((HERE / "recordings_s3").rglob("*.json"))


@pytest.fixture(scope="module")
def replay_s3():
    spec = importlib.util.spec_from_file_location("lakefs_contract_replay_s3", HERE / "replay_s3.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def presigning():
    with LocalLakeFS(presign=True) as running:
        yield running


def parameters():
    for file in RECORDINGS:
        scenario = json.loads(file.read_text("utf-8"))
        if not scenario.get("defect"):
            yield pytest.param(scenario, id=f"{file.parent.name}/{file.stem}")


@pytest.mark.parametrize("scenario", list(parameters()))
def test_recording(scenario, replay_s3, request):
    server = request.getfixturevalue("presigning" if scenario.get("server") == "s3" else "server")
    replay = replay_s3.S3Replay(server.endpoint, (server.access_key_id, server.secret_access_key))
    try:
        differences = replay.run(scenario)
    finally:
        replay.close()
    assert not differences, "\n".join(differences)


def test_every_recording_is_there():
    assert len(RECORDINGS) == 67
    assert sum(bool(json.loads(file.read_text("utf-8")).get("defect")) for file in RECORDINGS) == 2


def test_the_replayer_sees_a_difference(replay_s3, server):
    scenario = json.loads((HERE / "recordings_s3" / "buckets" / "head_bucket.json").read_text("utf-8"))
    scenario["steps"][1]["response"]["status"] = 204
    scenario["steps"][3]["response"]["headers"] = {"x-not-there": "1"}
    replay = replay_s3.S3Replay(server.endpoint, (server.access_key_id, server.secret_access_key))
    try:
        differences = replay.run(scenario)
    finally:
        replay.close()
    assert [line.split(":")[0].rpartition(" ")[0] for line in differences] == [
        "step 2 HEAD /<repo>",
        "step 4 HEAD /<repo>-none",
    ]
