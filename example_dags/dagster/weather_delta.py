"""Polars and Delta with Dagster: a month of weather is in the Delta table on `main` only when its check passes.

The assets write to the branch of their run with the options of `lakefs.storage_options`, and the check reads one commit
of it. Delta has its own versions, so publish a table from one run at a time: give the runs a concurrency key or a pool.

Try it: ``dagster dev -f example_dags/dagster/weather_delta.py``, with the endpoint and the keys in the environment.
"""

import calendar
import os
from pathlib import Path

import dagster as dg
import deltalake
import polars as pl

from dagster_resources import LakeFSResource, build_lakefs_publish_asset

REPOSITORY = os.environ.get("WEATHER_REPOSITORY", "weather")
TABLE = "tables/daily"
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2016-01", fmt="%Y-%m")


class Delivery(dg.Config):
    """The folder that batches are delivered to."""

    inbox: str = str(Path(__file__).parents[1] / "data" / "monthly")


@dg.asset(partitions_def=MONTHS, group_name="weather", kinds={"lakefs", "polars"})
def raw_days(context: dg.AssetExecutionContext, config: Delivery, lakefs: LakeFSResource) -> None:
    """The measurements of a month, as Parquet."""
    month, branch = context.partition_key, lakefs.run_branch(context, REPOSITORY).ensure()
    address = lakefs.storage_uri("polars", REPOSITORY, branch, f"raw/{month}.parquet")
    days = pl.read_csv(Path(config.inbox, f"{month}.csv"), try_parse_dates=True)
    days.write_parquet(address, storage_options=lakefs.storage_options("polars"))


@dg.asset(partitions_def=MONTHS, group_name="weather", kinds={"lakefs", "deltalake"}, deps=[raw_days])
def daily_table(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> dg.MaterializeResult[None]:
    """The month in the table; it replaces the month's rows, so that a retry does not append them twice."""
    month, branch = context.partition_key, lakefs.run_branch(context, REPOSITORY)
    name = branch.ensure()
    raw = lakefs.storage_uri("polars", REPOSITORY, name, f"raw/{month}.parquet")
    days = pl.read_parquet(raw, storage_options=lakefs.storage_options("polars")).with_columns(
        month=pl.lit(month), temp_mean=((pl.col("temp_max") + pl.col("temp_min")) / 2).round(2)
    )
    deltalake.write_deltalake(
        lakefs.storage_uri("deltalake", REPOSITORY, name, TABLE),
        days,
        mode="overwrite",
        partition_by=["month"],
        predicate=f"month = '{month}'",
        storage_options=lakefs.storage_options("deltalake"),
    )
    branch.commit(f"Weather of {month}")
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": days.height})


@dg.asset_check(asset=daily_table, blocking=True)
def every_day_once(context: dg.AssetCheckExecutionContext, lakefs: LakeFSResource) -> dg.AssetCheckResult:
    """Every day of the month has one row."""
    month, ref = context.partition_key, lakefs.run_branch(context, REPOSITORY).ref
    address = lakefs.storage_uri("polars", REPOSITORY, ref, TABLE)
    table = pl.scan_delta(address, storage_options=lakefs.storage_options("polars"))
    days = [str(day) for day in table.filter(pl.col("month") == month).collect()["date"]]
    last = calendar.monthrange(*map(int, month.split("-")))[1]
    wrong = [day for number in range(1, last + 1) if days.count(day := f"{month}-{number:02}") != 1]
    return dg.AssetCheckResult(passed=not wrong, metadata={"wrong_days": wrong})


table_on_main = build_lakefs_publish_asset(
    name="table_on_main",
    deps=[raw_days, daily_table],
    repository=REPOSITORY,
    partitions_def=MONTHS,
    group_name="weather",
)

defs = dg.Definitions(
    assets=[raw_days, daily_table, table_on_main],
    asset_checks=[every_day_once],
    resources={
        "lakefs": LakeFSResource(
            endpoint=dg.EnvVar("LAKEFS_ENDPOINT"),
            access_key_id=dg.EnvVar("LAKEFS_ACCESS_KEY_ID"),
            secret_access_key=dg.EnvVar("LAKEFS_SECRET_ACCESS_KEY"),
        )
    },
)
