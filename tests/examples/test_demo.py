"""The demo itself, as ``make demo`` runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from example_dags.demo import ROOT


def start(data):
    return subprocess.Popen(
        [sys.executable, "-m", "example_dags.demo", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


def test_an_interrupt_leaves_nothing_running(data):
    demo = start(data)
    port = None
    for line in demo.stdout:
        if found := re.search(r"127\.0\.0\.1:(\d+)", line):
            port = int(found[1])
        if "make Airflow's database" in line:
            break
    children = psutil.Process(demo.pid).children(recursive=True)
    assert port
    assert children
    demo.send_signal(signal.SIGINT)
    rest = demo.stdout.read()
    assert demo.wait(20) == 130
    demo.stdout.close()
    assert "stopped; nothing is left running" in rest
    assert "Traceback" not in rest
    _, alive = psutil.wait_procs(children, timeout=1)
    assert not alive
    with socket.socket() as server:
        assert server.connect_ex(("127.0.0.1", port)) != 0


def test_the_demo_shows_that_everything_came_out_as_it_must(data):
    begun = time.monotonic()
    demo = start(data)  # where the interrupted one kept its data
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    assert "As it must be:" in output
    assert output.count("PUBLISHED") == 2
    assert output.count("REFUSED") == 2
    assert output.count("look at http://127.0.0.1:") == 2
    assert output.count("|\\") == 2
    assert re.search(r"lakefs-ops local --data .*lakefs --port \d+", output)
    assert time.monotonic() - begun < 90
