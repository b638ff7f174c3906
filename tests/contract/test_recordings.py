"""The embedded server answers as lakeFS 1.84 was recorded to, scenario by scenario."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lakefs_ops.local import LocalLakeFS

HERE = Path(__file__).parent
RECORDINGS = sorted((HERE / "recordings").rglob("*.json"))


def name_of(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def parameters():
    for file in RECORDINGS:
        scenario = json.loads(file.read_text("utf-8"))
        if scenario.get("defect"):
            continue  # lakeFS is wrong there; test_defects.py has what is right
        yield pytest.param(scenario, id=name_of(file))


def mostly_waits(scenario) -> bool:
    """Whether a scenario has pauses or imports, which all take at least half a second."""
    if scenario["name"] == "import_cancel" or scenario.get("server") == "fresh":
        return False  # the import must not end before it is canceled; a fresh server is for one scenario
    steps = scenario["steps"]
    return "external_files" in scenario or any("pause" in step or step.get("hook_seen") == [] for step in steps)


@pytest.fixture(scope="module")
def waiting(replayer, request, imports):
    """The differences of the scenarios that mostly wait; they are replayed at the same time, on their own server."""
    own = [item for item in request.session.items if getattr(item, "function", None) is test_recording]
    with LocalLakeFS(allow_import=[imports]) as server, ThreadPoolExecutor(8) as pool:
        yield {
            scenario["name"]: pool.submit(replay_against, replayer, server, scenario, imports)
            for scenario in (item.callspec.params["scenario"] for item in own)
            if mostly_waits(scenario)
        }


@pytest.mark.parametrize("scenario", list(parameters()))
def test_recording(scenario, replayer, request, imports):
    if mostly_waits(scenario):
        differences = request.getfixturevalue("waiting")[scenario["name"]].result()
    elif scenario.get("server") == "fresh":
        with LocalLakeFS(installed=False) as fresh:
            differences = replay_against(replayer, fresh, scenario)
    else:
        differences = replay_against(replayer, request.getfixturevalue("server"), scenario, imports)
    assert not differences, "\n".join(differences)


def replay_against(replayer, server, scenario, imports=None):
    replay = replayer.Replay(server.endpoint, (server.access_key_id, server.secret_access_key), imports)
    try:
        return replay.run(scenario)
    finally:
        replay.close()


def test_every_recording_is_there():
    assert len(RECORDINGS) >= 187
    assert sum(bool(json.loads(file.read_text("utf-8")).get("defect")) for file in RECORDINGS) == 2


def test_the_replayer_sees_a_difference(replayer, server):
    scenario = {
        "name": "sees_a_difference",
        "steps": [
            {
                "request": {"method": "GET", "path": "/healthcheck"},
                "response": {"status": 200},
            },
            {
                "request": {"method": "GET", "path": "/repositories/<repo>"},
                "response": {"status": 404, "json": {"message": "something else"}},
            },
        ],
    }
    assert len(replay_against(replayer, server, scenario)) == 2


def test_a_placeholder_stands_for_one_value(replayer):
    values = replayer.Values({})
    values.compare("<commit:1>", "a" * 64, "body", frozenset(), False)
    with pytest.raises(replayer.Difference):
        values.compare("<commit:1>", "b" * 64, "body", frozenset(), False)
    with pytest.raises(replayer.Difference, match="another placeholder"):
        values.compare("<commit:2>", "a" * 64, "body", frozenset(), False)
