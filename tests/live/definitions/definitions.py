"""Publish what stations have delivered, unless it is colder than the checks allow."""

import os
from pathlib import Path

import dagster as dg
import polars as pl

from dagster_resources import (
    LakeFSIOManager,
    LakeFSResource,
    build_lakefs_checks,
    build_lakefs_commit_sensor,
    build_lakefs_publish_asset,
)

INBOX = Path(os.environ["LIVE_INBOX"])
DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-02-01")


@dg.asset(partitions_def=DAYS, group_name="weather", kinds={"polars"})
def readings(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """The readings of a day, as delivered."""
    return pl.read_csv(INBOX / f"{context.partition_key}.csv")


@dg.asset(partitions_def=DAYS, group_name="weather", kinds={"polars"})
def means(readings: pl.DataFrame) -> pl.DataFrame:
    """The mean temperature of a day."""
    return readings.group_by("station").mean()


def not_empty(table: pl.DataFrame) -> bool:
    """At least one station has delivered."""
    return table.height > 0


def plausible(table: pl.DataFrame) -> list[str]:
    """No temperature is below -60 °C."""
    return [f"{station}: {celsius} °C" for station, celsius in table.iter_rows() if celsius < -60]


def usual(table: pl.DataFrame) -> list[str]:
    """No mean is below -40 °C."""
    return [f"{station}: {celsius} °C" for station, celsius in table.iter_rows() if celsius < -40]


of_readings = build_lakefs_checks(
    readings, [not_empty, plausible], repository="lake", path="readings/{partition}.parquet", library="polars"
)
of_means = build_lakefs_checks(
    means, [usual], repository="lake", path="means/{partition}.parquet", library="polars", blocking=False
)
on_main = build_lakefs_publish_asset(
    name="on_main", deps=[readings, means], repository="lake", partitions_def=DAYS, group_name="weather"
)


@dg.asset(metadata={"lakefs/format": "text"})
def delivered(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> str:
    """What a commit delivered, read at this commit."""
    return lakefs.get_client().objects.get("lake", context.run.tags["lakefs/commit_id"], "inbox/new.csv").decode()


delivered_on_main = build_lakefs_publish_asset(name="delivered_on_main", deps=[delivered], repository="lake")

inbox = build_lakefs_commit_sensor(
    name="inbox",
    repository="lake",
    prefix="inbox/",
    target=[delivered, delivered_on_main],
    request=lambda change: dg.RunRequest(run_config={"execution": {"config": {"in_process": {}}}}),
    minimum_interval_seconds=1,
)

lakefs = LakeFSResource(
    endpoint=dg.EnvVar("LAKEFS_ENDPOINT"),
    access_key_id=dg.EnvVar("LAKEFS_ACCESS_KEY_ID"),
    secret_access_key=dg.EnvVar("LAKEFS_SECRET_ACCESS_KEY"),
    webserver_url=dg.EnvVar("LIVE_WEBSERVER"),
)

defs = dg.Definitions(
    assets=[readings, means, on_main, delivered, delivered_on_main],
    asset_checks=[of_readings, of_means],
    sensors=[inbox],
    resources={"lakefs": lakefs, "io_manager": LakeFSIOManager(lakefs=lakefs, repository="lake")},
)
