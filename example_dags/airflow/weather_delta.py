"""Polars and Delta with Airflow: a month of weather is in the Delta table on `main` only when its audits pass.

To try it, copy this file into your DAG folder. It needs Polars and deltalake, a lakeFS repository, a connection
`lakefs_default` of type lakefs, and a folder with one file for each month, such as `2013-01.csv`.

The tasks write to a branch of their run with the options of `hook.storage_options`, and the audits read one commit of
it. Delta has its own versions, so publish a table from one run at a time: here, `max_active_runs` is 1.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import Param, dag, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.taskgroups import LakeFSPublishTaskGroup, audit

if TYPE_CHECKING:
    import polars as pl

TABLE = "tables/daily"


def read_month(ref: str, params: dict[str, str]) -> pl.DataFrame:
    """Return the rows that the table has for the month at a ref."""
    import polars as pl

    hook = LakeFSHook()
    address = hook.storage_uri("polars", params["repository"], ref, TABLE)
    table = pl.scan_delta(address, storage_options=hook.storage_options("polars"))
    return table.filter(pl.col("month") == params["month"]).collect()


@task
def land(branch: str, params: dict[str, str]) -> None:
    """Store the batch as Parquet."""
    import polars as pl

    hook, month = LakeFSHook(), params["month"]
    address = hook.storage_uri("polars", params["repository"], branch, f"raw/{month}.parquet")
    days = pl.read_csv(Path(params["inbox"], f"{month}.csv"), try_parse_dates=True)
    days.write_parquet(address, storage_options=hook.storage_options("polars"))


@task
def write_table(branch: str, params: dict[str, str]) -> None:
    """Write the month to the table; it replaces the month's rows, so that a retry does not append them twice."""
    import deltalake
    import polars as pl

    hook, repository, month = LakeFSHook(), params["repository"], params["month"]
    raw = hook.storage_uri("polars", repository, branch, f"raw/{month}.parquet")
    days = pl.read_parquet(raw, storage_options=hook.storage_options("polars")).with_columns(
        month=pl.lit(month), temp_mean=((pl.col("temp_max") + pl.col("temp_min")) / 2).round(2)
    )
    deltalake.write_deltalake(
        hook.storage_uri("deltalake", repository, branch, TABLE),
        days,
        mode="overwrite",
        partition_by=["month"],
        predicate=f"month = '{month}'",
        storage_options=hook.storage_options("deltalake"),
    )


@audit
def every_day_once(ref: str, params: dict[str, str]) -> Iterator[str]:
    """Every day of the month has one row."""
    days = [str(day) for day in read_month(ref, params)["date"]]
    year, month = map(int, params["month"].split("-"))
    for number in range(1, calendar.monthrange(year, month)[1] + 1):
        if (rows := days.count(day := f"{params['month']}-{number:02}")) != 1:
            yield f"{day} has {rows} rows"


@audit
def physically_possible(ref: str, params: dict[str, str]) -> Iterator[str]:
    """Every temperature can occur on Earth."""
    for day in read_month(ref, params).iter_rows(named=True):
        if not -40 <= day["temp_min"] <= day["temp_max"] <= 55:
            yield f"{day['date']} has temperatures from {day['temp_min']} to {day['temp_max']}"


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    params={
        "month": Param("2013-01", type="string", pattern=r"^\d{4}-\d{2}$", description="Month of the batch."),
        "inbox": Param("/data/weather", type="string", description="Folder that holds the batch."),
        "repository": Param("weather", type="string", description="Repository to publish the batch to."),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["lakefs", "example"],
)
def weather_delta() -> None:
    with LakeFSPublishTaskGroup(
        "weather", repo="{{ params.repository }}", message="Weather of {{ params.month }}"
    ) as run:
        land(run.branch) >> write_table(run.branch)
        with run.audits:
            every_day_once(run.ref)
            physically_possible(run.ref)


weather_delta()
