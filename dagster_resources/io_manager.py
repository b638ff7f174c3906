"""`LakeFSIOManager`: an asset returns a value, and it becomes an object in lakeFS; an input reads it back."""

# Dagster reads the annotations of the fields below, so they must not be strings.
import atexit
import hashlib
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin
from urllib.parse import quote, unquote

import dagster as dg
from dagster._core.definitions.partitions.context import partition_loading_context
from pydantic import ConfigDict, Field, PrivateAttr

from dagster_resources.handlers import EXTENSIONS, Format, Handler, Summary, handler_for_annotation, handler_for_value
from dagster_resources.isolation import ISOLATIONS, Isolation, output_name
from dagster_resources.metadata import object_metadata
from dagster_resources.object_paths import asset_path, dimensions_of, template_path
from dagster_resources.resource import LakeFSResource
from lakefs_ops import errors
from lakefs_ops.transfer import download_file, upload_file
from lakefs_ops.transfer.progress import Tracker
from lakefs_ops.transfer.workers import run_all, worker_count

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
    from dagster._core.execution.context.system import StepExecutionContext

    from lakefs_ops.api.common import ObjectStats

PATH, FORMAT, REF = "lakefs/path", "lakefs/format", "lakefs/ref"
"""Metadata of an asset or an input: the object's path, its format, and the ref to read it from."""

COLUMNS, ALLOW_MISSING = "columns", "allow_missing_partitions"
"""Metadata of an input: the columns to read, and whether to skip partitions that do not exist."""

PARTITION_WORKERS = 4
"""Maximum number of partitions that are read, or written, at the same time."""

_TYPE, _ASSET = "lakefs-ops-type", "lakefs-ops-asset"
"""User metadata of each object: its handler and its asset."""

_MISSING = object()
_FORMATS = {extension: name for name, extension in EXTENSIONS.items() if name != "pickle"} | {".ndjson": "jsonl"}

Context = dg.InputContext | dg.OutputContext


class UnreadableObject(errors.LakeFSError):
    """An object cannot be read into the wanted type: it is damaged, has another format, or is another asset's.

    Attributes:
        uri: the object.
    """

    uri: str


