"""Observable sources: data in lakeFS that somebody else writes, with a data version for staleness and automation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetKey,
    AssetObservation,
    DataVersion,
    DataVersionsByPartition,
    ObserveResult,
    OpExecutionContext,
    SourceAsset,
    observable_source_asset,
)
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.events import DagsterEventType
from dagster._utils.warnings import disable_dagster_warnings

from dagster_resources.metadata import commit_metadata, object_metadata
from dagster_resources.names import check_names
from lakefs_ops import errors
from lakefs_ops.flows.partitions import partition_versions

if TYPE_CHECKING:
    from dagster import AutomationCondition, DagsterInstance

    from dagster_resources.partitions import LakeFSPartitions
    from dagster_resources.resource import LakeFSResource
    from lakefs_ops.client import LakeFSClient

SOURCE_REPOSITORY = "lakefs/repository"
SOURCE_BRANCH = "lakefs/branch"
"""The metadata of a source: its repository and branch."""

REMOVED = "removed"
"""The data version of a partition that was observed before and has no objects any more."""


def build_lakefs_observable_source(
    *,
    key: str | Sequence[str] | AssetKey,
    repository: str,
    prefix: str = "",
    branch: str = "main",
    partitions: LakeFSPartitions | None = None,
    resource_key: str = "lakefs",
    io_manager_key: str | None = None,
    automation_condition: AutomationCondition[Any] | None = None,
    group_name: str | None = None,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> SourceAsset:
    """Return an observable source asset for the objects with a prefix, or for partitions of objects.

    Without partitions, the data version is the id of a commit: the content with the prefix has not changed between the
    commit and the branch. An observation costs a few requests, whatever the number of objects. With partitions, the
    data version of each partition is derived from the paths and checksums of its objects, and an observation lists
    them; it records only partitions whose data version has changed. Only committed objects count.

    Assets downstream with ``AutomationCondition.eager()`` run when the data version changes.

    Args:
        key: the asset's key.
        repository: the repository's id.
        prefix: the objects; with partitions, their template decides.
        branch: the branch; in an environment, the environment's own one.
        partitions: the partitions and their paths. Objects that belong to no existing partition are ignored.
        resource_key: the key of the `LakeFSResource`.
        io_manager_key: the key of the IO manager that loads the source as an input of other assets.
        automation_condition: when to observe, such as ``AutomationCondition.on_cron("*/5 * * * *")``.
        group_name: the asset's group.
        description: the description in Dagster's UI.
        tags: the asset's tags.

    Examples:
        .. code-block:: python

            stations = build_lakefs_observable_source(
                key="stations",
                repository="weather",
                prefix="stations/",
                automation_condition=dg.AutomationCondition.on_cron("*/5 * * * *"),
            )


            @dg.asset(deps=[stations], automation_condition=dg.AutomationCondition.eager())
            def map_of_stations() -> None: ...
    """
    check_names(repository=repository, branch=branch)
    asset_key = AssetKey.from_coercible(key)

    with disable_dagster_warnings():  # the decorator is in beta
        decorator = observable_source_asset(
            key=asset_key,
            required_resource_keys={resource_key},
            io_manager_key=io_manager_key,
            partitions_def=partitions.definition if partitions else None,
            automation_condition=automation_condition,
            group_name=group_name,
            description=description or f"Objects of the lakeFS repository {repository!r}, written by others.",
            metadata={SOURCE_REPOSITORY: repository, SOURCE_BRANCH: branch},
            tags=tags,
        )

    def source(context: OpExecutionContext) -> ObserveResult | DataVersionsByPartition:
        resource: LakeFSResource = getattr(context.resources, resource_key)
        client, name = resource.get_client(), resource.branch(branch, repository=repository)
        commit_id = client.branches.get(repository, name).commit_id
        if partitions is not None:
            for event in _observations(context, asset_key, client, repository, commit_id, partitions):
                context.log_event(event)
            with disable_dagster_warnings():  # the class is in beta
                return DataVersionsByPartition({})
        version = _unchanged_since(client, repository, last_version(context.instance, asset_key), commit_id, prefix)
        metadata = commit_metadata(client, repository, commit_id) | object_metadata(client, repository, name, prefix)
        return ObserveResult(data_version=DataVersion(version), metadata=metadata)

    return decorator(source)


def last_version(instance: DagsterInstance, key: AssetKey) -> str | None:
    """Return the data version of the asset's newest observation."""
    records = instance.fetch_observations(key, limit=1).records
    observation = records[0].asset_observation if records else None
    return (observation.tags or {}).get(DATA_VERSION_TAG) if observation else None


def _unchanged_since(client: LakeFSClient, repository: str, last: str | None, commit_id: str, prefix: str) -> str:
    """Return the last data version if the objects with the prefix are those of the commit, else the commit's id."""
    if last is not None:
        # The repository may be another one since the last observation.
        with suppress(errors.RefNotFound, errors.BadRequest):
            if client.refs.diff(repository, last, commit_id, type="two_dot", prefix=prefix or None).first() is None:
                return last
    return commit_id


def _observations(
    context: OpExecutionContext,
    key: AssetKey,
    client: LakeFSClient,
    repository: str,
    commit_id: str,
    partitions: LakeFSPartitions,
) -> Iterator[AssetObservation]:
    """Yield an observation for each partition whose data version differs from that of its newest observation."""
    found = partition_versions(client, repository, partitions.template, commit_id)
    paths = {str(name): path for path in found if (name := partitions.key(path)) is not None}
    last = context.instance.event_log_storage.get_latest_tags_by_partition(
        key, DagsterEventType.ASSET_OBSERVATION, [DATA_VERSION_TAG]
    )
    known = {partition: tags.get(DATA_VERSION_TAG) for partition, tags in last.items()}
    for partition in paths.keys() | known.keys():
        version = found[paths[partition]] if partition in paths else REMOVED
        if version == known.get(partition) or partitions.existence(partition, context.instance) != "exists":
            continue
        path = partitions.path(partition)
        yield AssetObservation(
            asset_key=key,
            partition=partition,
            tags={DATA_VERSION_TAG: version},
            metadata=commit_metadata(client, repository, commit_id)
            | object_metadata(client, repository, commit_id, path),
        )
