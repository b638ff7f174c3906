"""The provider on Airflow's command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORTS = """
import time
from airflow.sdk import DAG
began = time.perf_counter()
from airflow_provider.operators import (
    LakeFSCommitOperator, LakeFSCreateBranchOperator, LakeFSCreateSymlinkOperator, LakeFSDeleteBranchOperator,
    LakeFSGetCommitOperator, LakeFSGetObjectOperator, LakeFSMergeOperator, LakeFSUploadOperator,
)
from airflow_provider.sensors import LakeFSCommitSensor, LakeFSFileSensor
print(time.perf_counter() - began)
import sys
print(*sorted(sys.modules))
"""


@pytest.fixture
def airflow(airflow_database: Path) -> object:
    def run(*arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env={**os.environ, "AIRFLOW_HOME": str(airflow_database)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert not (check and done.returncode), done.stdout + done.stderr
        return done.stdout

    return run


def test_providers_and_connections(lakefs, airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "lakefs-ops" in airflow("providers", "list", "--output", "plain")
    airflow(
        "connections", "add", "lakefs_cli", "--conn-type", "lakefs", "--conn-host", lakefs.endpoint,
        "--conn-login", lakefs.access_key_id, "--conn-password", lakefs.secret_access_key,
        "--conn-extra", '{"verify_ssl": false, "read_timeout": 60}',
    )  # fmt: skip
    assert lakefs.endpoint in airflow("connections", "get", "lakefs_cli", "--output", "json")
    assert "Connection success!" in airflow("connections", "test", "lakefs_cli")
    monkeypatch.setenv("AIRFLOW_CONN_LAKEFS_WRONG", f"lakefs://{lakefs.access_key_id}:not-it@{lakefs.endpoint[7:]}")
    # Airflow 3.3 exits with an error for a failing connection, earlier versions with 0.
    assert "check the access key and the secret" in airflow("connections", "test", "lakefs_wrong", check=False)


def test_importing_every_operator_costs_little() -> None:
    """Compared with a bare DAG file, in a fresh process: the goal is 50 ms; the limit of 100 ms allows for load."""
    costs, loaded = [], ""
    for _ in range(2):
        output = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True).stdout
        cost, loaded = output.splitlines()[-2:]
        costs.append(float(cost))
    assert min(costs) < 0.1
    assert not {"requests", "lakefs_ops.wire.transport", "lakefs_ops.flows.step"} & set(loaded.split())
