"""Real Airflow runs the example with Polars and Delta: a good month, a spoiled one, and a corrected one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deltalake")

import polars as pl

DATA = Path(__file__).parents[2] / "example_dags" / "data"


@pytest.fixture
def run(connection: Callable[..., None], store_dag: Callable[..., None], lakefs_repository: str) -> Iterator[Any]:
    from example_dags.airflow.weather_delta import weather_delta

    dag = weather_delta()
    dag.default_args["retries"] = 0
    for each in dag.tasks:
        each.retries = 0
    store_dag(dag)

    def run(month: str, folder: str) -> Any:
        conf = {"month": month, "inbox": str(DATA / folder), "repository": lakefs_repository}
        return dag.test(run_conf=conf)

    return run


def test_months_are_published_only_if_their_audits_pass(run: Any, lakefs: Any, lakefs_repository: str) -> None:
    def months(ref: str = "main") -> dict[str, int]:
        address = lakefs.client.storage_uri("polars", lakefs_repository, ref, "tables/daily")
        table = pl.read_delta(address, storage_options=lakefs.client.storage_options("polars"))
        return dict(table.group_by("month").len().iter_rows())

    assert run("2013-02", "monthly").state == "success"
    assert months() == {"2013-02": 28}
    assert run("2013-03", "spoiled").state == "failed"
    assert months() == {"2013-02": 28}
    (kept,) = [branch.id for branch in lakefs.client.branches.list(lakefs_repository) if branch.id != "main"]
    assert months(kept)["2013-03"] != 31
    assert run("2013-03", "monthly").state == "success"
    assert run("2013-03", "monthly").state == "success"  # replaces the month, so no row is there twice
    assert months() == {"2013-02": 28, "2013-03": 31}


def test_a_run_next_to_another_one_is_refused_with_advice(
    connection: Callable[..., None], run_dag: Callable[..., Any], lakefs: Any, lakefs_repository: str, capfd: Any
) -> None:
    import deltalake
    from airflow.sdk import DAG, task

    from airflow_provider.hooks import LakeFSHook
    from airflow_provider.taskgroups import LakeFSPublishTaskGroup, audit

    def append(ref: str, number: int) -> None:
        hook = LakeFSHook()
        address = hook.storage_uri("deltalake", lakefs_repository, ref, "tables/sales")
        rows = pl.DataFrame({"id": [number]})
        deltalake.write_deltalake(address, rows, mode="append", storage_options=hook.storage_options("deltalake"))

    append("main", 1)
    lakefs.client.commits.create(lakefs_repository, "main", message="Create the table")

    @task
    def write(branch: str) -> None:
        append(branch, 2)

    @audit
    def somebody_else_publishes(ref: str) -> list[str]:
        append("main", 3)
        lakefs.client.commits.create(lakefs_repository, "main", message="Somebody")
        return []

    with DAG("delta_conflict", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lakefs_repository) as run:
        write(run.branch)
        with run.audits:
            somebody_else_publishes(run.ref)
    finished = run_dag(dag)
    states = {ti.task_id: str(ti.state) for ti in finished.get_task_instances()}
    assert (finished.state, states["g.publish"]) == ("failed", "failed")
    assert "both wrote to the Delta table tables/sales: repeat the write" in capfd.readouterr().out
    address = lakefs.client.storage_uri("deltalake", lakefs_repository, "main", "tables/sales")
    table = deltalake.DeltaTable(address, storage_options=lakefs.client.storage_options("deltalake"))
    assert sorted(table.to_pyarrow_table()["id"].to_pylist()) == [1, 3]
