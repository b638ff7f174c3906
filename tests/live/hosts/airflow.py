"""A real Airflow, with all its processes.

Airflow's database is PostgreSQL where Debian's is installed, because SQLite fails under parallel runs.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from hosts import free_port, stop_group, wait_until

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
AIRFLOW = [sys.executable, "-m", "airflow"]
AUTH_MANAGER = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
WEBHOOK_SECRET = "a secret of enough characters"
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@dataclass
class LiveAirflow:
    """A running Airflow.

    Args:
        home: its directory, with the folder ``dags``.
        environment: further environment variables of its processes, such as connections.
    """

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        (self.home / "dags").mkdir(parents=True, exist_ok=True)
        self._env = self._environment(self._start_database())
        subprocess.run([*AIRFLOW, "db", "migrate"], env=self._env, check=True, capture_output=True, timeout=120)
        for component in COMPONENTS:
            self.start_component(component)
        self.session = requests.Session()
        wait_until(lambda: requests.get(f"{self.url}/api/v2/version", timeout=5).ok, "Airflow's API", timeout=120)
        token = requests.get(f"{self.url}/auth/token", timeout=10).json()["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"

    def start_component(self, name: str) -> None:
        command = [*AIRFLOW, name, *(["--workers", "1"] if name == "api-server" else [])]
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self._env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def stop_component(self, name: str, sent: signal.Signals = signal.SIGTERM) -> None:
        """Stop a component and all processes that it started."""
        stop_group(self.processes.pop(name), sent)

    def stop(self) -> None:
        for name in list(self.processes)[::-1]:
            self.stop_component(name, signal.SIGKILL)

    def _environment(self, database: str) -> dict[str, str]:
        own = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(24),
            "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGER,
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "32",
            "AIRFLOW__CORE__PARALLELISM": "6",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "3",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "PYTHONWARNINGS": "ignore",
        }
        return {**os.environ, **own, **self.environment}

    def _start_database(self) -> str:
        """Start a PostgreSQL of its own, or return the address of an SQLite file."""
        if POSTGRES is None:
            return f"sqlite:///{self.home}/airflow.db"
        data, port = self.home / "postgres", free_port()
        data.mkdir()
        # PostgreSQL refuses to run as root.
        as_user: list[str] = []
        if os.getuid() == 0:
            shutil.chown(data, "postgres", "postgres")
            for folder in (self.home, *self.home.parents[:3]):
                with contextlib.suppress(PermissionError):
                    folder.chmod(folder.stat().st_mode | 0o011)
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        options = ["--pgdata", str(data), "--auth=trust", "--username=airflow", "--no-sync"]
        subprocess.run([*as_user, str(POSTGRES / "initdb"), *options], check=True, capture_output=True, cwd="/")
        command = [*as_user, str(POSTGRES / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", ""]
        command += ["-c", "fsync=off", "-c", "max_connections=200"]
        with (self.home / "postgres.log").open("ab") as log:
            self.processes["postgres"] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd="/"
            )
        ready = [str(POSTGRES / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "airflow", "airflow"]
        wait_until(lambda: subprocess.run(ready, capture_output=True, cwd="/").returncode == 0, "PostgreSQL")
        return f"postgresql+psycopg2://airflow@127.0.0.1:{port}/airflow"

    wait_until = staticmethod(wait_until)

    # the REST API ----------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, *, ok: bool = True, **body: Any) -> Any:
        response = self.session.request(method, f"{self.url}/api/v2/{path}", json=body or None, timeout=30)
        if ok and not response.ok:
            raise AssertionError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json() if response.content else None

    def wait_for_dag(self, dag_id: str) -> None:
        def present() -> bool:
            if errors := self.call("GET", "importErrors")["import_errors"]:
                raise AssertionError(errors[0]["stack_trace"])
            return bool(self.call("GET", f"dags?dag_id_pattern={dag_id}")["dags"])

        wait_until(present, f"DAG {dag_id}")

    def trigger(self, dag_id: str, run_id: str, **conf: Any) -> str:
        self.call("POST", f"dags/{dag_id}/dagRuns", dag_run_id=run_id, logical_date=None, conf=conf)
        return run_id

    def state(self, dag_id: str, run_id: str) -> str:
        return self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]

    def finish(self, dag_id: str, run_id: str, *, timeout: float = 90.0) -> str:
        """Wait for the end of a run; return its state."""
        ends = ("success", "failed")
        try:
            wait_until(lambda: self.state(dag_id, run_id) in ends, f"{dag_id}/{run_id}", timeout=timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.report(dag_id, run_id)}") from None
        return self.state(dag_id, run_id)

    def report(self, dag_id: str, run_id: str) -> str:
        """Return what is needed to understand a failure: the states, Airflow's events, and the logs of failed tasks."""
        states = self.tasks(dag_id, run_id)
        events = self.call("GET", f"eventLogs?dag_id={dag_id}&run_id={run_id}&limit=100")["event_logs"]
        lines = [str(states), *(f"{event['when']} {event['event']} {event['extra']}" for event in events)]
        for name in (name for name, state in states.items() if state not in ("success", "upstream_failed", "skipped")):
            task_id, _, map_index = name.rstrip("]").partition("[")
            lines += [f"--- {name}", self.log(dag_id, run_id, task_id, map_index=map_index or "-1")[-5000:]]
        return "\n".join(lines)

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Return the states of the tasks of a run."""
        found = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=200")["task_instances"]
        return {ti["task_id"] + (f"[{ti['map_index']}]" if ti["map_index"] >= 0 else ""): ti["state"] for ti in found}

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        return self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")

    def wait_for_task(self, dag_id: str, run_id: str, task_id: str, state: str, *, timeout: float = 60.0) -> None:
        def reached() -> bool:
            return self.task(dag_id, run_id, task_id)["state"] == state

        try:
            wait_until(reached, f"{task_id} {state}", timeout=timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.report(dag_id, run_id)}") from None

    def clear(self, dag_id: str, run_id: str, *task_ids: str, downstream: bool = True) -> None:
        self.call(
            "POST", f"dags/{dag_id}/clearTaskInstances",
            dag_run_id=run_id, task_ids=list(task_ids), include_downstream=downstream, only_failed=False, dry_run=False,
        )  # fmt: skip

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path)["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1, map_index: int | str = -1) -> str:
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        path += f"?full_content=true&map_index={map_index}"
        content = self.call("GET", path, ok=False).get("content", [])
        return "\n".join(map(str, content))  # an exception is in `error_detail` of its line


@contextlib.contextmanager
def live_airflow(home: Path, environment: Mapping[str, str]) -> Iterator[LiveAirflow]:
    airflow = LiveAirflow(home, environment)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()
