"""Write, audit, publish with Dagster: a month of weather reaches `main` only when its checks pass.

Assets return values, which land on the branch of the run. The checks judge them there, and `weather_on_main` publishes
exactly what they judged. After a failed check, `main` is unchanged, and the branch is kept and linked: correct the
batch, and re-execute the run from `raw_weather` on, or launch a new run.

Try it: ``dagster dev -f example_dags/dagster/weather_wap.py``, with the endpoint and the keys in the environment.
"""

import os

import dagster as dg
import polars as pl

from dagster_resources import build_lakefs_checks, build_lakefs_definitions
from example_dags import weather

REPOSITORY = os.environ.get("WEATHER_REPOSITORY", "weather")
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2016-01", fmt="%Y-%m")


class Delivery(dg.Config):
    """The folder that batches are delivered to."""

    inbox: str = str(weather.DATA / "monthly")


@dg.asset(partitions_def=MONTHS, metadata={"lakefs/path": "raw/{month}.csv"})
def raw_weather(context: dg.AssetExecutionContext, config: Delivery) -> bytes:
    """The measurements of a month, as delivered by the station."""
    return weather.read_batch(config.inbox, context.partition_key)


@dg.asset(partitions_def=MONTHS, metadata={"lakefs/path": "daily/{month}.csv"})
def daily_weather(raw_weather: pl.DataFrame) -> pl.DataFrame:
    """The days of the month in order, with their mean temperature."""
    mean = (pl.col("temp_max") + pl.col("temp_min")) / 2
    return raw_weather.sort("date", maintain_order=True).with_columns(temp_mean=mean.round(2))


@dg.asset(partitions_def=MONTHS, metadata={"lakefs/path": "summary/{month}.json"})
def weather_summary(context: dg.AssetExecutionContext, daily_weather: bytes) -> bytes:
    """The month in a few numbers."""
    return weather.summarize(context.partition_key, weather.parse(daily_weather))


checks = build_lakefs_checks(daily_weather, weather.RULES, load=weather.read_written, repository=REPOSITORY)
defs = build_lakefs_definitions(
    assets=[raw_weather, daily_weather, weather_summary],
    asset_checks=[checks],
    repository=REPOSITORY,
    publish="weather_on_main",
    message=lambda context: f"Publish the weather of {context.partition_key}",
)
