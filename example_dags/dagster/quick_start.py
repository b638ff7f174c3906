"""The shortest example: the value of an asset lands on the branch of the run, is checked there, and is published."""

import dagster as dg
import polars as pl

from dagster_resources import build_lakefs_definitions


@dg.asset
def readings() -> pl.DataFrame:
    return pl.DataFrame({"day": ["2015-01-01"], "celsius": [4.2]})


@dg.asset_check(asset=readings, blocking=True)
def plausible(readings: pl.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=bool((readings["celsius"] > -60).all()))


# The endpoint and the keys come from the environment.
defs = build_lakefs_definitions(assets=[readings], asset_checks=[plausible], repository="lake", publish="published")
