"""The event logs of a run and of all its re-executions: what their steps did with lakeFS, and their checks' results.

Every use of a run's branch is recorded as an event in the run's log. So a publication can tell which commit or which
objects a check judged, although it runs in another step, another process, or another re-execution.

Events are in the order in which the event log stored them, so the clocks of the hosts do not matter. Only SQLite, which
has one log for each run and one host, leaves the order of different runs to that host's clock.
"""

from __future__ import annotations

import heapq
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from dagster import AssetCheckSeverity, DagsterEventType, MetadataValue, RunsFilter
from dagster._core.events import EngineEventData

if TYPE_CHECKING:
    from dagster import (
        AssetCheckEvaluation,
        AssetCheckKey,
        AssetKey,
        DagsterEvent,
        DagsterInstance,
        DagsterRun,
        EventLogEntry,
        EventLogRecord,
    )

MAX_WAIT = 600.0
"""Maximum time for which a publication waits for running checks and steps, in seconds."""

MIN_PAUSE, MAX_PAUSE = 0.5, 10.0
"""Limits of the pause between two readings of the event logs, in seconds: a tenth of the wait until then."""

UNPUBLISHED_TAG = "lakefs/unpublished"
"""The tag of a run that succeeded without publishing what it wrote: the branches, as ``lakefs://repository/branch``."""

UNPUBLISHED = (
    "nothing has published what it wrote: the data is only on {}, which is kept; publish it with"
    " build_lakefs_publish_asset or RunBranch.publish, in a re-execution of the run"
)
"""The warning about such a run, with a place for the branches."""

OBJECTS_OF_AN_EVENT = 1000
"""Maximum number of objects that one event lists; a step that uses more has several events."""

Action = Literal["opened", "wrote", "sealed", "read", "loaded", "peeked", "merging", "published"]
StepId = tuple[str, str]
"""The run and the key of a step."""
Output = tuple[str, str]
"""The key of a step and the name of its output."""

_STARTS = {DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED}
_ENDS = {
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.STEP_UP_FOR_RETRY,
    DagsterEventType.STEP_SKIPPED,
}
_WRITES = ("opened", "wrote", "sealed")
_GREEN = (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_SKIPPED)
_LAUNCHES = {DagsterEventType.STEP_WORKER_STARTING, *_STARTS}
_PLANS = {DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED}
_MATERIALIZATION = DagsterEventType.ASSET_MATERIALIZATION
_RESULTS = {_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION}
_TYPES = {DagsterEventType.ENGINE_EVENT, DagsterEventType.STEP_OUTPUT, *_LAUNCHES, *_ENDS, *_PLANS, *_RESULTS}
_UNRESOLVED = "[?]"
"""The end of the key of a step that a dynamic output maps; the keys of the steps that run have its mapping key."""
ADDRESS, ACTION, COMMIT, OBJECTS = "lakefs/run_branch", "lakefs/action", "lakefs/commit_id", "lakefs/contents"
ASSET = "lakefs/asset"
"""The metadata of the event of a `Record`."""

Contents = Mapping[str, str | None]
"""For each path, the checksum of the object, or None if it was deleted."""


class Event(NamedTuple):
    """An event of the log, with its place in the order of all events of the runs."""

    place: int
    type: DagsterEventType
    step: StepId
    entry: EventLogEntry

    @property
    def dagster_event(self) -> DagsterEvent:
        """The event."""
        return self.entry.get_dagster_event()


@dataclass(frozen=True, slots=True)
class Record:
    """What a step did with a run's branch.

    Attributes:
        action: ``opened`` it, ``wrote`` objects, ``sealed`` its changes in a commit, ``read`` a commit to check it,
            ``loaded`` objects, ``peeked`` at the branch while it had uncommitted changes, started ``merging`` a commit,
            or ``published`` a merge commit.
        commit: the id of the commit, for ``opened`` that of the head; empty for ``wrote``, ``loaded`` and ``peeked``.
        step: the step.
        place: the place in the order of all events.
        objects: the objects that the step wrote or loaded.
        asset: the asset that the objects belong to, if known; otherwise empty.
    """

    action: Action
    commit: str
    step: StepId
    place: int
    objects: Contents = field(default_factory=dict)
    asset: str = ""


