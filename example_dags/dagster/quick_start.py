"""The shortest example: the value of an asset lands on the branch of the run, is checked there, and is published."""

import dagster as dg
import polars as pl

from dagster_resources import LakeFSIOManager, LakeFSResource, build_lakefs_publish_asset


@dg.asset
def readings() -> pl.DataFrame:
    return pl.DataFrame({"day": ["2015-01-01"], "celsius": [4.2]})


@dg.asset_check(asset=readings, blocking=True)
def plausible(readings: pl.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=bool((readings["celsius"] > -60).all()))


published = build_lakefs_publish_asset(name="published", deps=[readings], repository="lake")
lakefs = LakeFSResource()  # the endpoint and the keys of the environment

defs = dg.Definitions(
    assets=[readings, published],
    asset_checks=[plausible],
    resources={"lakefs": lakefs, "io_manager": LakeFSIOManager(lakefs=lakefs, repository="lake")},
)
