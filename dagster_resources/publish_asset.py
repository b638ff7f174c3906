"""The publication as an asset or an op, and the report of runs that end without one.

::

    on_main = build_lakefs_publish_asset(name="on_main", deps=[raw_weather, daily_weather], repository="weather")

The asset merges the branch of the run into ``main`` after the assets that it depends on and all their checks. It needs
the resource ``lakefs`` (see `dagster_resources.resource.LakeFSResource`).
"""

# Dagster reads the annotations of the functions below, so they must not be strings.
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    DagsterRunStatus,
    DataVersion,
    DefaultSensorStatus,
    Failure,
    In,
    MaterializeResult,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    Output,
    RunStatusSensorContext,
    SensorDefinition,
    asset,
    op,
    run_status_sensor,
)

from dagster_resources.history import UNPUBLISHED, report_unpublished
from dagster_resources.metadata import publication_metadata
from dagster_resources.names import check_names
from lakefs_ops.errors import InvalidArgument, NothingToDo
from lakefs_ops.flows.choices import IF_NOTHING, STRATEGIES, check_choice

if TYPE_CHECKING:
    from dagster import AutomationCondition, BackfillPolicy, PartitionsDefinition

    from dagster_resources.publish import RunBranch
    from lakefs_ops.flows.step import IfNothing

Message = str | Callable[[Any], str] | None

LAST = {"dagster/priority": "-1000"}
"""The tag of a step that starts after all others that can start, so after the checks."""