@dataclass(frozen=True, slots=True)
class PassedCheck:
    """A check that passed.

    Attributes:
        name: the check and its asset, for messages.
        commit: the id of the commit that the check judged; None if it judged objects, or nothing that is known.
        objects: the objects that the check judged, if it did not judge a commit.
        needed: whether the asset is on the run's branch, so that the check must have judged a commit or objects.
        complete: whether the commit has everything that the asset wrote.
        peeked: whether the check may have read uncommitted changes of the branch.
        warned: whether the check failed with the severity WARN.
    """

    name: str
    commit: str | None
    objects: Contents
    needed: bool
    complete: bool
    peeked: bool = False
    warned: bool = False


def record(
    instance: DagsterInstance,
    run: DagsterRun,
    step_key: str,
    address: str,
    action: Action,
    commit: str = "",
    objects: Contents | None = None,
    asset: str = "",
) -> None:
    """Record in the run's log what a step did with a run's branch.

    Args:
        instance: the Dagster instance.
        run: the run.
        step_key: the key of the step.
        address: the branch, as ``lakefs://repository/branch``.
        action: see `Record`.
        commit: the id of the commit.
        objects: the objects that the step wrote or loaded.
        asset: the asset that the objects belong to.
    """
    items = list((objects or {}).items())
    parts = [dict(items[at : at + OBJECTS_OF_AN_EVENT]) for at in range(0, len(items), OBJECTS_OF_AN_EVENT)]
    for part in [{}] if objects is None else parts:
        metadata = {
            ADDRESS: address,
            ACTION: action,
            COMMIT: commit,
            **({OBJECTS: json.dumps(part)} if part else {}),
            **({ASSET: asset} if asset else {}),
        }
        detail = f"{len(part)} objects, such as {next(iter(part))}" if part else commit[:12]
        instance.report_engine_event(
            f"lakeFS: {action} {detail} ({address})",
            run,
            EngineEventData(metadata={key: MetadataValue.text(value) for key, value in metadata.items()}),
            step_key=step_key,
        )


def contents(records: Iterable[Record], action: Action) -> dict[str, str | None]:
    """Return the newest content of each object that steps wrote or loaded.

    Args:
        records: the records, from the oldest to the newest.
        action: ``wrote`` or ``loaded``.
    """
    found: dict[str, str | None] = {}
    for entry in records:
        if entry.action == action:
            found |= entry.objects
    return found


def written_twice(records: Iterable[Record]) -> tuple[str, str, str] | None:
    """Return an object that two assets wrote, and these assets; None if no object has two."""
    assets: dict[str, str] = {}
    for entry in records:
        for path in entry.objects if entry.asset and entry.action == "wrote" else ():
            if (other := assets.setdefault(path, entry.asset)) != entry.asset:
                return path, other, entry.asset
    return None


def unpublished(records: list[Record]) -> list[Record]:
    """Return the records since the newest publication."""
    published = [at for at, entry in enumerate(records) if entry.action == "published"]
    return records[published[-1] + 1 :] if published else records


