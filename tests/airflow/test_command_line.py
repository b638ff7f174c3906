"""The provider on Airflow's command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORTS = """
import sys
from airflow_provider import operators, sensors
for module in (operators, sensors):
    for name in module.__all__:
        getattr(module, name)
print(*sys.modules)
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


def test_importing_every_operator_loads_nothing_heavy() -> None:
    """In a fresh process; `make bench-dags` measures the time."""
    output = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True).stdout
    assert not {"requests", "lakefs_ops.wire.transport", "lakefs_ops.flows.step"} & set(output.split())
