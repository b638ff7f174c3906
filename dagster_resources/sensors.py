"""Factories of sensors that launch runs for changes in lakeFS: commits, objects, tags and pull requests.

The first tick only remembers the present state, unless ``start`` has another value. The cursor is JSON and has the
watermark: what was handled. A sensor that gets another repository or branch starts over. The cursor of a commit sensor
may also be set to the commit or ref to start after, as a text or as ``{"after": ...}``. While lakeFS cannot be reached,
ticks are skipped with a reason; the next one continues.

Each run has the tags ``lakefs/repository``, ``lakefs/ref`` and ``lakefs/commit_id`` of the change. The run key is
derived from the change, so Dagster launches one run for each change at most.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, Unpack

from dagster import DefaultSensorStatus, RunRequest, SensorDefinition, SensorEvaluationContext, SensorResult, SkipReason

from dagster_resources.names import check_names
from lakefs_ops import errors
from lakefs_ops.flows.conditions import MatchingCommits
from lakefs_ops.flows.partitions import ChangedPartition, changed_partitions

if TYPE_CHECKING:
    from dagster import AddDynamicPartitionsRequest, DagsterInstance, DeleteDynamicPartitionsRequest

    from dagster_resources.partitions import LakeFSPartitions
    from dagster_resources.resource import LakeFSResource
    from lakefs_ops.client import LakeFSClient

    DynamicRequests = list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest]

MAX_RUNS = 100
"""Default maximum number of runs that one tick of a sensor requests; the next tick continues."""

TIMEOUT = 20.0
"""Timeout for one call of a sensor, in seconds. Dagster ends a tick after 60 s by default."""

WATERMARKS = ("after", "missing_since")
"""The fields of a condition for commits that the cursor has."""

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LakeFSChange:
    """A change that a sensor launches a run for.

    Attributes:
        key: identifies the change; it becomes the run key.
        repository: the repository's id.
        ref: the branch or the tag.
        commit_id: the id of the commit, None for an uncommitted object or an open pull request.
        partition_key: the key of the partition that changed, None without partitions.
        removed: whether nothing of the partition is left.
        tags: further tags of the run.
    """

    key: str
    repository: str
    ref: str
    commit_id: str | None = None
    partition_key: str | None = None
    removed: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


BuildRequest = Callable[[LakeFSChange], RunRequest]
"""Returns the run request for a change; the sensor adds run key, partition key and tags."""


class SensorOptions(TypedDict, total=False):
    """Arguments that all factories of sensors have.

    Attributes:
        target: the assets or the job to launch, as for `dagster.SensorDefinition`.
        request: returns the run request for a change, for example to configure the run.
        resource_key: the key of the `LakeFSResource`, ``lakefs`` by default.
        max_runs: maximum number of runs that one tick requests, `MAX_RUNS` by default.
        minimum_interval_seconds: seconds between two ticks, 30 by default.
        default_status: whether the sensor runs as soon as it is loaded; stopped by default.
        description: the description in Dagster's UI.
    """

    target: Any
    request: BuildRequest
    resource_key: str
    max_runs: int
    minimum_interval_seconds: int
    default_status: DefaultSensorStatus
    description: str


@dataclass(frozen=True, slots=True)
class _Tick:
    """What a watcher has for one evaluation: a client, the branch names of the environment, and the last state."""

    client: LakeFSClient
    resource: LakeFSResource
    instance: DagsterInstance
    max_runs: int
    state: State | None


@dataclass(slots=True)
class _Found:
    """The changes that a watcher found, a sentence about them, and the state for the next tick."""

    reason: str
    state: State
    changes: list[LakeFSChange] = field(default_factory=list)
    dynamic: DynamicRequests = field(default_factory=list)


class _Watcher(Protocol):
    def poll(self, tick: _Tick) -> _Found: ...


def build_lakefs_commit_sensor(
    *,
    name: str,
    repository: str,
    branch: str = "main",
    metadata: Mapping[str, str] | None = None,
    message: str | None = None,
    prefix: str | None = None,
    partitions: LakeFSPartitions | None = None,
    run_removed: bool = True,
    start: str = "now",
    **options: Unpack[SensorOptions],
) -> SensorDefinition:
    """Return a sensor that launches runs for new commits on a branch.

    Without partitions, each commit that matches gets one run, oldest first. With partitions, each partition that the
    commits since the last tick changed gets one run, with the newest of these commits. So the revert of a commit runs
    exactly the partitions that the revert touched, and a change that was reverted between two ticks runs nothing.
    A partition that does not exist yet, such as a month that has not ended, gets its run when it exists. Missing
    dynamic partitions are added. Objects that belong to no partition of the definition are ignored.

    Args:
        name: the sensor's name.
        repository: the repository's id.
        branch: the branch; in an environment, the environment's own one. If it does not exist at the first tick, the
            commits since then count, and with partitions everything on it.
        metadata: keys and values that a commit must have.
        message: a regular expression that must match somewhere in the commit's message.
        prefix: a commit must change an object with this prefix.
        partitions: the partitions and their paths.
        run_removed: also run partitions that were removed.
        start: ``now`` to handle only commits after the first tick, ``beginning`` to handle all commits of the branch
            (with partitions: everything on it), or the commit or ref to start after.
        **options: see `SensorOptions`.

    Examples:
        .. code-block:: python

            build_lakefs_commit_sensor(
                name="new_weather", repository="weather", prefix="daily/", target=dg.AssetSelection.groups("reports")
            )
    """
    check_names(repository=repository, branch=branch)
    condition = MatchingCommits(
        repository=repository, branch=branch, metadata=dict(metadata or {}), message=message, prefix=prefix
    )
    watcher: _Watcher = _Commits(condition, start)
    if partitions is not None:
        watcher = _Partitions(condition, start, partitions, run_removed)
    return _sensor(name, watcher, options, f"Commits on {branch!r} of the lakeFS repository {repository!r}.")


def build_lakefs_object_sensor(
    *,
    name: str,
    repository: str,
    path: str,
    branch: str = "main",
    start: Literal["now", "beginning"] = "now",
    **options: Unpack[SensorOptions],
) -> SensorDefinition:
    """Return a sensor that launches a run each time an object is written, committed or not.

    If an object is written several times between two ticks, one run is launched. For many objects, use a commit sensor
    with partitions.

    Args:
        name: the sensor's name.
        repository: the repository's id.
        path: the object's path.
        branch: the branch; in an environment, the environment's own one.
        start: ``beginning`` launches a run for an object that exists at the first tick, too.
        **options: see `SensorOptions`.
    """
    check_names(repository=repository, branch=branch)
    watcher = _Object(repository, branch, path, start)
    return _sensor(name, watcher, options, f"Object {path!r} on {branch!r} of the lakeFS repository {repository!r}.")


def build_lakefs_tag_sensor(
    *,
    name: str,
    repository: str,
    prefix: str = "",
    start: Literal["now", "beginning"] = "now",
    **options: Unpack[SensorOptions],
) -> SensorDefinition:
    """Return a sensor that launches a run for each new tag.

    A tag that was deleted and created again at another commit counts as new. The cursor has the names of all tags with
    the prefix.

    Args:
        name: the sensor's name.
        repository: the repository's id.
        prefix: only tags whose names start with this.
        start: ``beginning`` launches runs for tags that exist at the first tick, too.
        **options: see `SensorOptions`.
    """
    check_names(repository=repository)
    watcher = _Tags(repository, prefix, start)
    return _sensor(name, watcher, options, f"Tags {prefix}* of the lakeFS repository {repository!r}.")


def build_lakefs_pull_request_sensor(
    *,
    name: str,
    repository: str,
    status: Literal["open", "merged", "closed"] = "merged",
    destination_branch: str | None = None,
    start: Literal["now", "beginning"] = "now",
    **options: Unpack[SensorOptions],
) -> SensorDefinition:
    """Return a sensor that launches a run for each pull request that gets a status.

    Runs have the tags ``lakefs/pull_request`` and ``lakefs/source_branch``. A pull request that is opened and merged
    between two ticks is never seen as open.

    Args:
        name: the sensor's name.
        repository: the repository's id.
        status: ``open``, ``merged``, or ``closed`` without a merge.
        destination_branch: only pull requests into this branch; in an environment, the environment's own one.
        start: ``beginning`` launches runs for pull requests that have the status at the first tick, too.
        **options: see `SensorOptions`.
    """
    check_names(repository=repository)
    watcher = _PullRequests(repository, status, destination_branch, start)
    return _sensor(name, watcher, options, f"Pull requests of {repository!r} in lakeFS that are {status}.")


# the sensor ---------------------------------------------------------------------------------------------------------


def _sensor(name: str, watcher: _Watcher, options: SensorOptions, description: str) -> SensorDefinition:
    resource_key = options.get("resource_key", "lakefs")
    max_runs, build = options.get("max_runs", MAX_RUNS), options.get("request")

    def evaluate(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        resource: LakeFSResource = getattr(context.resources, resource_key)
        try:
            with sensor_client(resource) as client:
                state = _load(context.cursor)
                found = watcher.poll(_Tick(client, resource, context.instance, max_runs, state))
        except errors.TRANSIENT as error:
            return SkipReason(f"lakeFS cannot be reached, the next tick tries again: {error}")
        return SensorResult(
            run_requests=[_run_request(change, build) for change in found.changes],
            skip_reason=None if found.changes else SkipReason(found.reason),
            cursor=json.dumps(found.state),
            dynamic_partitions_requests=found.dynamic,
        )

    return SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        target=options.get("target"),
        required_resource_keys={resource_key},
        minimum_interval_seconds=options.get("minimum_interval_seconds", 30),
        default_status=options.get("default_status", DefaultSensorStatus.STOPPED),
        description=options.get("description", description),
    )


def _run_request(change: LakeFSChange, build: BuildRequest | None) -> RunRequest:
    request = build(change) if build else RunRequest()
    tags = {"lakefs/repository": change.repository, "lakefs/ref": change.ref, **change.tags, **request.tags}
    if change.commit_id is not None:
        tags["lakefs/commit_id"] = change.commit_id
    if change.removed:
        tags["lakefs/removed"] = "true"
    return request.with_replaced_attrs(
        run_key=change.key, partition_key=change.partition_key or request.partition_key, tags=tags
    )


def sensor_client(resource: LakeFSResource) -> LakeFSClient:
    """Return a client that fails before Dagster ends the tick; the next tick tries again anyway."""
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.config import Retries, Timeouts

    config = resource.get_client().config
    timeouts = Timeouts(connect=min(5.0, config.timeouts.connect), read=TIMEOUT, total=TIMEOUT)
    return LakeFSClient(config=replace(config, retries=Retries(count=1, budget=1.0), timeouts=timeouts))


def _load(cursor: str | None) -> State | None:
    """Return the state in a cursor. A text that is not JSON is a commit or ref that somebody has set as the cursor."""
    if not cursor or not cursor.strip():
        return None
    try:
        state = json.loads(cursor)
    except ValueError:
        state = None
    return state if isinstance(state, dict) else {"after": cursor.strip()}


def _same(state: State | None, **identity: str) -> State | None:
    """Return the state if an earlier tick stored it for what is watched; otherwise the sensor starts over.

    Raises:
        InvalidArgument: the state is only a commit or ref.
    """
    if state is not None and set(state) == {"after"}:
        raise errors.InvalidArgument(
            f"the cursor {state['after']!r} is a commit or ref, and only the commit sensor can start after one; clear"
            " the cursor of this sensor to start over"
        )
    if state is None or any(state.get(name) != value for name, value in identity.items()):
        return None
    return state


# the watchers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Commits:
    """Its state has the watermarks of the condition."""

    condition: MatchingCommits
    start: str

    def poll(self, tick: _Tick) -> _Found:
        condition, state = self._begin(tick)
        commits, condition, reason = self._new_commits(tick, condition)
        repository, branch = condition.repository, condition.branch
        changes = [LakeFSChange(f"{repository}/{branch}/{id_}", repository, branch, id_) for id_ in commits]
        return _Found(reason, state | _watermarks(condition), changes)

    def _begin(self, tick: _Tick) -> tuple[MatchingCommits, State]:
        """Return the condition with the watermarks of the state, and the state."""
        repository = self.condition.repository
        branch = tick.resource.branch(self.condition.branch, repository=repository)
        identity = {"repository": repository, "branch": branch}
        state = tick.state if set(tick.state or ()) == {"after"} else _same(tick.state, **identity)
        if state is None or "after" not in state:
            state = {"after": {"now": None, "beginning": ""}.get(self.start, self.start)}
        known = {name: state[name] for name in WATERMARKS if name in state}
        return MatchingCommits(**self.condition.model_dump() | known | {"branch": branch}), state | identity

    def _new_commits(self, tick: _Tick, condition: MatchingCommits) -> tuple[list[str], MatchingCommits, str]:
        """Return the ids of the commits that match, oldest first, the condition to poll next, and a reason."""
        verdict = condition.poll(tick.client)
        commits = [str(commit["commit_id"]) for commit in verdict.found.get("commits", [])]
        known: MatchingCommits = verdict.condition
        if len(commits) > tick.max_runs:
            commits = commits[: tick.max_runs]
            known = known.model_copy(update={"after": commits[-1]})
        return commits, known, verdict.reason


@dataclass(frozen=True, slots=True)
class _Partitions(_Commits):
    """Its state also has the partitions whose run is still to be requested: commit, run key, and whether removed."""

    partitions: LakeFSPartitions
    run_removed: bool

    def poll(self, tick: _Tick) -> _Found:
        condition, state = self._begin(tick)
        repository, branch = condition.repository, condition.branch
        count, pending = state.get("count", 0), dict(state.get("pending", {}))
        changed, known, reason = self._changed(tick, condition)
        # The number tells two equal moves of the branch apart, with a reset in between.
        count += bool(changed)
        for commit_id, partition in changed:
            if (name := self.partitions.key_of(partition.keys)) is None:
                continue
            key = str(name)
            pending.pop(key, None)
            if self.run_removed or not partition.removed:
                run_key = f"{repository}/{branch}/{condition.after or ''}..{commit_id}/{count}/{key}"
                pending[key] = (commit_id, run_key, partition.removed)
        later: dict[str, tuple[str, str, bool]] = {}
        found = _Found(reason, state | _watermarks(known) | {"count": count, "pending": later})
        for key, (commit_id, run_key, removed) in pending.items():
            existence = self.partitions.existence(key, tick.instance)
            if existence == "never" or (existence == "dynamic" and removed):
                continue
            if existence == "later" or len(found.changes) >= tick.max_runs:
                later[key] = (commit_id, run_key, removed)
            else:
                found.changes.append(LakeFSChange(run_key, repository, branch, commit_id, key, removed))
        found.dynamic = self.partitions.add_requests([str(each.partition_key) for each in found.changes], tick.instance)
        return found

    def _changed(
        self, tick: _Tick, condition: MatchingCommits
    ) -> tuple[list[tuple[str, ChangedPartition]], MatchingCommits, str]:
        """Return the partitions that changed, each with the commit, the condition to poll next, and a reason."""
        client, repository, template = tick.client, condition.repository, self.partitions.template

        def changed(left: str | None, right: str) -> list[tuple[str, ChangedPartition]]:
            return [(right, each) for each in changed_partitions(client, repository, template, left, right)]

        if condition.metadata or condition.message or condition.prefix:
            ids, known, reason = self._new_commits(tick, condition)
            commits = [client.commits.get(repository, id_) for id_ in ids]
            return (
                [each for commit in commits for each in changed(commit.first_parent, commit.id)],
                known,
                reason,
            )
        if not condition.is_resolved:
            condition = condition.resolved(client)
        try:
            head = client.branches.get(repository, condition.branch).commit_id
        except errors.BranchNotFound:
            # Everything on the branch will be new.
            return [], condition.model_copy(update={"after": condition.after or ""}), "the branch does not exist yet"
        known, reason = condition.model_copy(update={"after": head}), f"no partition has changed up to commit {head}"
        if condition.after in (None, head):
            return [], known, reason
        return changed(condition.after or None, head), known, reason


def _watermarks(condition: MatchingCommits) -> State:
    return condition.model_dump(mode="json", include=set(WATERMARKS))


@dataclass(frozen=True, slots=True)
class _Object:
    repository: str
    branch: str
    path: str
    start: str

    def poll(self, tick: _Tick) -> _Found:
        branch = tick.resource.branch(self.branch, repository=self.repository)
        identity = {"repository": self.repository, "branch": branch, "path": self.path}
        state = _same(tick.state, **identity)
        where = f"{self.path!r} on {branch!r} of {self.repository!r}"
        try:
            stats = tick.client.objects.stat(self.repository, branch, self.path)
        except errors.NotFound as error:
            number = state.get("number", 0) if state else 0
            return _Found(f"{where} does not exist: {error.reason}", {**identity, "version": "", "number": number})
        version = f"{stats.checksum}-{stats.mtime}"
        first = state is None
        state = state or {"version": "", "number": 0}
        if (first and self.start == "now") or state["version"] == version:
            return _Found(f"{where} has not changed", {**identity, "version": version, "number": state["number"]})
        number = state["number"] + 1
        change = LakeFSChange(
            f"{self.repository}/{branch}/{self.path}/{version}/{number}", self.repository, branch,
            tags={"lakefs/path": self.path},
        )  # fmt: skip
        return _Found("", {**identity, "version": version, "number": number}, [change])


@dataclass(frozen=True, slots=True)
class _Tags:
    repository: str
    prefix: str
    start: str

    def poll(self, tick: _Tick) -> _Found:
        identity = {"repository": self.repository, "prefix": self.prefix}
        state = _same(tick.state, **identity)
        tags = {tag.id: tag.commit_id for tag in tick.client.tags.list(self.repository, prefix=self.prefix or None)}
        known: dict[str, str] = dict(tags) if state is None and self.start == "now" else (state or {}).get("tags", {})
        new = [tag for tag, commit in tags.items() if known.get(tag, "") != commit][: tick.max_runs]
        handled = {tag: commit for tag, commit in tags.items() if tag in new or known.get(tag) == commit}
        # The number tells a tag from one that was at the same commit before it was deleted.
        count = (state or {}).get("count", 0) + bool(new)
        changes = [
            LakeFSChange(f"{self.repository}/{tag}@{tags[tag]}/{count}", self.repository, tag, tags[tag]) for tag in new
        ]
        found = {**identity, "tags": handled, "count": count}
        return _Found(f"no new tag {self.prefix}* of {self.repository!r}", found, changes)


@dataclass(frozen=True, slots=True)
class _PullRequests:
    repository: str
    status: Literal["open", "merged", "closed"]
    destination: str | None
    start: str

    def poll(self, tick: _Tick) -> _Found:
        destination = self.destination and tick.resource.branch(self.destination)
        identity = {"repository": self.repository, "status": self.status}
        state = _same(tick.state, **identity)
        if state is not None and state.get("destination", destination) != destination:
            state = None
        listing = tick.client.pulls.list(self.repository, status="open" if self.status == "open" else "closed")
        pulls = [
            pull for pull in listing if pull.status == self.status and destination in (None, pull.destination_branch)
        ][::-1]
        known: Iterable[str] = [] if state is None else state.get("ids", [])
        if state is None and self.start == "now":
            known = [pull.id for pull in pulls]
        new = [pull for pull in pulls if pull.id not in set(known)][: tick.max_runs]
        # The number tells apart the times at which a pull request gets the status, if it was opened again.
        count = (state or {}).get("count", 0) + bool(new)
        changes = [
            LakeFSChange(
                f"{self.repository}/{pull.id}/{self.status}/{count}", self.repository, pull.destination_branch,
                tick.client.pulls.get(self.repository, pull.id).merged_commit_id or None,
                tags={"lakefs/pull_request": pull.id, "lakefs/source_branch": pull.source_branch},
            )
            for pull in new
        ]  # fmt: skip
        present = {pull.id for pull in pulls}
        ids = [*(id for id in known if id in present), *(pull.id for pull in new)]
        return _Found(
            f"no new pull request of {self.repository!r} is {self.status}",
            {**identity, "destination": destination, "ids": ids, "count": count},
            changes,
        )
