"""Real Dagster materializes the example with Polars and Delta: a good month, a spoiled one, and a corrected one."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest

from dagster_resources import LakeFSResource, build_lakefs_publish_asset
from example_dags import weather
from example_dags.dagster import weather_delta


@pytest.fixture
def run(lakefs, lakefs_repository, monkeypatch):
    monkeypatch.setattr(weather_delta, "REPOSITORY", lakefs_repository)
    raw, daily = weather_delta.raw_days, weather_delta.daily_table
    publication = build_lakefs_publish_asset(
        name="table_on_main", deps=[raw, daily], repository=lakefs_repository, partitions_def=weather_delta.MONTHS
    )
    resource = LakeFSResource(
        endpoint=lakefs.endpoint, access_key_id=lakefs.access_key_id, secret_access_key=lakefs.secret_access_key
    )
    with dg.DagsterInstance.ephemeral() as instance:

        def run(month, folder):
            config = {"raw_days": weather_delta.Delivery(inbox=str(weather.DATA / folder))}
            return dg.materialize(
                [raw, daily, weather_delta.every_day_once, publication],
                instance=instance,
                partition_key=month,
                run_config=dg.RunConfig(ops=config).to_config_dict(),
                resources={"lakefs": resource},
                raise_on_error=False,
            )

        yield run


def test_months_are_published_only_if_their_check_passes(run, lakefs, lakefs_repository):
    def months(ref="main"):
        address = lakefs.client.storage_uri("polars", lakefs_repository, ref, "tables/daily")
        table = pl.read_delta(address, storage_options=lakefs.client.storage_options("polars"))
        return dict(table.group_by("month").len().iter_rows())

    assert run("2013-02", "monthly").success
    assert months() == {"2013-02": 28}
    spoiled = run("2013-03", "spoiled")
    assert not spoiled.success
    assert months() == {"2013-02": 28}
    assert months(f"dagster-{spoiled.run_id}")["2013-03"] != 31
    assert run("2013-03", "monthly").success
    assert run("2013-03", "monthly").success  # replaces the month, so no row is there twice
    assert months() == {"2013-02": 28, "2013-03": 31}


def test_the_definitions_are_valid():
    dg.Definitions.validate_loadable(weather_delta.defs)
