"""The resources in a real Dagster, driven over its GraphQL API: ``pytest -m live`` or ``make test-live``."""

from __future__ import annotations

import os
import signal

import pytest

from lakefs_ops.local.faults import Fault

pytestmark = pytest.mark.live

PATIENCE = 600.0
"""Seconds; a process of Dagster takes seconds to start, and minutes on a busy machine."""

ASSETS = ("readings", "means", "on_main")


@pytest.fixture(autouse=True)
def without_faults(lake):
    yield
    lake.server.faults.clear()


def deliver(dagster, day: str, celsius: float = -3.5) -> None:
    (dagster.inbox / f"{day}.csv").write_text(f"station,celsius\nŁódź,{celsius}\n")


def objects(day: str) -> set[str]:
    return {f"readings/{day}.parquet", f"means/{day}.parquet"}


def test_a_backfill_publishes_each_partition_once(dagster, lake) -> None:
    days = [f"2026-01-{day:02}" for day in range(1, 6)]
    for day in days:
        deliver(dagster, day)
    merges = lake.server.faults.add(Fault("mergeIntoBranch", action="delay", seconds=PATIENCE, times=2))
    tag = {"dagster/backfill": dagster.backfill(ASSETS, days)}
    dagster.wait_until(lambda: len(dagster.runs(**tag)) == len(days), "the runs of the backfill")
    assert merges.wait(PATIENCE, times=2), dagster.runs(**tag)  # two runs publish at the same time
    lake.server.faults.clear()
    states = {run: dagster.finish(run) for run in dagster.runs(**tag)}
    assert set(states.values()) == {"SUCCESS"}, states
    assert {dagster.materialized(run, "on_main")["dagster/data_version"] for run in states} == set(lake.merges())
    assert len(lake.merges()) == len(days)
    assert lake.paths() == set().union(*map(objects, days))
    assert not lake.branches()


@pytest.mark.parametrize(
    ("day", "celsius", "check", "strategy"),
    [("2026-01-10", -99.0, "plausible", "FROM_ASSET_FAILURE"), ("2026-01-11", -50.0, "usual", "ALL_STEPS")],
    ids=["blocking", "not blocking"],
)
def test_a_failed_audit_then_a_correction_at_the_source(dagster, lake, day, celsius, check, strategy) -> None:
    before = len(lake.merges())
    deliver(dagster, day, celsius)
    failed = dagster.launch(*ASSETS, partition=day)
    assert dagster.finish(failed) == "FAILURE"
    assert not lake.paths() & objects(day)
    assert lake.branches() == {f"dagster-{failed}"}
    results = dagster.events(failed, "ASSET_CHECK_EVALUATION")
    (result,) = [event for event in results if not event["evaluation"]["success"]]
    assert result["evaluation"]["checkName"] == check
    assert result["evaluation"]["description"] == f"Łódź: {celsius} °C"
    link = lake.client.links.compare("lake", "main", f"dagster-{failed}")
    assert result["metadata"]["lakefs/compare"] == link
    if check == "usual":
        (failure,) = dagster.events(failed, "STEP_FAILURE")
        assert failure["metadata"]["lakefs/compare"] == link
        assert f"not published, because check '{check}' of 'means' failed" in dagster.log(failed)

    deliver(dagster, day)
    # What failed reads what the failed run has written, so it fails again.
    unchanged = dagster.execute_again(failed, "FROM_FAILURE")
    assert dagster.finish(unchanged) == "FAILURE"
    assert lake.branches() == {f"dagster-{failed}"}
    again = dagster.execute_again(failed, strategy)
    assert dagster.finish(again) == "SUCCESS", dagster.log(again)
    assert lake.paths() >= objects(day)
    assert len(lake.merges()) == before + 1
    assert dagster.materialized(again, "on_main")["lakefs/commit_id"] == lake.merges()[0]
    assert not lake.branches()


