"""A Dagster backfill as one transaction: a sensor publishes what its runs have collected, with one merge.

::

    lakefs = LakeFSResource(collect_backfills=True)
    on_main = build_lakefs_publish_asset(name="on_main", deps=[days], repository="lake", partitions_def=DAYS)
    backfills = build_lakefs_backfill_sensor(publication=on_main, repository="lake")

With ``collect_backfills``, each run of a backfill starts from the backfill's collecting branch, and its publish asset
merges into that branch. Ordinary runs publish to the base. A re-execution of a run, or of a backfill, belongs
to the first backfill, also if Dagster has left out its tag.
"""

# Dagster reads the annotations of the functions below, so they must not be strings.
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    AssetsDefinition,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DefaultSensorStatus,
    Failure,
    OpExecutionContext,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
)
from dagster._core.definitions.data_version import DATA_VERSION_IS_USER_PROVIDED_TAG, DATA_VERSION_TAG
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG, ROOT_BACKFILL_ID_TAG

from dagster_resources.metadata import publication_metadata
from dagster_resources.names import check_names
from dagster_resources.sensors import sensor_client
from lakefs_ops import errors
from lakefs_ops.flows.backfill import Backfill, BackfillIncomplete, Policy, shorten
from lakefs_ops.flows.choices import POLICIES, STRATEGIES, check_choice
from lakefs_ops.flows.names import BACKFILL_PREFIX

if TYPE_CHECKING:
    from dagster_resources.resource import LakeFSResource
    from lakefs_ops.client import LakeFSClient

PAGE = 500
"""The number of events that one query of Dagster's event log returns."""

_BRANCH = re.compile(rf"{BACKFILL_PREFIX}dagster-(\w+)-[0-9a-f]{{16}}")


def backfill_key(id_: str) -> str:
    """Return the key of the collecting branch of a Dagster backfill."""
    return f"dagster/{id_}"


def backfill_id(instance: DagsterInstance, run: DagsterRun) -> str | None:
    """Return the id of the first backfill that a run belongs to, None for an ordinary run.

    Args:
        instance: the Dagster instance.
        run: the run.
    """
    root = instance.get_run_by_id(run.root_run_id) if run.root_run_id else None
    # Dagster leaves out the tags in re-executions of runs whose backfill has ended.
    for each in filter(None, (run, root)):
        if found := each.tags.get(ROOT_BACKFILL_ID_TAG) or each.tags.get(BACKFILL_ID_TAG):
            return found
    return None


def writers_elsewhere(
    instance: DagsterInstance, run: DagsterRun, asset: AssetKey, partitions: Iterable[str]
) -> list[DagsterRun]:
    """Return the other runs whose materializations of an asset are the newest; none of the run's re-executions.

    Args:
        instance: the Dagster instance.
        run: the run.
        asset: the asset.
        partitions: the partitions of the asset; empty if it has none.
    """
    selection: AssetKey | AssetRecordsFilter = asset
    count = 1
    if wanted := set(partitions):
        newest = instance.event_log_storage.get_latest_storage_id_by_partition(
            asset, DagsterEventType.ASSET_MATERIALIZATION, wanted
        )
        ids = [newest[each] for each in wanted & newest.keys()]
        selection, count = AssetRecordsFilter(asset, storage_ids=ids), len(ids)
    if not count:
        return []
    records = instance.fetch_materializations(selection, limit=count).records
    root = run.root_run_id or run.run_id
    found = {record.run_id for record in records} - {run.run_id}
    runs = instance.get_runs(RunsFilter(run_ids=list(found))) if found else []
    return [each for each in runs if (each.root_run_id or each.run_id) != root]


def partitions_of(context: OpExecutionContext) -> tuple[str, ...]:
    """Return the partitions of a run; a run without partitions has a name that no partition has.

    Args:
        context: the context of one of its steps.
    """
    if context.has_partition_key:
        return (str(context.run.tags[PARTITION_NAME_TAG]),)
    if context.has_partition_key_range:
        return tuple(map(str, context.partition_keys))
    return (f"run {context.run.root_run_id or context.run_id}",)


