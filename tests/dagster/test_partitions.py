"""Partitions of Dagster and paths in lakeFS: every kind of definition, and which partitions exist."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from dagster_resources import LakeFSPartitions

DAYS = dg.DailyPartitionsDefinition(start_date="2015-01-01")
REGIONS = dg.StaticPartitionsDefinition(["eu", "us/east"])
STATIONS = dg.DynamicPartitionsDefinition(name="stations_of_lakefs")
GRID = dg.MultiPartitionsDefinition({"region": REGIONS, "date": DAYS})
TODAY = datetime.now(UTC).strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("definition", "template", "key", "path"),
    [
        (DAYS, "daily/{date}.csv", "2015-01-31", "daily/2015-01-31.csv"),
        (REGIONS, "r/{name}/", "us/east", "r/us%2Feast/"),
        (STATIONS, "s/{s}", "7", "s/7"),
        (GRID, "{region}/{date}.csv", dg.MultiPartitionKey({"date": "2015-01-31", "region": "us/east"}),
         "us%2Feast/2015-01-31.csv"),
    ],
)  # fmt: skip
def test_keys_and_paths_both_ways(definition, template, key, path):
    partitions = LakeFSPartitions(definition, template)
    assert partitions.path(key) == partitions.path(str(key)) == path
    assert partitions.key(path) == key
    assert partitions.key(f"other/{path}") is None


def test_no_partition_has_the_separator_of_the_dimensions_in_its_key():
    assert LakeFSPartitions(GRID, "{region}/{date}.csv").key("a|b/2015-01-31.csv") is None


@pytest.mark.parametrize(
    ("definition", "template", "message"),
    [
        (DAYS, "{region}/{date}", "must have one field"),
        (GRID, "{region}/{day}", "must have the fields date, region"),
    ],
)
def test_a_template_needs_the_dimensions_of_the_definition(definition, template, message):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=message):
        LakeFSPartitions(definition, template)


@pytest.mark.parametrize(
    ("definition", "key", "existence"),
    [
        (DAYS, "2015-01-31", "exists"),
        (DAYS, "2014-12-31", "never"),
        (DAYS, TODAY, "later"),
        (DAYS, "readme", "never"),
        (dg.WeeklyPartitionsDefinition(start_date="2015-01-04"), "2999-01-01", "never"),  # not a Sunday
        (dg.DailyPartitionsDefinition(start_date="2015-01-01", end_date="2016-01-01"), TODAY, "never"),
        (dg.DailyPartitionsDefinition(start_date="2015-01-01", end_offset=1), TODAY, "exists"),
        (REGIONS, "eu", "exists"),
        (REGIONS, "asia", "never"),
        (STATIONS, "7", "exists"),
        (STATIONS, "8", "dynamic"),
        (STATIONS, "8\t", "never"),  # refused by Dagster
        (STATIONS, "8...9", "never"),
        (GRID, "2015-01-31|eu", "exists"),
        (GRID, f"{TODAY}|eu", "later"),
        (GRID, f"{TODAY}|asia", "never"),
        (dg.MultiPartitionsDefinition({"station": STATIONS, "date": DAYS}), "2015-01-31|8", "dynamic"),
    ],
)  # fmt: skip
def test_which_partitions_exist(definition, key, existence, instance):
    instance.add_dynamic_partitions("stations_of_lakefs", ["7"])
    fields = getattr(definition, "partition_dimension_names", ["date"])
    partitions = LakeFSPartitions(definition, "/".join(f"{{{field}}}" for field in fields))
    assert partitions.existence(key, instance) == existence


def test_an_hour_exists_when_it_has_ended(instance):
    partitions = LakeFSPartitions(dg.HourlyPartitionsDefinition(start_date="2015-01-01-00:00"), "{hour}")
    now = datetime.now(UTC)
    assert partitions.existence(f"{now:%Y-%m-%d-%H}:00", instance) in ("later", "exists")  # the hour may end just now
    assert partitions.existence(f"{now - timedelta(hours=2):%Y-%m-%d-%H}:00", instance) == "exists"
