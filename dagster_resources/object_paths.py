"""The objects' paths of an asset and its partitions: the same from the launchpad, a backfill and a notebook.

By default ``PREFIX/ASSET/KEY.EXTENSION``, and ``PREFIX/ASSET/KEY/PARTITION.EXTENSION`` for a partition. A partition of
several dimensions has one folder for each, in the order of their names. Keys are escaped as `PathTemplate` does it.
"""

from __future__ import annotations

from collections.abc import Mapping

from dagster import AssetKey, MultiPartitionKey, MultiPartitionsDefinition, PartitionsDefinition

from lakefs_ops.flows.partitions import PathTemplate

SINGLE = "partition"
"""The name of the dimension of a partition with only one."""

_PART = PathTemplate("{part}")


def asset_path(prefix: str, key: AssetKey, extension: str, dimensions: Mapping[str, str] | None = None) -> str:
    """Return the default path of an asset, or of one of its partitions.

    Args:
        prefix: the folder of all assets; may be empty.
        key: the asset's key.
        extension: the file extension, with its dot.
        dimensions: the partition, see `dimensions_of`.

    Example:
        >>> asset_path("raw", AssetKey(["weather", "rain"]), ".csv", {"city": "a/b", "date": "2015-01-01"})
        'raw/weather/rain/a%2Fb/2015-01-01.csv'
    """
    parts = [_PART.path(part) for part in (*key.path, *(dimensions or {}).values())]
    return "/".join([*filter(None, [prefix.strip("/")]), *parts]) + extension


def template_path(template: str, dimensions: Mapping[str, str] | None = None) -> str:
    """Return the path that an asset's metadata ``lakefs/path`` describes.

    Args:
        template: the path itself, or for a partition a `PathTemplate`; with a field for each dimension by its name, or
            one field of any name if there is only one dimension.
        dimensions: the partition, see `dimensions_of`.

    Raises:
        InvalidArgument: the template does not fit the partition.

    Example:
        >>> template_path("daily/{date}/{city}.csv", {"city": "a/b", "date": "2015-01-01"})
        'daily/2015-01-01/a%2Fb.csv'
    """
    if dimensions is None:
        return template
    return PathTemplate(template).path(dimensions[SINGLE] if set(dimensions) == {SINGLE} else dimensions)


def dimensions_of(partition_key: str, definition: PartitionsDefinition | None) -> dict[str, str]:
    """Return a partition's key for each dimension, sorted by name; a single dimension has the name `SINGLE`.

    Args:
        partition_key: the key. Dagster passes the key of a multi-partition as text in some places.
        definition: the partitions of the asset, if known.
    """
    if isinstance(definition, MultiPartitionsDefinition) and not isinstance(partition_key, MultiPartitionKey):
        partition_key = definition.get_partition_key_from_str(partition_key)
    if isinstance(partition_key, MultiPartitionKey):
        return dict(sorted(partition_key.keys_by_dimension.items()))
    return {SINGLE: partition_key}
