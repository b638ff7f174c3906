"""Write, audit, publish with Dagster: a month of weather reaches `main` only when its audit passes.

Assets return values, which land on the branch of the run. Blocking checks judge them there, and `weather_on_main`
publishes exactly what they judged. After a failed check, `main` is unchanged, and the branch is kept and linked.
Correct the batch, and re-execute the run from `raw_weather` on, or launch a new run.

Try it: ``dagster dev -f example_dags/dagster/weather_wap.py``, with the endpoint and the keys in the environment.
"""

import os
from collections.abc import Callable, Iterator

import dagster as dg
import polars as pl

from dagster_resources import LakeFSIOManager, LakeFSResource, build_lakefs_checks, build_lakefs_publish_asset
from dagster_resources.checks import WrittenData
from example_dags import weather

REPOSITORY = os.environ.get("WEATHER_REPOSITORY", "weather")
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2016-01", fmt="%Y-%m")


class Delivery(dg.Config):
    """The folder that batches are delivered to."""

    inbox: str = str(weather.DATA / "monthly")


@dg.asset(partitions_def=MONTHS, group_name="weather", metadata={"lakefs/path": "raw/{month}.csv"})
def raw_weather(context: dg.AssetExecutionContext, config: Delivery) -> bytes:
    """The measurements of a month, as delivered by the station."""
    return weather.read_batch(config.inbox, context.partition_key)


@dg.asset(partitions_def=MONTHS, group_name="weather", metadata={"lakefs/path": "daily/{month}.csv"})
def daily_weather(raw_weather: pl.DataFrame) -> pl.DataFrame:
    """The days of the month in order, with their mean temperature."""
    mean = (pl.col("temp_max") + pl.col("temp_min")) / 2
    return raw_weather.sort("date", maintain_order=True).with_columns(temp_mean=mean.round(2))


@dg.asset(partitions_def=MONTHS, group_name="weather", metadata={"lakefs/path": "summary/{month}.json"})
def weather_summary(context: dg.AssetExecutionContext, daily_weather: bytes) -> bytes:
    """The month in a few numbers."""
    return weather.summarize(context.partition_key, weather.parse(daily_weather))


def check(rule: Callable[[weather.Batch], Iterator[str]]) -> Callable[[WrittenData], Iterator[str]]:
    """Return a check that judges the written month by a rule, also against the data that `main` already has."""

    def judge(data: WrittenData) -> Iterator[str]:
        (month,) = data.partition_keys
        history = weather.read_season(data.client, data.repository, data.branch.base, month)
        return rule(weather.Batch(month, weather.parse(data.read(weather.daily_path(month))), history))

    judge.__doc__ = rule.__doc__
    return judge


weather_audit = build_lakefs_checks(
    daily_weather, {name: check(rule) for name, rule in weather.RULES.items()}, repository=REPOSITORY
)

weather_on_main = build_lakefs_publish_asset(
    name="weather_on_main",
    deps=[raw_weather, daily_weather, weather_summary],
    repository=REPOSITORY,
    message=lambda context: f"Publish the weather of {context.partition_key}",
    partitions_def=MONTHS,
    group_name="weather",
)

lakefs = LakeFSResource()  # the endpoint and the keys of the environment

defs = dg.Definitions(
    assets=[raw_weather, daily_weather, weather_summary, weather_on_main],
    asset_checks=[weather_audit],
    resources={"lakefs": lakefs, "io_manager": LakeFSIOManager(lakefs=lakefs, repository=REPOSITORY)},
)