def build_lakefs_backfill_sensor(
    *,
    publication: AssetsDefinition | AssetKey | str,
    repository: str,
    base: str = "main",
    policy: Policy = "all",
    message: str = "",
    metadata: Mapping[str, str] | None = None,
    strategy: str | None = None,
    name: str = "lakefs_backfills",
    resource_key: str = "lakefs",
    minimum_interval_seconds: int = 30,
    default_status: DefaultSensorStatus = DefaultSensorStatus.STOPPED,
) -> SensorDefinition:
    """Return a sensor that publishes backfills whose runs have ended, each with one merge.

    Each tick reports the progress of every backfill that is collected: the number of partitions, the missing ones, and
    the page that compares the collecting branch with the base. When a backfill and its re-executions have ended, the
    policy decides about missing partitions: ``all`` keeps everything, and publishes as soon as re-executions have added
    them; ``passed`` publishes the others; ``nothing`` discards everything that was collected. A backfill that was
    canceled is never published: it is kept, or with the policy ``nothing`` discarded.

    The publication is an event of the asset ``publication`` for each partition, with links to the merge commit. The
    collecting branch is deleted when all of them are stored; after a tick that died before, the next one stores what is
    missing. A tick fails if a merge is refused, for example because of a conflict; then the backfill stays open.

    Args:
        publication: the publish asset (see `dagster_resources.publish_asset.build_lakefs_publish_asset`). The backfill
            is to publish the partitions of this asset that it targets.
        repository: the repository's id.
        base: the branch to publish to; in an environment, the environment's own one.
        policy: see `lakefs_ops.flows.backfill.Policy`.
        message: the message of the merge commit.
        metadata: further metadata of the merge commit.
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        name: the sensor's name.
        resource_key: the key of the `dagster_resources.resource.LakeFSResource`, with ``collect_backfills=True``.
        minimum_interval_seconds: seconds between two ticks.
        default_status: whether the sensor runs without being started by hand.

    Raises:
        InvalidArgument: the policy or the strategy is unknown, or the repository or the branch is not a name.
    """
    check_choice("policy", policy, POLICIES)
    check_choice("strategy", strategy, STRATEGIES)
    check_names(repository=repository, base=base)
    key = publication.key if isinstance(publication, AssetsDefinition) else AssetKey.from_coercible(publication)

    def evaluate(context: SensorEvaluationContext) -> SkipReason:
        resource: LakeFSResource = getattr(context.resources, resource_key)
        texts: list[str] = []
        refused: list[str] = []
        try:
            into = resource.branch(base, repository=repository)
            with sensor_client(resource) as client:
                for id_ in _collected(client, repository):
                    backfill = Backfill(
                        client, repository, backfill_key(id_), into=into,
                        message=message, metadata=metadata or {}, strategy=strategy,
                    )  # fmt: skip
                    if not backfill.exists():  # it has another destination
                        continue
                    try:
                        text = _tend(context, backfill, id_, key, policy)
                    except errors.TRANSIENT:
                        raise
                    except errors.LakeFSError as error:
                        text = f"backfill {id_}: {error}"
                        refused.append(text)
                    context.log.info(text)
                    texts.append(text)
        except errors.TRANSIENT as error:
            texts.append(f"lakeFS cannot be reached, the next tick tries again: {error}")
        if refused:
            raise Failure("; ".join(refused))
        return SkipReason("; ".join(texts) or "no backfill is collected")

    return SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        required_resource_keys={resource_key},
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description=f"Publishes backfills to {base!r} of the lakeFS repository {repository!r}, each with one merge.",
    )


def _collected(client: "LakeFSClient", repository: str) -> Iterator[str]:
    """Yield the ids of the backfills that have a collecting branch."""
    found = client.branches.list(repository, prefix=f"{BACKFILL_PREFIX}dagster-")
    yield from dict.fromkeys(match[1] for branch in found if (match := _BRANCH.fullmatch(branch.id)))