class History:
    """The events of a root run and of all its re-executions, siblings included, in their order.

    Args:
        instance: the Dagster instance.
        run: one of the runs.
        alone: read only the events of this run.
    """

    def __init__(self, instance: DagsterInstance, run: DagsterRun, *, alone: bool = False) -> None:
        self._instance = instance
        self._runs = [run] if alone else run_group(instance, run.root_run_id or run.run_id)
        self._finished = {run.run_id for run in self._runs if run.is_finished}
        self._events = [
            Event(place, entry.get_dagster_event().event_type, (entry.run_id, entry.step_key or ""), entry)
            for place, entry in enumerate(_ordered(instance, [run.run_id for run in self._runs]))
        ]

    @property
    def has_ended(self) -> bool:
        """Whether all of the runs have ended."""
        return len(self._finished) == len(self._runs)

    def records(self, address: str) -> list[Record]:
        """Return what the steps did with a branch.

        Args:
            address: the branch, as ``lakefs://repository/branch``.
        """
        return self._records.get(address, [])

    def addresses(self) -> list[str]:
        """Return the branches that the steps wrote to, as ``lakefs://repository/branch``."""
        return [address for address, found in self._records.items() if any(each.action in _WRITES for each in found)]

    def left_behind(self, run_id: str) -> dict[str, list[str]]:
        """Return the branches that the runs used and did not publish, if all steps of a run succeeded or were skipped.

        Args:
            run_id: the run.

        Returns:
            For each branch, as ``lakefs://repository/branch``, the keys of the steps that used it.
        """
        last = {event.step[1]: event.type for event in self._of(*_LAUNCHES, *_ENDS) if event.step[0] == run_id}
        planned = {step for step in self._inputs.get(run_id, ()) if not step.endswith(_UNRESOLVED)}
        if any(last.get(step) not in _GREEN for step in {*planned, *last} - self._skipped(run_id)):
            return {}
        found = {}
        for address, records in self._records.items():
            steps = {entry.step[1] for entry in unpublished(records) if entry.action in _WRITES}
            if steps and any(entry.step[0] == run_id for entry in unpublished(records)):
                found[address] = sorted(steps)
        return found

    def written(self, address: str) -> list[AssetKey]:
        """Return the assets that are written to a branch and not published, or else those of its newest publication.

        Args:
            address: the branch, as ``lakefs://repository/branch``.
        """
        records = self.records(address)
        new = unpublished(records)
        if not any(entry.action in _WRITES for entry in new):  # a step publishes again what it has published
            new = unpublished(records[: -len(new) - 1])
        used = {entry.step for entry in new if entry.action in _WRITES}
        assets: dict[StepId, set[str]] = defaultdict(set)
        for entry in new:
            if entry.action == "wrote":
                assets[entry.step].add(entry.asset)
        materialized = {(each.step, each.dagster_event.asset_key) for each in self._of(_MATERIALIZATION)}
        return sorted(
            {
                key
                for step, key in materialized
                if key and step in used and (not assets[step] or {"", key.to_user_string()} & assets[step])
            }
        )

    def is_unpublished(self, asset: AssetKey, address: str) -> bool:
        """Return whether an asset is written to a branch and not published.

        Args:
            asset: the asset.
            address: the branch, as ``lakefs://repository/branch``.
        """
        used = {entry.step for entry in unpublished(self.records(address)) if entry.action in _WRITES}
        return bool(self._writers(asset) & used)

    def untouched(self, keys: Iterable[AssetKey]) -> list[AssetKey]:
        """Return the assets whose steps used no branch of any repository.

        Args:
            keys: the assets.
        """
        used = {entry.step for records in self._records.values() for entry in records}
        return [key for key in keys if not self._writers(key) & used]

    @cached_property
    def _records(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for event in self._of(DagsterEventType.ENGINE_EVENT):
            metadata = {key: str(each.value) for key, each in event.dagster_event.engine_event_data.metadata.items()}
            if (address := metadata.get(ADDRESS)) is not None:
                action, objects = cast("Action", metadata[ACTION]), json.loads(metadata.get(OBJECTS, "{}"))
                asset = metadata.get(ASSET, "")
                entry = Record(action, metadata[COMMIT], event.step, event.place, objects, asset)
                found.setdefault(address, []).append(entry)
        return found

    def checks(self, before: str, address: str) -> dict[AssetCheckKey, list[Event]]:
        """Return the plans of each check that concerns a publication.

        A check does not if it runs in or after the step that publishes, or if its asset is materialized by a step that
        neither used the branch nor is upstream of the publication.

        Args:
            before: the key of the step that publishes.
            address: the branch, as ``lakefs://repository/branch``.
        """
        concerned = {entry.step[1] for entry in self.records(address)}
        concerned.update(*(self._upstream(run.run_id, before) for run in self._runs))
        found: dict[AssetCheckKey, list[Event]] = defaultdict(list)
        for plan in self._of(DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED):
            key = plan.dagster_event.asset_check_planned_data.asset_check_key
            writers = {step for _, step in self._writers(key.asset_key)}
            if before not in self._upstream(*plan.step) and (not writers or writers & concerned):
                found[key].append(plan)
        return found

    def missing(self, key: AssetCheckKey, plans: list[Event]) -> str | None:
        """Return why a check has no valid result, or None if it has one, passed or not.

        Args:
            key: the check.
            plans: its plans, see `checks`.
        """
        newest = self._newest(key)
        since = newest.place if newest else -1
        attempts = any(start.place > since for plan in plans for start in self._of(*_STARTS, step=plan.step))
        waiting = any(plan.place > since and plan.step[0] not in self._finished for plan in plans)
        if newest is None or attempts or waiting:
            if {plan.step for plan in plans} <= {event.step for event in self._of(DagsterEventType.STEP_SKIPPED)}:
                asset = key.asset_key.to_user_string()
                return f"was skipped, because {asset!r} had no output: yield one, with the value None if it has no data"
            return "has no result"
        changes = [event for event in self._changes(key.asset_key) if event.step != newest.step]
        if changes and changes[-1].place > since:
            return f"is older than the newest data of {key.asset_key.to_user_string()!r}"
        return None

    def pending(self, before: str, address: str) -> list[str]:
        """Return the checks whose results can still come, and the running steps that use the branch, for messages.

        The result of a check can still come if its run is not finished, and a step of it is running.

        Args:
            before: the key of the step that publishes, which does not count.
            address: the branch, as ``lakefs://repository/branch``.
        """
        last = {event.step: event.type for event in self._of(*_LAUNCHES, *_ENDS)}
        running = {run_id for (run_id, key), type_ in last.items() if key != before and type_ in _LAUNCHES}
        checks = [
            name_of(key)
            for key, plans in self.checks(before, address).items()
            if self.missing(key, plans) and {plan.step[0] for plan in plans} & running - self._finished
        ]
        steps = [f"step {key!r}" for key, is_running in self.unfinished(before, address).items() if is_running]
        return [*checks, *steps]

    def unfinished(self, before: str, address: str) -> dict[str, bool]:
        """Return the steps that used the branch since its newest publication and did not succeed.

        Args:
            before: the key of the step that publishes, which does not count.
            address: the branch, as ``lakefs://repository/branch``.

        Returns:
            For the key of each step, whether it is running.
        """
        used = unpublished(self.records(address))
        keys = {entry.step[1] for entry in used if entry.action in ("opened", "wrote")} - {before}
        last = {event.step[1]: event for event in self._of(*_LAUNCHES, *_ENDS)}
        return {
            key: last[key].type in _LAUNCHES and last[key].step[0] not in self._finished
            for key in sorted(keys)
            if key in last and last[key].type != DagsterEventType.STEP_SUCCESS
        }

    def failed(self, key: AssetCheckKey) -> bool:
        """Return whether the newest results of a check, one for each partition, have an error.

        Args:
            key: the check.
        """
        return any(each.severity == AssetCheckSeverity.ERROR for each in self._problems(key))

    def _problems(self, key: AssetCheckKey) -> list[AssetCheckEvaluation]:
        """Return the newest results of a check, one for each partition, that did not pass."""
        newest = self._newest(key)
        if newest is None:
            return []
        since = self._started(newest)
        results = (event for event in self._evaluations[key] if event.step == newest.step and event.place >= since)
        return [_evaluation(event) for event in results if not _evaluation(event).passed]

    def verdict(self, key: AssetCheckKey, records: list[Record]) -> PassedCheck:
        """Return the newest result of a check that passed, with the commit or the objects that it judged.

        That is the commit or the objects that the check read. A check that read neither judged the commit that its step
        sealed, or else the newest one that was sealed before its step started, if that has everything that its asset
        wrote. Otherwise it judged the objects that its asset is recorded to have written until then.

        Args:
            key: the check.
            records: the records of the run's branch.
        """
        result = self._newest(key)
        assert result is not None
        warned = bool(self._problems(key))
        since, writers, changes = self._started(result), self._writers(key.asset_key), self._changes(key.asset_key)
        mine = [entry for entry in records if entry.step == result.step and since <= entry.place <= result.place]
        read = [entry.commit for entry in mine if entry.action == "read"]
        sealed = [entry.commit for entry in mine if entry.action == "sealed"]
        before = [entry.commit for entry in records if entry.action == "sealed" and entry.place <= since]
        commit = read[0] if read else next(reversed(sealed or before), None)
        complete = not changes or any(
            entry.action == "sealed"
            and entry.commit == commit
            and (entry.step == changes[-1].step or entry.place > changes[-1].place)
            for entry in records
        )
        needed = bool(read) or any(entry.step in writers for entry in records)
        objects = contents(mine, "loaded")
        if not read and (objects or not complete or commit is None):
            until = [entry for entry in unpublished(records) if entry.step == result.step or entry.place <= since]
            objects = objects or contents((entry for entry in until if entry.step in writers), "wrote")
            if objects:
                return PassedCheck(name_of(key), None, objects, True, True, warned=warned)
        peeked = not read and any(entry.action == "peeked" for entry in mine)
        return PassedCheck(name_of(key), commit, {}, needed or peeked, complete, peeked, warned)

    @cached_property
    def _evaluations(self) -> dict[AssetCheckKey, list[Event]]:
        found: dict[AssetCheckKey, list[Event]] = defaultdict(list)
        for event in self._of(DagsterEventType.ASSET_CHECK_EVALUATION):
            found[_evaluation(event).asset_check_key].append(event)
        return found

    def _newest(self, key: AssetCheckKey) -> Event | None:
        return next(reversed(self._evaluations[key]), None)

    def _started(self, result: Event) -> int:
        """Return the place of the start of the step of a result."""
        starts = self._of(*_STARTS, step=result.step)
        return max((start.place for start in starts if start.place <= result.place), default=0)

    def _writers(self, asset: AssetKey) -> set[StepId]:
        """Return the steps that materialize an asset."""
        plans = self._of(DagsterEventType.ASSET_MATERIALIZATION_PLANNED, _MATERIALIZATION)
        return {event.step for event in plans if event.dagster_event.asset_key == asset}

    def _changes(self, asset: AssetKey) -> list[Event]:
        """Return the events of all steps that materialize an asset, from their first start on."""
        steps, changes = self._writers(asset), _STARTS | _ENDS | {_MATERIALIZATION}
        return [event for event in self._of(*changes) if event.step in steps]

    def _of(self, *types: DagsterEventType, step: StepId | None = None) -> Iterator[Event]:
        return (event for event in self._events if event.type in types and (step is None or event.step == step))

    def _upstream(self, run_id: str, step_key: str) -> set[str]:
        """Return the keys of a step and of all steps that it depends on."""
        found, todo = set(), [step_key]
        while todo:
            key = todo.pop()
            if key not in found:
                found.add(key)
                todo += (step for given in self._inputs[run_id].get(key, ()) for step, _ in given)
        return found

    def _skipped(self, run_id: str) -> set[str]:
        """Return the keys of the steps that Dagster skips, because steps that succeeded left out an output for them.

        The process of a step may end before Dagster has recorded this.
        """
        done = {event.step[1] for event in self._of(DagsterEventType.STEP_SUCCESS) if event.step[0] == run_id}
        yielded = {
            (event.step[1], event.dagster_event.step_output_data.output_name)
            for event in self._of(DagsterEventType.STEP_OUTPUT)
            if event.step[0] == run_id
        }
        found: set[str] = set()

        def is_missing(output: Output) -> bool:
            return output[0] in found or (output[0] in done and output not in yielded)

        plan = self._inputs.get(run_id, {})
        while new := {
            key
            for key, inputs in plan.items()
            if key not in found and any(given and all(map(is_missing, given)) for given in inputs)
        }:
            found |= new
        return found

    @cached_property
    def _inputs(self) -> dict[str, dict[str, list[list[Output]]]]:
        """For each run and each of its steps, the outputs that each input takes."""
        found: dict[str, dict[str, list[list[Output]]]] = {}
        for run in self._runs:
            steps = found.setdefault(run.run_id, {})
            if run.execution_plan_snapshot_id:
                for step in self._instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id).steps:
                    steps[step.key] = [
                        [(handle.step_key, handle.output_name) for handle in each.upstream_output_handles]
                        for each in step.inputs
                    ]
        return found