class LakeFSIOManager(dg.ConfigurableIOManager):
    """Stores the values that assets return as objects in lakeFS, and loads them as inputs of other assets.

    The type annotation of an input decides what it is read into: data frames of pandas, data frames and lazy frames of
    polars, tables and datasets of pyarrow, ``bytes``, ``str``, or anything that JSON can represent. An input of several
    partitions is ``dict[str, T]``, by partition key, and so is an output of several partitions. A value ``None`` writes
    nothing. Outputs of ops that are not assets need another IO manager.

    Metadata of an asset: ``lakefs/path`` (for a partitioned asset with ``{partition}``, or ``{NAME}`` for each
    dimension), ``lakefs/format``. Metadata of an input (`dagster.AssetIn`): the same, ``lakefs/ref`` to read another
    branch, tag or commit, ``columns`` to read only these, and ``allow_missing_partitions``.

    Delivery:
        With ``isolation="run"``, outputs are uncommitted on the run's branch, until a publish asset commits and merges
        them; a run reads its own outputs, and otherwise the base as it was at the run's first read. With
        ``isolation="asset"``, each output is merged when it is complete; with ``isolation="none"``, it is committed to
        the base directly. Both read the base's newest commit. A retry or a re-execution that produces the same bytes
        changes nothing; different bytes are a further commit.

    Examples:
        .. code-block:: python

            import dagster as dg
            import polars as pl
            from dagster_resources import LakeFSIOManager, LakeFSResource


            @dg.asset
            def weather() -> pl.DataFrame:
                return pl.DataFrame({"day": ["2015-01-01"], "celsius": [4.2]})


            @dg.asset
            def warm_days(weather: pl.LazyFrame) -> pl.LazyFrame:
                return weather.filter(pl.col("celsius") > 20)


            defs = dg.Definitions(
                assets=[weather, warm_days],
                resources={"io_manager": LakeFSIOManager(lakefs=LakeFSResource(), repository="lake")},
            )
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    lakefs: LakeFSResource = Field(description="The lakeFS server.")
    repository: str = Field(min_length=1, description="The repository's id.")
    base: str = Field(
        default="main", min_length=1, description="The branch that the assets are published to, and read from."
    )
    isolation: Literal["run", "asset", "none"] = Field(
        default="run",
        description="Where outputs are until they are complete: on a branch of the run, on a branch of each asset, or"
        " (none) on the base itself.",
    )
    format: Literal["parquet", "csv", "jsonl", "json", "text", "bytes", "pickle"] = Field(
        default="parquet",
        description="The format of objects; an asset's metadata lakefs/format has precedence. Reading a pickle runs"
        " code, so it is used only if it is set here or there.",
    )
    prefix: str = Field(default="", description="The folder of all objects.")
    ref: str | None = Field(
        default=None, description="The branch, tag or commit to read from outside of a run; the base by default."
    )
    preview_rows: int = Field(
        default=5, description="The number of rows that the metadata of a table shows; 0 for none."
    )
    temporary_directory: str | None = Field(
        default=None, description="The directory for temporary files; the system's by default."
    )

    _core: "ObjectStore | None" = PrivateAttr(default=None)

    @classmethod
    def _is_dagster_maintained(cls) -> bool:
        return False

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write an output.

        Raises:
            UnsupportedType: the value does not fit the format.
            InvalidArgument: another asset has the same path, or the path does not fit the partition.
            Failure: with ``isolation="asset"``, the base changed the same object.
        """
        self._store().handle_output(context, obj)

    def load_input(self, context: dg.InputContext) -> Any:
        """Read an input.

        Raises:
            FileNotFoundError: the object does not exist.
            UnreadableObject: the object cannot be read as this format and type.
            UnsupportedType: the annotation does not fit the format.
        """
        return self._store().load_input(context)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Delete the files of lazy values, unless they were loaded outside of a run."""
        if self._core is not None and context.run is not None:
            self._core.close()
        self._core = None

    def _store(self) -> "ObjectStore":
        if self._core is None:
            self._core = ObjectStore(self)
        return self._core


class ObjectStore:
    """The implementation of `LakeFSIOManager`, with resolved settings.

    Args:
        settings: the configuration.
    """

    def __init__(self, settings: LakeFSIOManager) -> None:
        self._settings = settings
        self._repository = settings.repository
        self._lock = threading.Lock()
        self._directory: Path | None = None

    @cached_property
    def _isolation(self) -> Isolation:
        settings = self._settings
        return ISOLATIONS[settings.isolation](settings.lakefs, settings.repository, settings.base)

    # writing ----------------------------------------------------------------------------------------------------------

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write the value of an asset, or of several of its partitions."""
        if not context.has_asset_key:
            raise dg.DagsterInvariantViolationError(
                f"LakeFSIOManager stores assets, and output {context.name!r} of op {context.op_def.name!r} is not one;"
                " set another IO manager for it, such as Out(io_manager_key='fs_io_manager')"
            )
        if context._step_context is None:
            raise dg.DagsterInvariantViolationError(
                "LakeFSIOManager writes only in a run, which has a branch; use dagster.materialize"
            )
        values = {key: value for key, value in self._values(context, obj).items() if value is not None}
        if not values:
            context.log.warning(f"{output_name(context)} is None: nothing was written, and older data stays as it is")
            return
        paths = self._paths(context, list(values))
        self._require_own_paths(context, paths)
        written: dict[str | None, tuple[ObjectStats, Summary | None]] = {}

        def upload(branch: str) -> dict[str, str]:
            written.update(self._for_each(values, lambda key: self._write(context, branch, paths[key], values[key])))
            return {stats.path: stats.checksum for stats, _ in written.values()}

        where = self._isolation.write(context, upload)
        self._describe(context, {key: written[key] for key in values}, where)

    def _values(self, context: dg.OutputContext, obj: Any) -> dict[str | None, Any]:
        """Return the value of each partition; the key is None for an asset without partitions."""
        if not context.has_asset_partitions:
            return {None: obj}
        keys = list(context.asset_partition_keys)
        by_key = isinstance(obj, Mapping) and (
            len(keys) != 1 or not _plain(self._format(context)) or _takes_several(context.step_context)
        )
        if len(keys) == 1 and not by_key:
            return {keys[0]: obj}
        if obj is None:
            return {}
        if not isinstance(obj, Mapping):
            raise TypeError(
                f"{output_name(context)} has {len(keys)} partitions, so the output must be a dict with the value of"
                f" each partition by its key, not a {type(obj).__name__}"
            )
        if set(obj) != set(keys):
            missing, unknown = sorted(set(keys) - set(obj)), sorted(map(str, set(obj) - set(keys)))
            raise ValueError(
                f"the output of {output_name(context)} must have the keys of its partitions; missing:"
                f" {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}; the value None writes"
                " nothing for a partition"
            )
        return {key: obj[key] for key in keys}

    def _write(
        self, context: dg.OutputContext, branch: str, path: str, value: Any
    ) -> "tuple[ObjectStats, Summary | None]":
        """Write a value to a temporary file, and upload it."""
        format = self._format(context)
        handler = handler_for_value(value, format)
        marks = {_TYPE: handler.name, _ASSET: quote(context.asset_key.to_user_string(), safe="/")}
        file = self._new_file(format)
        try:
            handler.dump(value, file, format)
            summary = handler.summarize(value, file, format, self._settings.preview_rows)
            stats = upload_file(self._isolation.client, self._repository, branch, path, file, metadata=marks)
        finally:
            file.unlink(missing_ok=True)
        return stats, summary

    def _describe(
        self,
        context: dg.OutputContext,
        written: Mapping[str | None, "tuple[ObjectStats, Summary | None]"],
        where: Mapping[str, Any],
    ) -> None:
        """Set the data version and the metadata of the materializations."""
        step = context.step_context
        checksums = {key or "": stats.checksum for key, (stats, _) in written.items()}
        version = next(iter(checksums.values()))
        if len(checksums) > 1:
            # Dagster has one version for all partitions of a step.
            joined = "\n".join(f"{key}={checksum}" for key, checksum in sorted(checksums.items()))
            version = hashlib.sha256(joined.encode()).hexdigest()
        step.set_data_version(context.asset_key, dg.DataVersion(version))
        described = {key: self._metadata(*found, partition=key) for key, found in written.items()}
        context.add_output_metadata(where)
        for key, metadata in described.items():
            if key is None:
                context.add_output_metadata(metadata)
            else:
                step.add_asset_metadata(metadata, context.asset_key, key)

    def _metadata(self, stats: "ObjectStats", summary: Summary | None, *, partition: str | None) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            **object_metadata(self._isolation.client, self._repository, self._isolation.base, stats.path),
            "lakefs/size_bytes": stats.size_bytes or 0,
            "lakefs/checksum": stats.checksum,
        }
        if summary is not None:
            metadata["dagster/row_count" if partition is None else "dagster/partition_row_count"] = summary.row_count
            metadata["dagster/column_schema"] = dg.TableSchema(
                columns=[dg.TableColumn(name, type_) for name, type_ in summary.columns]
            )
            if summary.preview:
                metadata["lakefs/preview"] = dg.MetadataValue.md(summary.preview)
        return metadata

    # reading ----------------------------------------------------------------------------------------------------------

    def load_input(self, context: dg.InputContext) -> Any:
        """Read the value of an asset, or of several of its partitions."""
        if not context.has_asset_key:
            raise dg.DagsterInvariantViolationError(
                f"LakeFSIOManager reads assets, and input {context.name!r} is not one; set another IO manager for the"
                " output that it reads, such as Out(io_manager_key='fs_io_manager')"
            )
        annotation, optional = _annotation(context)
        options = _metadata_of(context)
        step = context._step_context
        keys: list[str | None] = [None]
        if context.has_asset_partitions:
            keys = list(_partitions_to_check(context) or context.asset_partition_keys)
        if step is not None and keys and REF not in options:
            self._isolation.await_upstream(step, context.asset_key, filter(None, keys))
        ref, own = self._ref(step, options)
        by_key, annotation = self._by_key(context, keys, annotation)
        paths = self._paths(context, keys)
        contents: dict[str, str | None] = {}

        def read(key: str | None) -> Any:
            try:
                value, stats = self._read(context, ref, paths[key], annotation)
            except errors.ObjectNotFound as error:
                contents[paths[key]] = None
                what = context.asset_key.to_user_string()
                what = what if key is None else f"partition {key!r} of {what}"
                missing = f"lakefs://{self._repository}/{ref}/{paths[key]} does not exist"
                if not options.get(ALLOW_MISSING) and (by_key or not optional):
                    raise FileNotFoundError(f"{missing}; materialize {what} first") from error
                context.log.warning(f"{missing}; {what} is skipped")
                return _MISSING
            contents[paths[key]] = stats.checksum
            return value

        values = self._for_each(keys, read)
        if step is not None and own and contents:
            self._isolation.record_reads(step, ref, contents)
        present = {key: value for key in keys if (value := values[key]) is not _MISSING}
        return present if by_key else next(iter(present.values()), None)

    def _ref(self, step: "StepExecutionContext | None", options: Mapping[str, Any]) -> tuple[str, bool]:
        """Return the ref to read, and whether it is the one that the isolation prescribes."""
        ref = options.get(REF) or (self._settings.ref or self._settings.base if step is None else None)
        if step is not None and ref is None:
            return self._isolation.read_ref(step), True
        return self._isolation.head(self._isolation.base if ref == self._settings.base else str(ref)), False

    def _by_key(self, context: dg.InputContext, keys: Sequence[str | None], annotation: Any) -> tuple[bool, Any]:
        """Return whether the input is a dictionary by partition key, and the type of a single value."""
        if not context.has_asset_partitions:
            return False, annotation
        mapping = get_origin(annotation) is dict or annotation is dict
        plain = _plain(self._format(context))
        if len(keys) == 1 and (not mapping or (plain and not _takes_several(context._step_context))):
            return False, annotation
        if not keys and not mapping:
            return False, annotation
        if not mapping and annotation is not Any:
            name = getattr(annotation, "__name__", annotation)
            raise TypeError(
                f"the input {output_name(context)} has {len(keys)} partitions; annotate it with dict[str, {name}]"
            )
        return True, _without_none((get_args(annotation) or (str, Any))[1])[0] if mapping else Any

    def _read(self, context: dg.InputContext, ref: str, path: str, annotation: Any) -> "tuple[Any, ObjectStats]":
        """Download an object, and return its value."""
        format, options = self._format(context), _metadata_of(context)
        uri = f"lakefs://{self._repository}/{ref}/{path}"
        file, keep = self._new_file(format), False
        try:
            stats = download_file(self._isolation.client, self._repository, ref, path, file)
            found = stats.metadata or {}
            writer = unquote(found.get(_ASSET, ""))
            if writer not in ("", context.asset_key.to_user_string()) and PATH not in options:
                raise _unreadable(uri, f"it was written by asset {writer!r}, not by {output_name(context)}")
            handler = handler_for_annotation(annotation, format, found.get(_TYPE))
            columns = _columns(output_name(context), options, handler)
            try:
                value = handler.load(file, format, columns)
            except (MemoryError, ImportError):
                raise
            except Exception as error:
                origin = f"written as {found[_TYPE]}" if _TYPE in found else "not written by LakeFSIOManager"
                raise _unreadable(
                    uri, f"its {stats.size_bytes} bytes, {origin}, are not {format} for {handler.name}: {error}"
                ) from error
            keep = handler.lazy
        finally:
            if not keep:
                file.unlink(missing_ok=True)
        return value, stats

    # both -------------------------------------------------------------------------------------------------------------

    def _require_own_paths(self, context: dg.OutputContext, paths: Mapping[str | None, str]) -> None:
        """Refuse to write an asset if another one of the job has the same path: only one of them would be published.

        The publication finds the rest: assets of other IO managers, or with other partitions.

        Raises:
            InvalidArgument: two assets have the same path.
        """
        graph, own = context.step_context.job_def.asset_layer.asset_graph, context.asset_key
        manager, definition, mine = _manager_key(graph, own), context._asset_partitions_def, set(paths.values())
        for other in graph.materializable_asset_keys - {own}:
            node = graph.get(other)
            if _manager_key(graph, other) != manager or node.partitions_def not in (None, definition):
                continue
            key, name = next(iter(paths)) if node.partitions_def else None, other.to_user_string()
            with suppress(errors.InvalidArgument, ValueError):  # it raises them when it is written
                if (path := self._path(other, name, _plain_metadata(node.metadata), key, node.partitions_def)) in mine:
                    names = " and ".join(repr(each.to_user_string()) for each in sorted((own, other)))
                    break
        else:
            return
        raise errors.InvalidArgument(
            f"assets {names} have the same path {path!r}, so one would overwrite the other; give each its own"
        )

    def _format(self, context: Context) -> Format:
        return self._format_of(output_name(context), _metadata_of(context))

    def _format_of(self, name: str, options: Mapping[str, Any]) -> Format:
        by_extension = _FORMATS.get(Path(str(options.get(PATH, ""))).suffix, self._settings.format)
        format = options.get(FORMAT, by_extension)
        if format not in EXTENSIONS:
            raise ValueError(f"unknown format {format!r} of {name}; choose {', '.join(EXTENSIONS)}")
        return cast("Format", format)

    def _paths(self, context: Context, keys: Sequence[str | None]) -> dict[str | None, str]:
        """Return the path of each partition."""
        definition, options, name = context._asset_partitions_def, _metadata_of(context), output_name(context)
        return {key: self._path(context.asset_key, name, options, key, definition) for key in keys}

    def _path(
        self,
        asset: dg.AssetKey,
        name: str,
        options: Mapping[str, Any],
        key: str | None,
        definition: dg.PartitionsDefinition | None,
    ) -> str:
        """Return the path of an asset or of one of its partitions; its name is for messages."""
        dimensions = None if key is None else dimensions_of(key, definition)
        if PATH not in options:
            return asset_path(self._settings.prefix, asset, EXTENSIONS[self._format_of(name, options)], dimensions)
        try:
            return template_path(str(options[PATH]), dimensions)
        except errors.InvalidArgument as error:
            raise errors.InvalidArgument(f"metadata {PATH!r} of {name}: {error}") from None

    def _for_each(self, keys: Any, act: Callable[[str | None], Any]) -> dict[str | None, Any]:
        workers = worker_count(self._isolation.client, PARTITION_WORKERS)
        return run_all(act, keys, 1 if len(keys) == 1 else workers, Tracker(None, None, None))

    def _new_file(self, format: Format) -> Path:
        with self._lock:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="lakefs-io-", dir=self._settings.temporary_directory))
                atexit.register(shutil.rmtree, self._directory, ignore_errors=True)
        return self._directory / f"{uuid.uuid4().hex}{EXTENSIONS[format]}"

    def close(self) -> None:
        """Delete the temporary files."""
        with self._lock:
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
                self._directory = None