def _tend(context: SensorEvaluationContext, backfill: Backfill, id_: str, key: AssetKey, policy: Policy) -> str:
    """Publish a backfill if it has ended; return what is to be reported."""
    instance = context.instance
    root = instance.get_backfill(id_)
    if root is None:
        return f"backfill {id_} is not known to this Dagster instance: {backfill.url}"
    since = datetime.fromtimestamp(root.backfill_timestamp, UTC) - timedelta(minutes=1)
    later = instance.get_backfills(filters=BulkActionsFilter(created_after=since))
    group = [root, *(each for each in later if each.tags.get(ROOT_BACKFILL_ID_TAG) == id_)]
    expected = _expected(context, root, key)
    if not expected:
        return f"backfill {id_} targets no partition of {key.to_user_string()}: {backfill.url}"
    text = f"backfill {id_}: {backfill.progress(expected)}"
    ids = [each.backfill_id for each in group]
    runs = RunsFilter(tags={BACKFILL_ID_TAG: ids}, statuses=NOT_FINISHED_STATUSES)
    if any(each.status not in BULK_ACTION_TERMINAL_STATUSES for each in group) or instance.get_runs_count(runs):
        return f"{text}; it has not ended"
    if max(group, key=lambda each: each.backfill_timestamp).status == BulkActionStatus.CANCELED:
        if policy == "nothing":
            backfill.cancel(discard=True)
            return f"{text}; it was canceled, and what it collected is discarded"
        return f"{text}; it was canceled, so it is not published"
    collected: list[str] = []

    def store_events(published: str) -> None:
        found = backfill.progress(expected).collected
        collected.extend(name for name in expected if name in found)
        _store_events(instance, backfill, key, collected, published, since=root.backfill_timestamp)

    try:
        published = backfill.finish(expected, policy=policy, on_published=store_events)
    except BackfillIncomplete as incomplete:
        failed = [
            run.run_id for run in instance.get_runs(RunsFilter(tags={BACKFILL_ID_TAG: ids})) if not run.is_success
        ]
        return f"{incomplete}" + (f"; failed runs: {shorten(failed)}" if failed else "")
    url = backfill.client.links.commit(backfill.repository, published)
    return f"backfill {id_} is published with {len(collected)} of {len(expected)} partitions: {url}"


def _store_events(
    instance: DagsterInstance, backfill: Backfill, key: AssetKey, partitions: list[str], published: str, *, since: float
) -> None:
    """Store the event of each partition, except for those that an earlier tick stored before it died.

    Args:
        instance: the Dagster instance.
        backfill: the backfill.
        key: the publish asset.
        partitions: the partitions.
        published: the id of the merge commit.
        since: when the backfill started, in Unix seconds.
    """
    stored: set[str | None] = set()
    selection, cursor, more = AssetRecordsFilter(key, after_timestamp=since), None, True
    while more:
        page = instance.fetch_materializations(selection, limit=PAGE, cursor=cursor)
        events = (record.asset_materialization for record in page.records)
        stored |= {each.partition for each in events if each and (each.tags or {}).get(DATA_VERSION_TAG) == published}
        cursor, more = page.cursor, page.has_more
    details = publication_metadata(backfill.client, backfill.repository, backfill.into, published)
    version = {DATA_VERSION_TAG: published, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    for name in partitions:
        if name not in stored:
            instance.report_runless_asset_event(
                AssetMaterialization(key, partition=name, metadata=details, tags=version)
            )


def _expected(context: SensorEvaluationContext, root: PartitionBackfill, key: AssetKey) -> list[str]:
    """Return the partitions that a backfill targets: those of the publish asset, or of the job."""
    if not root.is_asset_backfill:
        return list(root.partition_names or [])
    if context.repository_def is None:
        raise errors.InvalidArgument("the sensor needs the repository of its definitions")
    with partition_loading_context(dynamic_partitions_store=context.instance):
        target: Any = root.get_asset_backfill_data(context.repository_def.asset_graph).target_subset
        subset = target.partitions_subsets_by_asset_key.get(key)
        return [] if subset is None else sorted(subset.get_partition_keys())
