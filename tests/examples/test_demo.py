"""The demo itself, as ``make demo`` runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from example_dags import demo, weather
from example_dags.reporting import Outcome


def start(data):
    return subprocess.Popen(
        [sys.executable, "-m", "example_dags.demo", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=demo.ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


def test_an_interrupt_leaves_nothing_running(data):
    process = start(data)
    port = None
    for line in process.stdout:
        if found := re.search(r"127\.0\.0\.1:(\d+)", line):
            port = int(found[1])
        if "create Airflow's database" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert port
    assert children
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(20) == 130
    process.stdout.close()
    assert "stopped; nothing is left running" in rest
    assert "Traceback" not in rest
    _, alive = psutil.wait_procs(children, timeout=1)
    assert not alive
    with socket.socket() as server:
        assert server.connect_ex(("127.0.0.1", port)) != 0


def test_the_demo_shows_that_everything_came_out_as_it_must(data):
    process = start(data)  # where the interrupted one kept its data
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "As expected:" in output
    assert output.count("PUBLISHED") == 3
    assert output.count("REFUSED") == 2
    assert output.count("compare http://127.0.0.1:") == 1
    assert output.count("changes http://127.0.0.1:") == 1
    assert output.count("|\\") == 3
    assert "lakeFS refuses the merge: audit gate: commit" in output
    assert "its response is lost, and the task is killed" in output
    days = "2013-01-17, 2013-04-10, 2013-12-31"
    for host in ("Airflow", "Dagster"):
        assert f"{host}  runs for {days}, after the revert for {days}; the events came within" in output
    assert "12 months, 1 merge" in output
    assert re.search(r"\d audits found the bad commit [0-9a-f]{10} by hand, which is undone", output)
    assert re.search(r"lakefs-ops local --data .*lakefs --port \d+", output)


def test_the_verdict_notices_what_did_not_come_out(lake):
    """Nothing was published, but the spoiled month is on main, and no branch is kept."""
    month = "2013-03"
    lake.client.objects.upload(
        lake.repository, "main", weather.raw_path(month), weather.read_batch(demo.SPOILED, month)
    )
    lake.client.commits.create(lake.repository, "main", message="Spoiled")
    outcomes = {
        host: [Outcome(month, "published", f"{host}-{month}-{inbox.name}") for month, inbox in batches]
        for host, batches in demo.HOSTS.items()
    }
    outcomes[demo.RETRIED] = [Outcome(demo.KILLED, "failed", "wap")]
    found = "\n".join(demo.problems(lake.client, lake.repository, lake.history, outcomes))
    assert "Dagster: 2013-03 must be refused, but was published" in found
    assert "Airflow: the branch Airflow-2013-03-spoiled must be kept" in found
    assert "2013-04 must be published by the second try" in found
    assert "main must have one merge of 2013-04, but has 0" in found
    assert "main must hold daily/2013-02.csv" in found
    assert "main must not hold raw/2013-03.csv" in found
    assert "main must have 8 commits, but has 3" in found