def settled(
    instance: DagsterInstance, run: DagsterRun, before: str, address: str, log: Callable[[str], None]
) -> History:
    """Return the history of a run, after the results of its checks and the steps that use the branch at the moment.

    After `MAX_WAIT` seconds, the history is returned as it is, so the publication is refused.

    Args:
        instance: the Dagster instance.
        run: the run.
        before: the key of the step that waits.
        address: the branch, as ``lakefs://repository/branch``.
        log: writes a message to the run's log.
    """
    start, logged = time.monotonic(), ""
    while True:
        # Not from a cursor: a database may show the events of other processes out of order.
        history = History(instance, run)
        awaited = ", ".join(history.pending(before, address))
        waited = time.monotonic() - start
        if not awaited:
            return history
        if waited > MAX_WAIT:
            log(f"after {waited:.0f} s, the publication does not wait any longer for {awaited}")
            return history
        if awaited != logged:
            log(f"the publication waits up to {MAX_WAIT - waited:.0f} s for {awaited}")
            logged = awaited
        _pause(waited)


def published_by(instance: DagsterInstance, run: DagsterRun, address: str, log: Callable[[str], None]) -> str | None:
    """Return the id of the merge commit that published what a run wrote, after a wait if the run has not ended.

    Args:
        instance: the Dagster instance.
        run: the run.
        address: its branch, as ``lakefs://repository/branch``.
        log: writes a message to the log.

    Returns:
        An empty text if the run has written nothing; None if it has ended, or `MAX_WAIT` seconds have passed, and it
        has not published what it wrote.
    """
    start, logged, history = time.monotonic(), False, History(instance, run, alone=True)
    while True:
        records = history.records(address)
        if not any(entry.action in _WRITES for entry in unpublished(records)):
            return next((entry.commit for entry in reversed(records) if entry.action == "published"), "")
        history, waited = History(instance, run), time.monotonic() - start
        if history.records(address) != records:
            continue
        if history.has_ended or waited > MAX_WAIT:
            return None
        if not logged:
            log(f"waiting up to {MAX_WAIT:.0f} s until run {run.run_id} has published what it wrote")
            logged = True
        _pause(waited)


