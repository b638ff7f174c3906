"""Write, audit, publish with Dagster: a month of weather reaches `main` only when its audit passes.

Each run writes to its own branch. Blocking checks audit the commit of the run, so `weather_on_main` merges only data
that passed. After a failure, `main` is unchanged, and the branch is kept for inspection. When the cause is fixed,
re-execute `weather_candidate` and the assets after it to commit and audit objects that you corrected on the branch, or
launch a new run.

Try it: ``dagster dev -f example_dags/dagster/weather_wap.py``, with the endpoint and the keys in the environment.
"""

import os
from collections.abc import Iterator

import dagster as dg

from dagster_resources import LakeFSResource
from dagster_resources.metadata import branch_metadata, commit_metadata, object_metadata
from example_dags import weather

REPOSITORY = os.environ.get("WEATHER_REPOSITORY", "weather")
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2016-01", fmt="%Y-%m")


class Delivery(dg.Config):
    """The folder that batches are delivered to."""

    inbox: str = str(weather.DATA / "monthly")


@dg.asset(partitions_def=MONTHS, group_name="weather", kinds={"lakefs", "csv"})
def raw_weather(
    context: dg.AssetExecutionContext, config: Delivery, lakefs: LakeFSResource
) -> dg.MaterializeResult[None]:
    """The measurements of a month, as delivered by the station."""
    client, branch = lakefs.get_client(), lakefs.run_branch(context, REPOSITORY)
    path = weather.raw_path(context.partition_key)
    client.objects.upload(REPOSITORY, branch.ensure(), path, weather.read_batch(config.inbox, context.partition_key))
    return dg.MaterializeResult(metadata=object_metadata(client, REPOSITORY, branch.base, path))


@dg.asset(partitions_def=MONTHS, group_name="weather", kinds={"lakefs", "csv"}, deps=[raw_weather])
def daily_weather(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> dg.MaterializeResult[None]:
    """The days of the month in order, with their mean temperature, and the month's summary."""
    client, branch = lakefs.get_client(), lakefs.run_branch(context, REPOSITORY)
    month, name = context.partition_key, branch.ensure()
    days = weather.parse(client.objects.get(REPOSITORY, name, weather.raw_path(month)))
    path = weather.daily_path(month)
    client.objects.upload(REPOSITORY, name, path, weather.clean(days))
    client.objects.upload(REPOSITORY, name, weather.summary_path(month), weather.summarize(month, days))
    return dg.MaterializeResult(
        metadata={**object_metadata(client, REPOSITORY, branch.base, path), "dagster/partition_row_count": len(days)}
    )


@dg.asset(partitions_def=MONTHS, group_name="weather", kinds={"lakefs"}, deps=[daily_weather])
def weather_candidate(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> dg.MaterializeResult[None]:
    """The commit of the month's data, to be audited."""
    branch = lakefs.run_branch(context, REPOSITORY)
    commit = branch.commit(f"Weather of {context.partition_key}")
    return dg.MaterializeResult(
        metadata={
            **commit_metadata(lakefs.get_client(), REPOSITORY, commit),
            **branch_metadata(lakefs.get_client(), REPOSITORY, branch.name, base=branch.base, ref=commit),
        },
        data_version=dg.DataVersion(commit),
    )


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset=weather_candidate, description=rule.__doc__, blocking=True)
        for name, rule in weather.RULES.items()
    ]
)
def weather_audit(context: dg.AssetCheckExecutionContext, lakefs: LakeFSResource) -> Iterator[dg.AssetCheckResult]:
    """Check the month's data, also against the data that `main` already has."""
    client, branch = lakefs.get_client(), lakefs.run_branch(context, REPOSITORY)
    for check in weather.audit_ref(client, REPOSITORY, branch.ref, context.partition_key, main=branch.base):
        context.log.log("INFO" if check.passed else "ERROR", str(check))
        yield dg.AssetCheckResult(
            check_name=check.name,
            passed=check.passed,
            description=str(check),
            metadata={
                "findings": dg.MetadataValue.json(check.findings),
                **branch_metadata(client, REPOSITORY, branch.name, base=branch.base, ref=branch.ref),
            },
        )


@dg.asset(partitions_def=MONTHS, group_name="weather", kinds={"lakefs"}, deps=[weather_candidate])
def weather_on_main(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> dg.MaterializeResult[None]:
    """The month's data on `main`, as a merge commit."""
    merge = lakefs.run_branch(context, REPOSITORY).publish(f"Publish the weather of {context.partition_key}")
    return dg.MaterializeResult(
        metadata=commit_metadata(lakefs.get_client(), REPOSITORY, merge), data_version=dg.DataVersion(merge)
    )


ASSETS = [raw_weather, daily_weather, weather_candidate, weather_audit, weather_on_main]

defs = dg.Definitions(
    assets=[raw_weather, daily_weather, weather_candidate, weather_on_main],
    asset_checks=[weather_audit],
    resources={
        "lakefs": LakeFSResource(
            endpoint=dg.EnvVar("LAKEFS_ENDPOINT"),
            access_key_id=dg.EnvVar("LAKEFS_ACCESS_KEY_ID"),
            secret_access_key=dg.EnvVar("LAKEFS_SECRET_ACCESS_KEY"),
        )
    },
)