def build_lakefs_publish_asset(
    *,
    name: str,
    deps: Iterable[Any],
    repository: str,
    base: str = "main",
    resource_key: str = "lakefs",
    message: Message = None,
    metadata: Mapping[str, str] | None = None,
    strategy: str | None = None,
    if_nothing: "IfNothing" = "fail",
    key_prefix: str | Sequence[str] | None = None,
    partitions_def: "PartitionsDefinition[str] | None" = None,
    backfill_policy: "BackfillPolicy | None" = None,
    automation_condition: "AutomationCondition[Any] | None" = None,
    group_name: str | None = None,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> AssetsDefinition:
    """Return an asset that publishes what a run wrote: it commits once, and merges the commit that the checks judged.

    It starts after its dependencies and, where the executor allows it, after all checks. It refuses if a check with the
    severity ERROR failed, if a planned check has no result, or if the branch has anything that no check judged and no
    step recorded (see `dagster_resources.publish.RunBranch.publish`); then the base is unchanged, and the branch is
    kept and linked. A refusal or a conflict is a `dagster.Failure` that is not retried.

    If the run has no check at all, because none exists or its selection leaves them out, nothing is audited: what the
    assets wrote is published, and no certificate is signed. Publishing without a check is the author's choice. Only
    objects that no step recorded are refused then, if all steps record theirs, as the IO manager does.

    The data version of the asset is the id of the merge commit. Its metadata has the branch that the run was published
    to (in an environment, the environment's own one; in a backfill, its collecting branch), the links, the assets that
    the run has written, and the dependencies that it has not written, so that they are on the base as they were.

    Args:
        name: the asset's name.
        deps: the assets to publish.
        repository: the repository's id.
        base: the branch that the run starts from and publishes to; in an environment, the environment's own one.
        resource_key: the key of the `dagster_resources.resource.LakeFSResource`.
        message: the message of the commit and the merge, or a function of the context; by default it has the asset's
            name and the partition.
        metadata: further metadata of the commit and the merge.
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        if_nothing: what to do if no asset of the run has written to the branch: ``fail``, ``skip`` (the asset is not
            materialized, and nothing downstream runs), or ``succeed`` (with the base's head as the data version).
        key_prefix: the prefix of the asset's key.
        partitions_def: the partitions; by default those of the dependencies, if all are given as definitions and have
            the same. Each run publishes the partitions it has.
        backfill_policy: by default that of the dependencies, if all have the same.
        automation_condition: when to publish automatically.
        group_name: the asset's group.
        description: the asset's description.
        tags: the asset's tags.

    Raises:
        InvalidArgument: an argument is invalid.
    """
    check_choice("strategy", strategy, STRATEGIES)
    check_choice("if_nothing", if_nothing, IF_NOTHING)
    check_names(repository=repository, base=base)
    if isinstance(deps, str) or not isinstance(deps, Iterable):
        raise InvalidArgument(f"deps must be a list of assets, such as [daily], not a {type(deps).__name__}")
    deps = list(deps)

    @asset(
        name=name,
        key_prefix=key_prefix,
        deps=deps,
        required_resource_keys={resource_key},
        partitions_def=partitions_def or _common(deps, "partitions_def"),
        backfill_policy=backfill_policy or _common(deps, "backfill_policy"),
        automation_condition=automation_condition,
        group_name=group_name,
        description=description
        or f"Publication of the run's data to the branch {base} of the repository {repository}.",
        tags=tags,
        kinds={"lakefs"},
        op_tags=LAST,
        output_required=False,
    )
    def publication(context: AssetExecutionContext) -> Iterator[MaterializeResult[None]]:
        branch = _branch(context, resource_key, repository, base)
        keys = sorted(context.assets_def.dependency_keys)
        written = branch.written()
        try:
            merge = branch.publish(
                _message(message, context, name), strategy=strategy, metadata=metadata, if_nothing=if_nothing
            )
        except NothingToDo as nothing:
            context.log.warning(str(nothing))
            return
        unchanged = branch.untouched(keys)
        for text, found in (("published to", written), ("not written by this run, so unchanged on", unchanged)):
            if found:
                context.log.info(f"{text} {branch.base!r}: {_names(found)}")
        yield MaterializeResult(
            metadata=publication_metadata(
                branch.client,
                repository,
                branch.base,
                merge,
                is_empty=branch.is_empty,
                written=_names(written),
                unchanged=_names(unchanged),
            ),
            data_version=DataVersion(merge),
        )

    return publication


def build_lakefs_publish_op(
    *,
    name: str = "publish",
    repository: str,
    base: str = "main",
    resource_key: str = "lakefs",
    message: Message = None,
    metadata: Mapping[str, str] | None = None,
    strategy: str | None = None,
    if_nothing: "IfNothing" = "fail",
) -> OpDefinition:
    """Return an op that publishes what the ops of a job wrote; see `build_lakefs_publish_asset`.

    A job of ops has no asset checks, so nothing is audited: what the ops wrote is published, and no certificate is
    signed.

    Its input ``after`` takes the ops that must succeed first, and its output is the id of the merge commit.

    Args:
        name: the op's name.
        repository: the repository's id.
        base: the branch that the run starts from and publishes to; in an environment, the environment's own one.
        resource_key: the key of the `dagster_resources.resource.LakeFSResource`.
        message: the message of the commit and the merge, or a function of the context.
        metadata: further metadata of the commit and the merge.
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        if_nothing: what to do if no op has written to the branch: ``fail``, ``skip`` (no output), or ``succeed``.

    Example:
        .. code-block:: python

            publish = build_lakefs_publish_op(repository="lake")


            @dg.job(resource_defs={"lakefs": LakeFSResource()})
            def nightly():
                publish(after=[land_north(), land_south()])

    Raises:
        InvalidArgument: an argument is invalid.
    """
    check_choice("strategy", strategy, STRATEGIES)
    check_choice("if_nothing", if_nothing, IF_NOTHING)
    check_names(repository=repository, base=base)

    @op(
        name=name,
        ins={"after": In(Nothing)},
        out=Out(str, is_required=False),
        required_resource_keys={resource_key},
        tags=LAST,
    )
    def publication(context: OpExecutionContext) -> Iterator[Output[str]]:
        branch = _branch(context, resource_key, repository, base)
        try:
            merge = branch.publish(
                _message(message, context, name), strategy=strategy, metadata=metadata, if_nothing=if_nothing
            )
        except NothingToDo as nothing:
            context.log.warning(str(nothing))
            return
        text = "nothing to publish to" if branch.is_empty else "published to"
        context.log.info(f"{text} {branch.base!r}: commit {merge}")
        yield Output(
            merge,
            metadata=publication_metadata(branch.client, repository, branch.base, merge, is_empty=branch.is_empty),
        )

    return publication


def build_lakefs_unpublished_sensor(
    *,
    name: str = "lakefs_unpublished",
    on_unpublished: Callable[[RunStatusSensorContext, Mapping[str, list[str]]], None] | None = None,
    default_status: DefaultSensorStatus = DefaultSensorStatus.STOPPED,
) -> SensorDefinition:
    """Return a sensor that reports successful runs whose data is only on their branch, because nobody published it.

    Such a run also has a warning in its log and the tag ``lakefs/unpublished``. The tick of the sensor fails with a
    message that names the branch, so that Dagster's alerts apply.

    Args:
        name: the sensor's name.
        on_unpublished: called instead of failing, with the sensor's context and, for each branch as
            ``lakefs://repository/branch``, the steps that used it.
        default_status: whether the sensor runs without being started by hand.
    """

    @run_status_sensor(run_status=DagsterRunStatus.SUCCESS, name=name, default_status=default_status)
    def unpublished(context: RunStatusSensorContext) -> None:
        found = report_unpublished(context.instance, context.dagster_run)
        if found and on_unpublished is not None:
            on_unpublished(context, found)
        elif found:
            raise Failure(f"run {context.dagster_run.run_id} succeeded, but {UNPUBLISHED.format(', '.join(found))}")

    return unpublished


def _common(deps: Iterable[Any], name: str) -> Any:
    """Return the value of an attribute that all assets have in common, None if they do not, or if it is not known."""
    values = [
        getattr(each, name, None)
        for dep in deps
        for each in (dep.specs if isinstance(dep, AssetsDefinition) and name == "partitions_def" else [dep])
    ]
    return values[0] if values and all(value == values[0] for value in values) else None


def _branch(context: Any, resource_key: str, repository: str, base: str) -> "RunBranch":
    branch: RunBranch = getattr(context.resources, resource_key).run_branch(context, repository, base=base)
    return branch


def _message(message: Message, context: Any, name: str) -> str:
    if callable(message):
        return message(context)
    tags = context.run.tags
    bounds = [tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end")]
    partition = tags.get("dagster/partition") or "...".join(filter(None, bounds))
    return message or f"Publish {name} {partition}".rstrip()


def _names(keys: Iterable[AssetKey]) -> str:
    return ", ".join(key.to_user_string() for key in keys)