def _manager_key(graph: "AssetGraph", key: dg.AssetKey) -> str:
    return graph.get(key).assets_def.get_io_manager_key_for_asset_key(key)


def _metadata_of(context: Context) -> dict[str, Any]:
    """Return the metadata of an asset's definition; for an input, its own has precedence."""
    found = dict(context.definition_metadata or {})
    if isinstance(context, dg.InputContext) and context.upstream_output is not None:
        asset = context.upstream_output.definition_metadata or {}
        found = {**{name: asset[name] for name in (PATH, FORMAT) if name in asset}, **found}
    return _plain_metadata(found)


def _plain_metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.value if isinstance(value, dg.MetadataValue) else value for name, value in given.items()}


def _columns(name: str, options: Mapping[str, Any], handler: Handler) -> Sequence[str] | None:
    """Return the columns to read of an input, None for all.

    Raises:
        InvalidArgument: they are not a list, or the object has no columns.
    """
    columns: Sequence[str] | None = options.get(COLUMNS)
    if columns is None:
        return None
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise errors.InvalidArgument(f"metadata {COLUMNS!r} of {name} must be a list of names, not {columns!r}")
    if not handler.has_columns:
        raise errors.InvalidArgument(f"metadata {COLUMNS!r} of {name}: {handler.name} has no columns; remove it")
    return columns


