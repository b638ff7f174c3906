"""The provider in a real Airflow, driven over its REST API: ``pytest -m live`` or ``make test-live``."""

from __future__ import annotations

import os
import re
import signal
import time
from functools import partial

import pytest

from hosts.airflow import WEBHOOK_SECRET
from lakefs_ops.flows.webhooks import VARIABLE, install_webhook
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from lakefs_ops.local.faults import Fault
from lakefs_ops.local.store import imports

pytestmark = pytest.mark.live


def publish(airflow, run_id: str, celsius: float = -3.5) -> str:
    return airflow.trigger("live_publish", run_id, path=f"stations/{run_id}.csv", celsius=celsius)


def test_a_good_batch_is_published_and_a_bad_one_is_kept(airflow, lake) -> None:
    before = len(lake.merges())
    publish(airflow, "good")
    publish(airflow, "bad", celsius=-99)
    assert airflow.finish("live_publish", "good") == "success", airflow.report("live_publish", "good")
    assert airflow.finish("live_publish", "bad") == "failed"
    assert lake.paths() >= {"stations/good.csv"}
    assert "stations/bad.csv" not in lake.paths()
    assert len(lake.merges()) == before + 1
    (kept,) = lake.branches()
    log = airflow.log("live_publish", "bad", "station.publish") + airflow.log("live_publish", "bad", "station.close")
    assert kept in log
    links = airflow.call("GET", "dags/live_publish/dagRuns/good/taskInstances/station.publish/links")
    assert any(lake.merges()[0] in str(url) for url in links["extra_links"].values())
    lake.client.branches.delete("lake", kept)


def test_a_cleared_run_publishes_once(airflow, lake) -> None:
    publish(airflow, "again")
    assert airflow.finish("live_publish", "again") == "success", airflow.report("live_publish", "again")
    before = lake.merges()
    airflow.clear("live_publish", "again", "station.open")
    airflow.wait_until(lambda: airflow.state("live_publish", "again") != "success", "the cleared run")
    assert airflow.finish("live_publish", "again") == "success", airflow.report("live_publish", "again")
    assert lake.merges() == before


def test_a_worker_that_is_killed_while_it_merges(airflow, lake) -> None:
    before = len(lake.merges())
    lake.server.faults.add(Fault("mergeIntoBranch", when="after", action="delay", seconds=60))
    publish(airflow, "killed")
    airflow.wait_for_task("live_publish", "killed", "station.publish", "running")
    airflow.wait_until(lambda: len(lake.merges()) == before + 1, "the merge")
    os.kill(airflow.task("live_publish", "killed", "station.publish")["pid"], signal.SIGKILL)
    lake.server.faults.clear()
    assert airflow.finish("live_publish", "killed") == "success", airflow.report("live_publish", "killed")
    assert airflow.task("live_publish", "killed", "station.publish")["try_number"] == 2
    assert len(lake.merges()) == before + 1


def test_a_wait_outlives_the_triggerer_and_an_outage(airflow, lake) -> None:
    airflow.trigger("live_waiting", "wait", path="awaited.csv")
    airflow.wait_for_task("live_waiting", "wait", "wait", "deferred")
    airflow.stop_component("triggerer", signal.SIGKILL)
    airflow.start_component("triggerer")
    lake.down(10)
    assert airflow.task("live_waiting", "wait", "wait")["state"] == "deferred"
    lake.client.objects.upload("lake", "main", "awaited.csv", b"1")
    assert airflow.finish("live_waiting", "wait") == "success", airflow.report("live_waiting", "wait")
    lake.client.branches.reset("lake", "main", type="reset")


def test_a_deferred_import_commits_once_or_is_cancelled(airflow, lake, monkeypatch) -> None:
    airflow.wait_for_dag("live_importing")
    (lake.raw / "7.csv").write_text("day,celsius\n")

    def start(run: str, seconds: float) -> None:
        monkeypatch.setattr(imports, "REFRESH", seconds)
        lake.client.branches.create("lake", name=run, source="main")
        airflow.trigger("live_importing", run, branch=run, path=f"local://{lake.raw}/")
        airflow.wait_for_task("live_importing", run, "import", "deferred")

    start("arrives", 8)
    assert airflow.finish("live_importing", "arrives") == "success", airflow.report("live_importing", "arrives")
    first, before = lake.client.refs.log("lake", "arrives", limit=2)
    assert before.id == lake.client.branches.get("lake", "main").commit_id, "the import made more than one commit"
    assert airflow.xcom("live_importing", "arrives", "import") == first.id
    assert [entry.path for entry in lake.client.objects.list("lake", "arrives", prefix="imp")] == ["imported/7.csv"]

    start("cancelled", 300)
    (import_id,) = re.findall(r"started import (\w+)", airflow.log("live_importing", "cancelled", "import"))
    # Airflow tells only a trigger that runs already.
    airflow.wait_until(lambda: "starting" in airflow.log("live_importing", "cancelled", "import"), "the trigger")
    airflow.call("PATCH", "dags/live_importing/dagRuns/cancelled/taskInstances/import", new_state="failed")
    status = partial(lake.client.imports.status, "lake", "cancelled", import_id)
    airflow.wait_until(lambda: status().error, "the cancellation")
    assert "Canceled" in status().error.message
    assert airflow.finish("live_importing", "cancelled") == "failed"
    for branch in ("arrives", "cancelled"):
        lake.client.branches.delete("lake", branch)


