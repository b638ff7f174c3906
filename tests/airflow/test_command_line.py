"""The provider on Airflow's command line."""

import json
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


COMMANDS = """
import json, sys
from airflow.__main__ import main
for arguments in json.loads(sys.argv[1]):
    sys.argv, status = ["airflow", *arguments], 0
    try:
        main()
    except SystemExit as ended:
        status = ended.code
    print(f"\\0{status or 0}\\0", end="")
"""


@pytest.fixture
def airflow(airflow_database: Path) -> object:
    """Runs commands of Airflow in one process, and returns the status and the output of each."""

    def run(*commands: list[str]) -> list[tuple[str, str]]:
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, json.dumps(commands)],
            env={**os.environ, "AIRFLOW_HOME": str(airflow_database)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found = done.stdout.split("\0")
        return list(zip(found[1::2], found[::2], strict=False))

    return run


def test_providers_and_connections(lakefs, airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKEFS_WRONG", f"lakefs://{lakefs.access_key_id}:not-it@{lakefs.endpoint[7:]}")
    add = [
        "connections", "add", "lakefs_cli", "--conn-type", "lakefs", "--conn-host", lakefs.endpoint,
        "--conn-login", lakefs.access_key_id, "--conn-password", lakefs.secret_access_key,
        "--conn-extra", '{"verify_ssl": false, "read_timeout": 60}',
    ]  # fmt: skip
    *right, wrong = airflow(
        add,
        ["connections", "test", "lakefs_cli"],
        ["connections", "get", "lakefs_cli", "--output", "json"],
        ["providers", "list", "--output", "plain"],
        ["connections", "test", "lakefs_wrong"],
    )
    assert [status for status, _ in right] == ["0"] * 4, right
    _added, tested, shown, providers = (output for _, output in right)
    assert "Connection success!" in tested
    assert lakefs.endpoint in shown
    assert "lakefs-ops" in providers
    # Airflow 3.3 exits with an error for a failing connection, earlier versions with 0.
    assert "check the access key and the secret" in wrong[1]


def test_importing_every_operator_loads_nothing_heavy() -> None:
    """In a fresh process; `make bench-dags` measures the time."""
    output = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True).stdout
    assert not {"requests", "lakefs_ops.wire.transport", "lakefs_ops.flows.step"} & set(output.split())