@pytest.mark.parametrize(("day", "config"), [("2026-01-12", None), ("2026-01-13", {})], ids=["the run", "a step"])
def test_a_process_that_is_killed_while_it_merges(dagster, lake, day: str, config) -> None:
    before = len(lake.merges())
    deliver(dagster, day)
    merge = lake.server.faults.add(Fault("mergeIntoBranch", when="after", action="delay", seconds=PATIENCE))
    run = dagster.launch(*ASSETS, partition=day, config=config)
    assert merge.wait(PATIENCE), dagster.log(run)
    assert len(lake.merges()) == before + 1
    os.kill(pid(dagster, run), signal.SIGKILL)
    lake.server.faults.clear()
    assert dagster.finish(run) == "FAILURE"
    assert "on_main" not in dagster.succeeded(run)
    again = dagster.execute_again(run, "FROM_FAILURE")
    assert dagster.finish(again) == "SUCCESS", dagster.log(again)
    assert dagster.succeeded(again) == ["on_main"]
    assert dagster.materialized(again, "on_main")["lakefs/commit_id"] == lake.merges()[0]
    assert len(lake.merges()) == before + 1
    assert lake.paths() >= objects(day)
    assert not lake.branches()


def pid(dagster, run: str) -> int:
    """Return the process of the publication: of its step, or else of the run."""
    events = [event for event in dagster.events(run) if "pid" in event["metadata"]]
    return int(next((event for event in events if event["stepKey"] == "on_main"), events[-1])["metadata"]["pid"])


def test_a_run_that_is_canceled_while_it_writes(dagster, lake) -> None:
    day, before = "2026-01-14", lake.merges()
    deliver(dagster, day)
    upload = lake.server.faults.add(Fault("uploadObject", when="after", action="delay", seconds=PATIENCE))
    run = dagster.launch(*ASSETS, partition=day)
    assert upload.wait(PATIENCE), dagster.log(run)
    dagster.terminate(run)
    assert dagster.finish(run) == "CANCELED"
    lake.server.faults.clear()
    assert lake.merges() == before
    assert not lake.paths() & objects(day)
    assert lake.branches() == {f"dagster-{run}"}
    again = dagster.execute_again(run, "FROM_FAILURE")
    assert dagster.finish(again) == "SUCCESS", dagster.log(again)
    assert len(lake.merges()) == len(before) + 1
    assert lake.paths() >= objects(day)
    assert not lake.branches()


def test_a_sensor_launches_one_run_for_a_commit(dagster, lake) -> None:
    dagster.start_sensor("inbox")
    dagster.wait_until(lambda: dagster.ticks("inbox"), "the first tick")
    lake.commit("elsewhere/1.csv")
    commit = lake.commit("inbox/new.csv")
    (run,) = dagster.wait_until(lambda: dagster.runs(**{"lakefs/repository": "lake"}), "a run for the commit")
    assert dagster.finish(run) == "SUCCESS", dagster.log(run)
    assert lake.client.objects.get("lake", "main", "delivered.txt") == b"1"
    assert dagster.runs(**{"lakefs/commit_id": commit}) == {run: "SUCCESS"}
    seen = len(dagster.ticks("inbox"))
    dagster.wait_until(lambda: len(dagster.ticks("inbox")) > seen + 1, "two more ticks")
    assert list(dagster.runs(**{"lakefs/repository": "lake"})) == [run]


NEW = """
@dg.asset(deps=[on_main])
def reloaded(lakefs: LakeFSResource) -> dg.MaterializeResult:
    head = lakefs.get_client().branches.get("lake", "main").commit_id
    return dg.MaterializeResult(metadata={"head": head})


defs = dg.Definitions.merge(defs, dg.Definitions(assets=[reloaded]))
"""


def test_the_code_location_is_reloaded(dagster, lake) -> None:
    with dagster.code.open("a") as code:
        code.write(NEW)
    dagster.reload()
    assert "reloaded" in dagster.assets()
    run = dagster.launch("reloaded")
    assert dagster.finish(run) == "SUCCESS", dagster.log(run)
    assert dagster.materialized(run, "reloaded")["head"] == lake.client.branches.get("lake", "main").commit_id
