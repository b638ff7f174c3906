"""Dagster's partitions and the paths of their objects in lakeFS, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from dagster import (
    DagsterInvalidDefinitionError,
    DagsterUnknownPartitionError,
    DynamicPartitionsDefinition,
    MultiPartitionKey,
    MultiPartitionsDefinition,
    PartitionsDefinition,
    TimeWindowPartitionsDefinition,
)
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.partitions.utils.base import INVALID_PARTITION_SUBSTRINGS

from lakefs_ops.flows.partitions import PathTemplate

if TYPE_CHECKING:
    from dagster import AddDynamicPartitionsRequest, DagsterInstance, DeleteDynamicPartitionsRequest

SEPARATOR = "|"
"""What Dagster puts between the keys of the dimensions of a partition."""

Existence = Literal["exists", "dynamic", "later", "never"]


@dataclass(frozen=True)
class LakeFSPartitions:
    """A partitions definition and the template of the paths of its partitions.

    Args:
        definition: the partitions definition of the assets.
        template: the paths, see `lakefs_ops.flows.partitions.PathTemplate`. With several dimensions, the fields are the
            names of the dimensions; with one, the field may have any name.

    Raises:
        DagsterInvalidDefinitionError: the template does not have the dimensions of the definition as its fields.

    Examples:
        .. code-block:: python

            MONTHS = LakeFSPartitions(dg.MonthlyPartitionsDefinition("2012-01", fmt="%Y-%m"), "daily/{month}.csv")


            @dg.asset(partitions_def=MONTHS.definition)
            def days(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> dg.MaterializeResult:
                table = lakefs.get_client().objects.get("weather", "main", MONTHS.path(context.partition_key))
                return dg.MaterializeResult(metadata={"days": len(table.splitlines())})
    """

    definition: PartitionsDefinition
    template: PathTemplate

    def __init__(self, definition: PartitionsDefinition, template: PathTemplate | str) -> None:
        template = PathTemplate(template) if isinstance(template, str) else template
        object.__setattr__(self, "definition", definition)
        object.__setattr__(self, "template", template)
        if isinstance(definition, MultiPartitionsDefinition):
            dimensions = set(definition.partition_dimension_names)
            if dimensions != set(template.fields):
                raise DagsterInvalidDefinitionError(
                    f"template {str(template)!r} must have the fields {', '.join(sorted(dimensions))}, which are the"
                    " dimensions of the partitions definition"
                )
        elif len(template.fields) != 1:
            raise DagsterInvalidDefinitionError(
                f"template {str(template)!r} must have one field, as the partitions definition has one dimension"
            )

    def path(self, key: str) -> str:
        """Return the path of a partition.

        Args:
            key: the partition's key, such as ``context.partition_key``.
        """
        if isinstance(self.definition, MultiPartitionsDefinition):
            return self.template.path(self._parts(key))
        return self.template.path(key)

    def key(self, path: str) -> str | None:
        """Return the key of the partition that an object belongs to.

        None if the template does not match its path, or if Dagster cannot have the partition, see `key_of`.

        Args:
            path: the object's path.
        """
        keys = self.template.keys(path)
        return None if keys is None else self.key_of(keys)

    def key_of(self, keys: Mapping[str, str]) -> str | None:
        """Return the key of the partition with these keys of the template's fields.

        None for the key of a dimension with the separator of the dimensions.
        """
        if not isinstance(self.definition, MultiPartitionsDefinition):
            return keys[self.template.fields[0]]
        if any(SEPARATOR in key for key in keys.values()):
            return None
        return MultiPartitionKey(dict(keys))

    def existence(self, key: str, instance: DagsterInstance) -> Existence:
        """Return whether a partition ``exists``, can be added as a ``dynamic`` one, exists ``later``, or ``never``.

        Args:
            key: the partition's key, as `key` returns it.
            instance: the Dagster instance, which stores dynamic partitions.
        """
        with partition_loading_context(dynamic_partitions_store=instance):
            found = {_existence(definition, part) for definition, part in self._dimensions(key)}
        order: tuple[Existence, ...] = ("never", "later", "dynamic", "exists")
        return next(existence for existence in order if existence in found)

    def add_requests(
        self, keys: Iterable[str], instance: DagsterInstance
    ) -> list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest]:
        """Return the requests that add the dynamic partitions of some keys that do not exist yet.

        Args:
            keys: the partitions' keys, as `key` returns them.
            instance: the Dagster instance, which stores dynamic partitions.
        """
        missing: dict[DynamicPartitionsDefinition, dict[str, None]] = {}
        for definition, part in (dimension for key in keys for dimension in self._dimensions(key)):
            if isinstance(definition, DynamicPartitionsDefinition):
                missing.setdefault(definition, {})[part] = None
        return [
            definition.build_add_request(new)
            for definition, parts in missing.items()
            if (new := [part for part in parts if not instance.has_dynamic_partition(str(definition.name), part)])
        ]

    def _dimensions(self, key: str) -> list[tuple[PartitionsDefinition, str]]:
        if not isinstance(self.definition, MultiPartitionsDefinition):
            return [(self.definition, key)]
        parts = self._parts(key)
        return [(each.partitions_def, parts[each.name]) for each in self.definition.partitions_defs]

    def _parts(self, key: str) -> Mapping[str, str]:
        """Return the key of each dimension; unlike Dagster's own method, without reading dynamic partitions."""
        if isinstance(key, MultiPartitionKey):
            return key.keys_by_dimension
        parts = key.split(SEPARATOR)
        if len(parts) != len(self.template.fields):
            raise DagsterUnknownPartitionError(f"{key!r} is not a key of {', '.join(sorted(self.template.fields))}")
        return dict(zip(sorted(self.template.fields), parts, strict=True))


def _existence(definition: PartitionsDefinition, key: str) -> Existence:
    if definition.has_partition_key(key):
        return "exists"
    if isinstance(definition, DynamicPartitionsDefinition):
        return "never" if any(each in key for each in INVALID_PARTITION_SUBSTRINGS) else "dynamic"
    if not isinstance(definition, TimeWindowPartitionsDefinition):
        return "never"
    try:
        start, end = definition.time_window_for_partition_key(key)
    except ValueError:
        return "never"
    past = end <= datetime.now(UTC) or (definition.end is not None and end > definition.end)
    return "never" if past or start.strftime(definition.fmt) != key else "later"
