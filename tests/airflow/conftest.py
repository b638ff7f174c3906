"""One Airflow per test process: its own home and database; connections come from the environment."""

import functools
import json
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lakefs_ops.local import LocalLakeFS

# Airflow reads its home at import, so set it before any test module is imported.
HOME = Path(tempfile.mkdtemp(prefix="lakefs-ops-airflow-"))
os.environ["AIRFLOW_HOME"] = str(HOME)
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(HOME / "dags")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__TEST_CONNECTION"] = "Enabled"

if version("apache-airflow-core").startswith("3.1."):
    # The models of Airflow 3.1 use what SQLAlchemy has deprecated. As an error, the warning would hide the connections.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.models import import_all_models
        from sqlalchemy.orm import configure_mappers

        import_all_models()
        configure_mappers()


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the connection ``lakefs_default``."""

    def connect(**fields: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_LAKEFS_DEFAULT", json.dumps({"conn_type": "lakefs", **fields}))

    return connect


@pytest.fixture
def connection(lakefs: Any, connect: Callable[..., None]) -> Callable[..., None]:
    """Sets the connection ``lakefs_default`` to the lakeFS of the tests; call it to change fields."""

    def change(**fields: Any) -> None:
        right = {"host": lakefs.endpoint, "login": lakefs.access_key_id, "password": lakefs.secret_access_key}
        connect(**right | fields)

    change()
    return change


@dataclass
class TaskInstance:
    """The part of a running task that operators and sensors use."""

    task: Any
    try_number: int = 1
    max_tries: int = 0
    map_index: int = -1
    dag_id: str = "daily"
    run_id: str = field(default_factory=lambda: f"manual__{uuid.uuid4().hex}")
    log_url: str = "http://airflow/log"
    xcoms: dict[str, Any] = field(default_factory=dict)

    @property
    def task_id(self) -> str:
        return self.task.task_id

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that may be imported."""
    folder = tmp_path_factory.mktemp("raw")
    (folder / "x.csv").write_text("x")
    return folder


@pytest.fixture(scope="module")
def server(raw: Path) -> Iterator[LocalLakeFS]:
    """A server that may import from the folder."""
    with LocalLakeFS(allow_import=[raw]) as server:
        yield server


@pytest.fixture
def running() -> Callable[..., dict[str, Any]]:
    """Creates the context of a running task, for tests without a database."""

    def context(task: Any, **fields: Any) -> dict[str, Any]:
        ti = TaskInstance(task, **fields)
        noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
        run = SimpleNamespace(
            run_id=ti.run_id, run_type="scheduled", logical_date=noon, data_interval_start=noon, data_interval_end=None
        )
        return {"ti": ti, "task": task, "dag_run": run, "run_id": ti.run_id}

    return context


@pytest.fixture(scope="session")
def airflow_database() -> Path:
    """Airflow's tables, in SQLite in this process's home."""
    (HOME / "dags").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.sdk.execution_time import supervisor
        from airflow.utils.db import initdb

        if version("apache-airflow-core").startswith(("3.1.", "3.2.")):
            # Before 3.3, `dag.test()` builds Airflow's API again for each task, which takes seconds.
            supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)
        initdb()
        DagBundlesManager().sync_bundles_to_db()
    return HOME


@pytest.fixture
def store_dag(airflow_database: Path) -> Callable[..., None]:
    """Writes a DAG to the database, as Airflow does with the DAGs of a file."""

    def store(dag: Any) -> None:
        from airflow.dag_processing.collection import update_dag_parsing_results_in_db
        from airflow.serialization.serialized_objects import LazyDeserializedDAG
        from airflow.utils.session import create_session

        with create_session() as session:
            dags = [LazyDeserializedDAG.from_dag(dag)]
            update_dag_parsing_results_in_db("dags-folder", None, dags, {}, None, set(), session)

    return store


@pytest.fixture
def run_dag(store_dag: Callable[..., None]) -> Callable[..., Any]:
    """Runs a DAG in this process with ``dag.test()`` and returns the run."""

    def run(dag: Any) -> Any:
        store_dag(dag)
        return dag.test()

    return run
