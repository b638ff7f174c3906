"""A user's file that uses the whole package; mypy --strict proves that the types arrive as documented."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import assert_type

import dagster as dg
import polars as pl

from dagster_resources import (
    LakeFSChange,
    LakeFSIOManager,
    LakeFSPartitions,
    LakeFSResource,
    RunBranch,
    build_lakefs_checks,
    build_lakefs_commit_sensor,
    build_lakefs_object_sensor,
    build_lakefs_observable_source,
    build_lakefs_publish_asset,
    build_lakefs_publish_op,
    build_lakefs_pull_request_sensor,
    build_lakefs_sweeper,
    build_lakefs_tag_sensor,
    build_lakefs_unpublished_sensor,
    lakefs_check,
)
from dagster_resources.checks import WrittenData
from lakefs_ops import LakeFSClient

MONTHS = LakeFSPartitions(dg.MonthlyPartitionsDefinition("2012-01", fmt="%Y-%m"), "raw/{month}.csv")

lakefs = LakeFSResource(
    endpoint="https://lakefs.example.com",
    access_key_id=dg.EnvVar("LAKEFS_ACCESS_KEY_ID"),
    secret_access_key=dg.EnvVar("LAKEFS_SECRET_ACCESS_KEY"),
    environment=dg.EnvVar("DATA_ENVIRONMENT"),
    read_timeout=60,
    retries=dg.EnvVar.int("LAKEFS_RETRIES"),
)


@dg.asset(partitions_def=MONTHS.definition, metadata={"lakefs/path": "daily/{month}.parquet"})
def daily(context: dg.AssetExecutionContext) -> pl.DataFrame:
    assert_type(MONTHS.path(context.partition_key), str)
    assert_type(MONTHS.key("raw/2012-01.csv"), str | None)
    return pl.DataFrame({"day": [f"{context.partition_key}-01"], "celsius": [4.2]})


@dg.asset(deps=[daily])
def by_hand(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> dg.MaterializeResult[None]:
    client = lakefs.get_client()
    assert_type(client, LakeFSClient)
    assert_type(lakefs.branch("main"), str)
    assert_type(lakefs.pipes_env(), dict[str, str])
    branch = lakefs.run_branch(context, "lake", base="main")
    assert_type(branch, RunBranch)
    stored = client.objects.upload("lake", branch.ensure(), "by-hand.csv", b"a\n1\n")
    branch.wrote_objects({stored.path: stored.checksum})
    assert_type(branch.commit("By hand", metadata={"station": "12465"}), str)
    assert_type(branch.refused_checks(), list[str])
    return dg.MaterializeResult(metadata={"ref": branch.ref, "branch": branch.name, "reads": branch.reading()})


@dg.asset
def directly(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> None:
    branch = lakefs.run_branch(context, "lake")
    assert_type(branch.publish("Publish", strategy="source-wins", if_nothing="succeed"), str)


def no_temperature_is_missing(days: pl.DataFrame) -> list[str]:
    return [f"{day} has no temperature" for day in days.filter(pl.col("celsius").is_null())["day"]]


checks = build_lakefs_checks(
    daily,
    {"complete": no_temperature_is_missing},
    repository="lake",
    path="daily/{partition}.parquet",
    library="polars",
    severity=dg.AssetCheckSeverity.WARN,
)


@lakefs_check(asset=by_hand, repository="lake")
def no_object_is_empty(data: WrittenData) -> Iterator[str]:
    assert_type(data.partition_keys, list[str])
    for path in data.paths("daily/"):
        if not data.read(path):
            yield f"{path} is empty"


on_main = build_lakefs_publish_asset(
    name="on_main",
    deps=[daily, by_hand, "others"],
    repository="lake",
    message=lambda context: f"Publish {context.partition_key}",
    metadata={"team": "weather"},
    if_nothing="skip",
    partitions_def=MONTHS.definition,
    automation_condition=dg.AutomationCondition.eager(),
)
publish = build_lakefs_publish_op(repository="lake", if_nothing="succeed")


@dg.op(ins={"commit": dg.In(str)})
def notify(context: dg.OpExecutionContext, commit: str) -> None:
    context.log.info(commit)


@dg.job(resource_defs={"lakefs": lakefs})
def nightly() -> None:
    notify(publish())


def request(change: LakeFSChange) -> dg.RunRequest:
    assert_type(change.commit_id, str | None)
    assert_type(change.partition_key, str | None)
    return dg.RunRequest(tags={"branch": change.ref})


def report(context: dg.RunStatusSensorContext, branches: Mapping[str, list[str]]) -> None:
    context.log.warning(", ".join(branches))


sensors = [
    build_lakefs_commit_sensor(
        name="new_months", repository="lake", prefix="raw/", partitions=MONTHS, target=[daily], request=request
    ),
    build_lakefs_object_sensor(name="new_objects", repository="lake", path="inbox/new.csv", target=[by_hand]),
    build_lakefs_tag_sensor(name="new_tags", repository="lake", target=nightly, minimum_interval_seconds=60),
    build_lakefs_pull_request_sensor(name="merged", repository="lake", target=nightly),
    build_lakefs_unpublished_sensor(on_unpublished=report),
]
source = build_lakefs_observable_source(key="others", repository="lake", prefix="others/")
sweeper = build_lakefs_sweeper(repository="lake", older_than=timedelta(days=7), dry_run=True)

assert_type(checks, dg.AssetChecksDefinition)
assert_type(no_object_is_empty, dg.AssetChecksDefinition)
assert_type(on_main, dg.AssetsDefinition)
assert_type(publish, dg.OpDefinition)
assert_type(sweeper, dg.ScheduleDefinition)

defs = dg.Definitions(
    assets=[daily, by_hand, directly, on_main, source],
    asset_checks=[checks, no_object_is_empty],
    jobs=[nightly],
    sensors=sensors,
    schedules=[sweeper],
    resources={
        "lakefs": lakefs,
        "io_manager": LakeFSIOManager(
            lakefs=lakefs, repository="lake", isolation="asset", format="csv", prefix="tables", preview_rows=0
        ),
    },
)
