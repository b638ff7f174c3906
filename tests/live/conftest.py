"""Each test file gets a lakeFS and one host, with all its processes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.airflow import WEBHOOK_SECRET, LiveAirflow, live_airflow
from hosts.dagster import LiveDagster, live_dagster
from hosts.lake import Lake
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY


@pytest.fixture(scope="module")
def lake() -> Iterator[Lake]:
    folder = Path(tempfile.mkdtemp(prefix="lakefs-ops-live-"))
    lake = Lake(folder)
    yield lake
    lake.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def airflow(lake: Lake) -> Iterator[LiveAirflow]:
    connection = {"conn_type": "lakefs", "host": "http://127.0.0.1", "port": lake.port}
    connection |= {"login": ACCESS_KEY_ID, "password": SECRET_ACCESS_KEY, "extra": {"retries": 2}}
    home = Path(tempfile.mkdtemp(prefix="lakefs-ops-live-airflow-"))
    shutil.copytree(Path(__file__).with_name("dags"), home / "dags")
    environment = {"AIRFLOW_CONN_LAKEFS_DEFAULT": json.dumps(connection)}
    environment |= {"AIRFLOW__LAKEFS__WEBHOOK_SECRET": WEBHOOK_SECRET}
    with live_airflow(home, environment) as airflow:
        airflow.wait_for_dag("live_publish")
        yield airflow
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def dagster(lake: Lake) -> Iterator[LiveDagster]:
    environment = {"LAKEFS_ENDPOINT": f"http://127.0.0.1:{lake.port}", "LAKEFS_ACCESS_KEY_ID": ACCESS_KEY_ID}
    environment |= {"LAKEFS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
    home = Path(tempfile.mkdtemp(prefix="lakefs-ops-live-dagster-"))
    shutil.copytree(Path(__file__).with_name("definitions"), home / "code")
    with live_dagster(home, environment) as dagster:
        yield dagster
    shutil.rmtree(home, ignore_errors=True)