def test_a_commit_of_somebody_else_starts_a_dag(airflow, lake) -> None:
    def runs() -> list[str]:
        found = airflow.call("GET", "dags/live_reacting/dagRuns?limit=100")["dag_runs"]
        return [run["dag_run_id"] for run in found if run["state"] == "success"]

    airflow.wait_for_dag("live_reacting")
    lake.commit("elsewhere/1.csv")
    commit = lake.commit("inbox/1.csv")
    (run,) = airflow.wait_until(runs, "a run for the commit", timeout=90)
    assert airflow.xcom("live_reacting", run, "commits") == [commit]


@pytest.mark.parametrize(("answer", "state"), [("Approve", "success"), ("Reject", "failed")])
def test_a_person_approves_or_rejects(airflow, lake, answer: str, state: str) -> None:
    airflow.wait_for_dag("live_approval")
    run, path = airflow.trigger("live_approval", answer, path=f"approvals/{answer}.csv"), f"approvals/{answer}.csv"
    details = f"dags/live_approval/dagRuns/{run}/taskInstances/station.approval/-1/hitlDetails"
    airflow.wait_for_task("live_approval", run, "station.approval", "awaiting_input", timeout=120)
    # As a person, who needs seconds: Airflow fails a task that is queued again before its scheduler has noticed the
    # end of the process that asked the question.
    time.sleep(5)
    assert path not in lake.paths()
    question = airflow.call("GET", details)["body"]
    assert path in question
    assert "has_a_header" in question
    airflow.call("PATCH", details, chosen_options=[answer], params_input={})
    assert airflow.finish("live_approval", run) == state, airflow.report("live_approval", run)
    assert (path in lake.paths()) == (state == "success")


def test_the_test_button_works_for_a_stored_connection(airflow, lake) -> None:
    fields = {"conn_type": "lakefs", "host": "http://127.0.0.1", "port": lake.port, "login": ACCESS_KEY_ID}
    airflow.call("POST", "connections", connection_id="by_form", password=SECRET_ACCESS_KEY, **fields)
    # The form sends the stored secret back as asterisks.
    answer = airflow.call("POST", "connections/test", connection_id="by_form", password="***", extra="{}", **fields)
    assert answer["status"], answer
    assert answer["message"].startswith("lakeFS 1.84")


def test_twenty_runs_at_once(airflow, lake) -> None:
    if "postgres" not in airflow.processes:
        pytest.skip("SQLite fails under parallel runs; install PostgreSQL from Debian")
    before, branches_before = len(lake.merges()), lake.branches()
    runs = [publish(airflow, f"parallel-{number}") for number in range(20)]
    states = {run: airflow.finish("live_publish", run, timeout=300) for run in runs}
    assert set(states.values()) == {"success"}, states
    assert len(lake.merges()) == before + 20
    assert lake.paths() >= {f"stations/{run}.csv" for run in runs}
    assert lake.branches() == branches_before


def test_each_commit_is_pushed_once_also_if_the_api_server_was_killed(airflow, lake, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, WEBHOOK_SECRET)
    airflow.wait_for_dag("live_pushed")

    def commits() -> list[str]:
        runs = airflow.call("GET", "dags/live_pushed/dagRuns?limit=100")["dag_runs"]
        done = [run["dag_run_id"] for run in runs if run["state"] == "success"]
        return [commit for run in done for commit in airflow.xcom("live_pushed", run, "commits")]

    install_webhook(lake.client, "lake", "main", url=f"{airflow.url}/lakefs/webhook", watch=["main"])
    made = [lake.commit("pushed/1.csv")]
    airflow.wait_until(lambda: commits() == made, "the run for a webhook")
    airflow.stop_component("api-server", signal.SIGKILL)
    made.append(lake.commit("pushed/2.csv"))
    airflow.start_component("api-server")
    airflow.wait_until(lambda: airflow.call("GET", "version", ok=False), "Airflow's API", timeout=120)
    airflow.wait_until(lambda: commits() == made, "the run for a lost webhook", timeout=90)
    made.append(lake.commit("pushed/3.csv"))
    airflow.wait_until(lambda: commits() == made, "the run for the next webhook")
