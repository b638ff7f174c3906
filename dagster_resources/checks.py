"""Asset checks from Pandera schemas, Great Expectations suites, Soda checks, or plain functions.

::

    checks = build_lakefs_checks(
        daily_weather,
        {"schema": schema, "no_day_is_missing": no_day_is_missing},
        repository="weather",
        path="daily/{partition}.parquet",
    )

Each check judges the partitions that the run has written, as they are on the branch of the run: in its newest commit,
or uncommitted. In both cases the publication knows what was judged (see `dagster_resources.publish.RunBranch`).
"""

# Dagster reads the annotations of the functions below, so they must not be strings.
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    MetadataValue,
    PartitionKeyRange,
    PartitionsDefinition,
    multi_asset_check,
)
from dagster._core.definitions.partitions.context import partition_loading_context

from dagster_resources.metadata import branch_metadata
from dagster_resources.names import check_names
from dagster_resources.object_paths import dimensions_of, template_path
from lakefs_ops import errors
from lakefs_ops.flows.checks import CheckResult, results, summary, validate
from lakefs_ops.flows.checks import run as run_check

if TYPE_CHECKING:
    from dagster_resources.publish import RunBranch
    from lakefs_ops.client import LakeFSClient

Library = Literal["pandas", "polars"]

SHOWN = 20
"""Maximum number of problems in the description of a result; its metadata has all of them."""


@dataclass(frozen=True)
class Sodacl:
    """Checks in Soda's language, evaluated by the extra ``soda`` with DuckDB; the table is called ``data``.

    Attributes:
        text: the checks, such as ``checks for data: [row_count > 0]``.
    """

    text: str


@dataclass
class WrittenData:
    """The data that a check judges.

    Attributes:
        branch: the branch of the run.
        partition_keys: the partitions that the run has written; empty without partitions.
    """

    branch: "RunBranch"
    partition_keys: list[str]
    _read: dict[str, str | None] = field(default_factory=dict, repr=False)

    @property
    def client(self) -> "LakeFSClient":
        """The client."""
        return self.branch.client

    @property
    def repository(self) -> str:
        """The repository's id."""
        return self.branch.repository

    @cached_property
    def _uncommitted(self) -> bool:
        return self.branch.has_uncommitted_changes()

    @cached_property
    def ref(self) -> str:
        """The ref to read: the newest commit of the run's branch, or the branch while it has uncommitted changes.

        Read uncommitted objects with `read` and `paths`, which record what the check has judged.
        """
        return self.branch.name if self._uncommitted else self.branch.ref

    def read(self, path: str) -> bytes:
        """Return the content of an object.

        Args:
            path: the object's path.

        Raises:
            ObjectNotFound: the object does not exist.
            LostRace: the object was replaced while it was read.
        """
        objects = self.client.objects
        if not self._uncommitted:
            return objects.get(self.repository, self.ref, path)
        try:
            before = objects.stat(self.repository, self.ref, path).checksum
        except errors.ObjectNotFound:
            self._record({path: None})
            raise
        content = objects.get(self.repository, self.ref, path)
        if objects.stat(self.repository, self.ref, path).checksum != before:
            raise errors.LostRace(
                f"{path!r} on branch {self.ref!r} of {self.repository!r} was replaced while a check read it; execute"
                " the check again",
                status=500, reason="", operation="getObject",
            )  # fmt: skip
        self._record({path: before})
        return content

    def paths(self, prefix: str = "") -> list[str]:
        """Return the paths of the objects that start with a prefix.

        Args:
            prefix: the prefix.
        """
        found = {
            entry.path: entry.checksum for entry in self.client.objects.list(self.repository, self.ref, prefix=prefix)
        }
        if self._uncommitted:
            self._record(found)
        return list(found)

    def frame(self, path: str, library: Library = "pandas") -> Any:
        """Return an object as a data frame; its suffix is its format: parquet, csv, jsonl or json.

        Args:
            path: the object's path.
            library: the library of the data frame.
        """
        content, suffix = io.BytesIO(self.read(path)), PurePosixPath(path).suffix.lstrip(".")
        readers = _readers(library)
        if suffix not in readers:
            raise errors.InvalidArgument(
                f"{path!r} cannot be read as a data frame: its suffix is not one of {', '.join(readers)}"
            )
        return readers[suffix](content)

    def _record(self, objects: Mapping[str, str | None]) -> None:
        new = {path: checksum for path, checksum in objects.items() if self._read.get(path, "") != checksum}
        if new:
            self._read |= new
            self.branch.read_objects(new)