def _annotation(context: dg.InputContext) -> tuple[Any, bool]:
    """Return the type to read, `typing.Any` if unknown, and whether None is allowed, too."""
    return _without_none(context._dagster_type.typing_type if context._dagster_type is not None else Any)


def _without_none(given: Any) -> tuple[Any, bool]:
    if get_origin(given) in (Union, UnionType):
        types = [type_ for type_ in get_args(given) if type_ is not NoneType]
        if len(types) < len(get_args(given)):
            return (types[0] if len(types) == 1 else Any), True
    return (Any if given in (NoneType, None) else given), False


def _partitions_to_check(context: dg.InputContext) -> Sequence[str] | None:
    """Return the partitions of the run for a check without its own partitions, to which Dagster passes all partitions.

    None for any other step, and if the run has no partitions, or those of another asset.
    """
    step = context._step_context
    if step is None or not step.is_asset_check_step or step.entity_partitions_def is not None:
        return None
    if step.assets_def is not None and step.assets_def.keys:
        return None  # an asset with checks
    definition = context.asset_partitions_def
    if not (step.has_partition_key or step.has_partition_key_range) or step.run_partitions_def != definition:
        return None
    with partition_loading_context(dynamic_partitions_store=step.instance):
        return definition.get_partition_keys_in_range(step.partition_key_range)


def _plain(format: Format) -> bool:
    """Return whether a value of a format can be a dictionary."""
    return format in ("json", "pickle")


def _takes_several(step: "StepExecutionContext | None") -> bool:
    """Return whether a step is written for several partitions, even if it has just one now."""
    assets = step.assets_def if step is not None else None
    policy = assets.backfill_policy if assets is not None else None
    return policy is not None and policy.max_partitions_per_run != 1


def _unreadable(uri: str, problem: str) -> UnreadableObject:
    return UnreadableObject(
        f"{uri} cannot be read: {problem}; its path and format are those of the asset's key and the IO manager, unless"
        f" metadata {PATH!r} or {FORMAT!r} changes them",
        uri=uri,
    )
