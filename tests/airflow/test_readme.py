"""The DAGs of the README and the pages, as a reader runs them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import airflow.sdk
from airflow.sdk import DAG

README = Path(__file__).parents[2] / "README.md"


def test_the_dag_publishes(
    lakefs: Any, lakefs_repository: str, connection: Callable[..., None], run_dag: Callable[[DAG], Any]
) -> None:
    (source,) = (code for code in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "DAG(" in code)
    names: dict[str, Any] = {}
    exec(source.replace('"lake"', repr(lakefs_repository)), names)
    assert run_dag(names["dag"]).state == "success"
    merge, commit, _, created = lakefs.client.refs.log(lakefs_repository, "main")
    assert (commit.message, commit.metadata["source"]) == ("Station 7", "thermometer")
    assert merge.parents == [created.id, commit.id]
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]
    # The same data again: nothing to publish, and main stays as it is.
    assert run_dag(names["dag"]).state == "success"
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == merge.id
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_the_dag_of_the_docs(
    lakefs: Any, lakefs_repository: str, connection: Callable[..., None], run_dag: Callable[[DAG], Any]
) -> None:
    page = README.parent / "docs" / "airflow.md"
    (source,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(source.replace('"lake"', repr(lakefs_repository)), names)
    assert run_dag(names["dag"]).state == "success"
    paths = [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "main")]
    assert paths == ["daily/2026-01-01.csv", "daily/2026-01-02.csv"]
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_the_dags_of_the_page_on_events(store_dag: Callable[[DAG], Any]) -> None:
    page = README.parent / "docs" / "events.md"
    sources = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(sources) == 6
    for source in sources:
        if "PartitionedAssetTimetable" in source and not hasattr(airflow.sdk, "PartitionedAssetTimetable"):
            continue  # came with Airflow 3.2
        names: dict[str, Any] = {}
        exec(source, names)
        store_dag(names["dag"])
