"""Assets that return values, their checks and one publication: all definitions from one call.

::

    defs = build_lakefs_definitions(assets=[readings], asset_checks=[plausible], repository="lake", publish="on_main")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dagster import AssetsDefinition, Definitions

from dagster_resources.io_manager import LakeFSIOManager
from dagster_resources.publish_asset import build_lakefs_publish_asset
from dagster_resources.resource import LakeFSResource


def build_lakefs_definitions(
    *,
    assets: Iterable[Any],
    repository: str,
    publish: str,
    asset_checks: Sequence[Any] = (),
    base: str = "main",
    lakefs: LakeFSResource | None = None,
    **options: Any,
) -> Definitions:
    """Return the assets, their checks, an asset that publishes them, the resource ``lakefs`` and the IO manager.

    Combine them with others by ``dagster.Definitions.merge``. For several publications, or another setting of the IO
    manager, compose `dagster_resources.publish_asset.build_lakefs_publish_asset` and
    `dagster_resources.io_manager.LakeFSIOManager` yourself.

    Args:
        assets: the assets; all that can be materialized are published.
        repository: the repository's id.
        publish: the name of the asset that publishes.
        asset_checks: the checks of the assets.
        base: the branch that runs start from and publish to.
        lakefs: the server; by default, its endpoint and keys come from the environment.
        **options: further arguments of `dagster_resources.publish_asset.build_lakefs_publish_asset`.

    Examples:
        .. code-block:: python

            import dagster as dg
            import polars as pl
            from dagster_resources import build_lakefs_definitions


            @dg.asset
            def readings() -> pl.DataFrame:
                return pl.DataFrame({"day": ["2015-01-01"], "celsius": [4.2]})


            defs = build_lakefs_definitions(assets=[readings], repository="lake", publish="on_main")
    """
    lakefs, given = lakefs or LakeFSResource(), list(assets)
    deps = [each for each in given if isinstance(each, AssetsDefinition) and each.is_executable]
    publication = build_lakefs_publish_asset(name=publish, deps=deps, repository=repository, base=base, **options)
    return Definitions(
        assets=[*given, publication],
        asset_checks=asset_checks,
        resources={"lakefs": lakefs, "io_manager": LakeFSIOManager(lakefs=lakefs, repository=repository, base=base)},
    )