def _pause(waited: float) -> None:
    time.sleep(max(MIN_PAUSE, min(waited / 10, MAX_PAUSE)))


def report_unpublished(instance: DagsterInstance, run: DagsterRun) -> dict[str, list[str]]:
    """Tag a run that succeeded without publishing what it wrote.

    Args:
        instance: the Dagster instance.
        run: the run.

    Returns:
        For each branch, as ``lakefs://repository/branch``, the keys of the steps that used it since its newest
        publication; empty if everything is published, or if a step of the run is running, failed, or has yet to start.
    """
    found = History(instance, run).left_behind(run.run_id)
    if found:
        instance.add_run_tags(run.run_id, {UNPUBLISHED_TAG: ", ".join(found)})
    return found


def _ordered(instance: DagsterInstance, run_ids: list[str]) -> Iterable[EventLogEntry]:
    """Return the events of runs in the order in which they were stored, if the event log knows it."""
    logs = [instance.get_records_for_run(run_id, of_type=_TYPES).records for run_id in run_ids]
    if instance.event_log_storage.is_run_sharded:
        return heapq.merge(*([each.event_log_entry for each in log] for log in logs), key=lambda entry: entry.timestamp)

    def place(each: EventLogRecord) -> int:
        return each.storage_id

    return [each.event_log_entry for each in sorted((each for log in logs for each in log), key=place)]


def run_group(instance: DagsterInstance, root: str) -> list[DagsterRun]:
    """Return a root run and all its re-executions.

    Args:
        instance: the Dagster instance.
        root: the id of the root run.

    Raises:
        DagsterRunNotFoundError: the instance does not have the root run.
    """
    _, tagged = instance.get_run_group(root) or ("", [])
    # Dagster's `execute_job` re-executes without the tag that `get_run_group` searches for.
    first = instance.get_run_record_by_id(root)
    assert first is not None
    since = first.create_timestamp - timedelta(seconds=1)
    later = instance.get_runs(RunsFilter(job_name=first.dagster_run.job_name, created_after=since))
    runs = {run.run_id: run for run in (*tagged, *later) if root in (run.run_id, run.root_run_id)}
    return list(runs.values())


def name_of(key: AssetCheckKey) -> str:
    """Return a check's name for messages."""
    return f"check {key.name!r} of {key.asset_key.to_user_string()!r}"


def _evaluation(event: Event) -> AssetCheckEvaluation:
    return event.dagster_event.asset_check_evaluation_data