def build_lakefs_checks(
    asset: Any,
    checks: Mapping[str, Any] | Iterable[Any],
    *,
    repository: str,
    base: str = "main",
    path: str | Callable[[str], str] | None = None,
    load: Callable[[WrittenData], Any] | None = None,
    library: Library = "pandas",
    blocking: bool = True,
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR,
    resource_key: str = "lakefs",
    name: str | None = None,
) -> AssetChecksDefinition:
    """Return the checks of an asset, which run in one step and share what they read.

    Each check is one of these:

    - a function of the `WrittenData`, or with ``path`` of the data frame, or of what ``load`` returns; it returns one
      of the values of `lakefs_ops.flows.checks.results`, usually a list of problems;
    - a schema of Pandera (extra ``pandera``), which needs ``path``;
    - an ``ExpectationSuite`` of Great Expectations (extra ``great-expectations``), which needs ``path`` and pandas;
    - `Sodacl` (extra ``soda``), which needs ``path`` and pandas.

    An object that does not exist is a problem. A check that raises an exception has no result, so that nothing is
    published; the other checks have theirs. Every result has the problems as metadata, and a link to what was judged.

    Args:
        asset: the asset.
        checks: the checks, with their names; functions and Pandera schemas can do without.
        repository: the repository's id.
        base: the branch that the run starts from and publishes to.
        path: the path of a data frame, as in the IO manager's metadata ``lakefs/path``: ``{partition}``, or a field of
            any other name, stands for the partition, and with several dimensions the name of each stands for its key.
            Keys are escaped as in `lakefs_ops.flows.partitions.PathTemplate`. Or a function from the partition's key to
            the path. With several partitions, each is judged; a path without fields is judged once.
        load: instead of ``path``, a function that returns what the functions judge; it is called once.
        library: the library of the data frames, ``pandas`` or ``polars``.
        blocking: whether a failed check also prevents the assets that depend on this one.
        severity: the severity of a failed check. WARN does not prevent the publication; a check that only has warnings
            always fails with WARN.
        resource_key: the key of the `dagster_resources.resource.LakeFSResource`.
        name: the name of the step.
    """
    check_names(repository=repository, base=base)
    named = dict(checks) if isinstance(checks, Mapping) else {_name(check): check for check in checks}
    if not named:
        raise errors.InvalidArgument("build_lakefs_checks() needs at least one check")
    if path is not None and load is not None:
        raise errors.InvalidArgument("build_lakefs_checks() takes path= or load=, not both")
    key = _asset_key(asset)
    evaluate = {each: _evaluation(each, check, path is not None, library) for each, check in named.items()}
    specs = [
        AssetCheckSpec(
            each, asset=key, blocking=blocking, description=(getattr(check, "__doc__", None) or "").strip() or None
        )
        for each, check in named.items()
    ]

    @multi_asset_check(
        name=name or f"{key.to_python_identifier()}_{next(iter(named))}",
        specs=specs,
        required_resource_keys={resource_key},
    )
    def judge(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        branch = getattr(context.resources, resource_key).run_branch(context, repository, base=base)
        definition = context.job_def.asset_layer.asset_graph.get(key).partitions_def
        data = WrittenData(branch, _partition_keys(context, definition))
        subjects = _Subjects(data, _paths(path, data.partition_keys, definition), library) if path is not None else None
        loaded: list[Any] = [] if load is not None else [data]
        failure: Exception | None = None
        for each, check in evaluate.items():
            try:
                if load is not None and not loaded:
                    loaded.append(load(data))
                found = subjects.judge(each, check) if subjects else run_check(check, loaded[0], name=each)
            except Exception as error:  # the other checks have results, too
                context.log.exception(f"check {each!r} raised an exception")
                failure = failure or error
            else:
                yield _result(each, key, found, data, severity)
        if failure is not None:
            raise failure

    return judge


def lakefs_check(
    *,
    asset: Any,
    repository: str,
    name: str | None = None,
    **options: Any,
) -> Callable[[Callable[[Any], Any]], AssetChecksDefinition]:
    """Turn a function into an asset check; see `build_lakefs_checks`.

    Args:
        asset: the asset.
        repository: the repository's id.
        name: the check's name, by default that of the function.
        **options: further arguments of `build_lakefs_checks`.

    Example:
        .. code-block:: python

            @lakefs_check(asset=daily_weather, repository="weather", path="daily/{partition}.parquet")
            def no_temperature_is_missing(days):
                return [f"{day} has no temperature" for day in days[days.celsius.isna()].day]
    """

    def decorate(function: Callable[[Any], Any]) -> AssetChecksDefinition:
        return build_lakefs_checks(asset, {name or function.__name__: function}, repository=repository, **options)

    return decorate


class _Subjects:
    """The data frames of the partitions, each read once."""

    def __init__(self, data: WrittenData, paths: Mapping[str, str], library: Library) -> None:
        self._data, self._paths, self._library = data, paths, library
        self._frames: dict[str, Any] = {}

    def judge(self, name: str, check: Callable[[Any], Any]) -> tuple[CheckResult, ...]:
        """Evaluate a check on each partition; the problems of several partitions start with the partition."""
        found: list[CheckResult] = []
        for key, path in self._paths.items():
            try:
                frame = self._frames[path] if path in self._frames else self._data.frame(path, self._library)
            except errors.ObjectNotFound:
                each: tuple[CheckResult, ...] = (CheckResult(name, (f"{path} does not exist",)),)
            else:
                self._frames[path] = frame
                each = run_check(check, frame, name=name)
            start = f"{key}: " if len(self._paths) > 1 else ""
            found += [
                CheckResult(
                    result.name,
                    tuple(start + text for text in result.problems),
                    tuple(start + text for text in result.warnings),
                )
                for result in each
            ]
        return tuple(found)


def _result(
    name: str, key: AssetKey, found: tuple[CheckResult, ...], data: WrittenData, severity: AssetCheckSeverity
) -> AssetCheckResult:
    """Return the results of a check as one result for Dagster."""
    problems = [text for result in found for text in result.problems]
    warnings = [text for result in found for text in result.warnings]
    findings = [
        {"check": each.name, "problems": list(each.problems), "warnings": list(each.warnings)}
        for each in found
        if each.problems or each.warnings
    ]
    shown = [*problems, *warnings]
    more = f"; and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    branch = data.branch
    ref = None if data.ref == branch.name else data.ref
    links = branch_metadata(data.client, data.repository, branch.name, base=branch.base, ref=ref)
    if ref is None and not shown:  # the publication deletes the branch
        links = {name: value for name, value in links.items() if isinstance(value, str)}
    return AssetCheckResult(
        check_name=name,
        asset_key=key,
        passed=not shown,
        severity=severity if problems else AssetCheckSeverity.WARN,
        description="; ".join(shown[:SHOWN]) + more or None,
        metadata={
            "findings": MetadataValue.json(findings),
            "lakefs/checks": summary(found),
            **({"lakefs/partitions": ", ".join(data.partition_keys)} if data.partition_keys else {}),
            **links,
        },
    )


def _evaluation(name: str, check: Any, has_path: bool, library: Library) -> Callable[[Any], Any]:
    """Return the function that evaluates a check."""
    kind = type(check).__module__.partition(".")[0]
    if isinstance(check, type):
        kind = next(
            (base.__module__.partition(".")[0] for base in check.__mro__ if base.__module__.startswith("pandera")), kind
        )
    function: Callable[[Any], Any]
    if kind == "pandera":
        function = lambda frame: validate(check, frame, name=name)  # noqa: E731
    elif hasattr(check, "expectations"):
        function = lambda frame: _expect(check, frame)  # noqa: E731
    elif isinstance(check, Sodacl):
        function = lambda frame: _scan(check, frame)  # noqa: E731
    elif callable(check):
        function, has_path, library = check, True, "pandas"
    else:
        raise errors.InvalidArgument(
            f"check {name!r} must be a function, a Pandera schema, a suite of Great Expectations or Sodacl, not"
            f" {type(check).__name__}"
        )
    if not has_path:
        raise errors.InvalidArgument(f"check {name!r} judges a data frame, so build_lakefs_checks() needs path=")
    if kind != "pandera" and library != "pandas":
        raise errors.InvalidArgument(f"check {name!r} judges data frames of pandas, so library must be 'pandas'")
    return function


def _expect(suite: Any, frame: Any) -> tuple[CheckResult, ...]:
    try:
        import great_expectations
    except ImportError as missing:
        raise _missing("great-expectations", missing) from missing
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("lakefs").add_dataframe_asset("data")
    batch = source.add_batch_definition_whole_dataframe("data").get_batch(batch_parameters={"dataframe": frame})
    return results(batch.validate(suite), name=str(suite.name))


def _scan(checks: Sodacl, frame: Any) -> tuple[CheckResult, ...]:
    try:
        import duckdb
        from soda.scan import Scan
    except ImportError as missing:
        raise _missing("soda", missing) from missing
    with duckdb.connect() as connection:
        connection.register("data", frame)
        scan = Scan()
        scan.disable_telemetry()
        scan.add_duckdb_connection(connection, "lakefs")
        scan.set_data_source_name("lakefs")
        scan.add_sodacl_yaml_str(checks.text)
        scan.execute()
        return results(scan, name="scan")


def _readers(library: Library) -> dict[str, Callable[[io.BytesIO], Any]]:
    try:
        if library == "polars":
            import polars

            return {
                "parquet": polars.read_parquet,
                "csv": lambda content: polars.read_csv(content, infer_schema_length=None),
                "jsonl": lambda content: polars.read_ndjson(content, infer_schema_length=None),
                "json": lambda content: polars.read_json(content, infer_schema_length=None),
            }
        import pandas

        from dagster_resources.handlers.pandas import read_csv, read_json_lines
    except ImportError as missing:
        raise _missing(library, missing) from missing
    return {
        "parquet": pandas.read_parquet,
        "csv": read_csv,  # as the IO manager reads
        "jsonl": read_json_lines,
        "json": lambda content: pandas.read_json(content, dtype=False),
    }


def _missing(extra: str, error: ImportError) -> errors.ConfigurationError:
    return errors.ConfigurationError(f"{error}; install it with: pip install 'lakefs-ops[{extra}]'")


def _paths(
    path: str | Callable[[str], str], keys: list[str], definition: PartitionsDefinition | None
) -> dict[str, str]:
    """Return the path of each partition; the key is empty for a path without partitions."""
    is_template = not callable(path) and "{" in path
    if not keys and (callable(path) or (is_template and (definition is not None or "{partition}" in path))):
        raise errors.InvalidArgument(
            f"the path {getattr(path, '__name__', path)!r} has a partition, but the run has none; execute the checks"
            " in a run of a partition, together with their asset"
        )
    if callable(path):
        return {key: path(key) for key in keys}
    if not keys or not is_template:
        return {"": path}
    return {key: template_path(path, dimensions_of(key, definition)) for key in keys}


def _partition_keys(context: AssetCheckExecutionContext, definition: PartitionsDefinition | None) -> list[str]:
    """Return the partitions of an asset that the run has."""
    tags = context.run.tags
    if (partition := tags.get("dagster/partition")) is not None:
        return [partition]
    start, end = (tags.get(f"dagster/asset_partition_range_{bound}") for bound in ("start", "end"))
    if start is None or end is None or definition is None:
        return []
    if definition is None:
        return []
    with partition_loading_context(dynamic_partitions_store=context.instance):
        return list(definition.get_partition_keys_in_range(PartitionKeyRange(start, end)))


def _asset_key(asset: Any) -> AssetKey:
    if isinstance(asset, str | list | tuple):
        return AssetKey.from_coercible(asset)
    return asset if isinstance(asset, AssetKey) else asset.key


def _name(check: Any) -> str:
    name = getattr(check, "__name__", None) or getattr(check, "name", None)
    if not name:
        raise errors.InvalidArgument(
            f"a check of type {type(check).__name__!r} has no name; pass the checks as a mapping"
        )
    return str(name)
