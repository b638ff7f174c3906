"""The shortest example: write to the run's branch, check the data there, and publish it if it passes."""

import dagster as dg

from dagster_resources import LakeFSResource


@dg.asset
def readings(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> None:
    branch = lakefs.run_branch(context, "lake")  # a branch for this run and its re-executions
    lakefs.get_client().objects.upload("lake", branch.ensure(), "readings.csv", b"day,celsius\n2015-01-01,4.2\n")
    branch.commit("Readings of the first day")


@dg.asset_check(asset=readings, blocking=True)
def plausible(context: dg.AssetCheckExecutionContext, lakefs: LakeFSResource) -> dg.AssetCheckResult:
    table = lakefs.get_client().objects.get("lake", lakefs.run_branch(context, "lake").ref, "readings.csv")
    coldest = min(float(line.split(b",")[1]) for line in table.splitlines()[1:])
    return dg.AssetCheckResult(passed=coldest > -60, metadata={"coldest": coldest})


@dg.asset(deps=[readings])
def published(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> None:
    lakefs.run_branch(context, "lake").publish("Publish the readings")  # merges into main, deletes the branch


defs = dg.Definitions(
    assets=[readings, published],
    asset_checks=[plausible],
    resources={"lakefs": LakeFSResource()},  # the endpoint and the keys of the environment
)
