"""The event logs of a run and of all its re-executions: what their steps did with lakeFS, and their checks' results.

Every use of a run's branch is recorded as an event in the run's log. So a publication can tell which commit a check
judged, although it runs in another step, another process, or another re-execution.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

from dagster import AssetCheckSeverity, DagsterEventType, MetadataValue, RunsFilter
from dagster._core.events import EngineEventData

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation, AssetCheckKey, AssetKey, DagsterInstance, DagsterRun, EventLogEntry

CHECK_TIMEOUT = 600.0
"""Maximum time to wait for the result of a check that is running, in seconds."""

Action = Literal["opened", "sealed", "read", "merging", "published"]
StepId = tuple[str, str]
"""The run and the key of a step."""

_STARTS = {DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED}
_ENDS = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_UP_FOR_RETRY}
_LAUNCHES = {DagsterEventType.STEP_WORKER_STARTING, *_STARTS}
_PLANS = {DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED}
_RESULTS = {DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION}
_TYPES = {DagsterEventType.ENGINE_EVENT, *_LAUNCHES, *_ENDS, *_PLANS, *_RESULTS}
_ADDRESS, _ACTION, _COMMIT = "lakefs/run_branch", "lakefs/action", "lakefs/commit_id"


@dataclass(frozen=True, slots=True)
class Record:
    """What a step did with a run's branch.

    Attributes:
        action: ``opened`` it, ``sealed`` its changes in a commit, ``read`` a commit to check it, started ``merging`` a
            commit, or ``published`` a merge commit.
        commit: the id of the commit, for ``opened`` that of the branch's head.
        step: the step.
        time: the time of the event, in Unix seconds.
    """

    action: Action
    commit: str
    step: StepId
    time: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A check that passed.

    Attributes:
        name: the check and its asset, for messages.
        commit: the id of the commit that the check judged, None if nothing had been committed.
        needed: whether the asset is on the run's branch, so that the check must have judged a commit.
        complete: whether the commit has everything that the asset wrote.
    """

    name: str
    commit: str | None
    needed: bool
    complete: bool


def record(
    instance: DagsterInstance, run: DagsterRun, step_key: str, address: str, action: Action, commit: str
) -> None:
    """Record in the run's log what a step did with a run's branch.

    Args:
        instance: the Dagster instance.
        run: the run.
        step_key: the key of the step.
        address: the branch, as ``lakefs://repository/branch``.
        action: see `Record`.
        commit: the id of the commit.
    """
    metadata = {_ADDRESS: address, _ACTION: action, _COMMIT: commit}
    instance.report_engine_event(
        f"lakeFS: {action} {commit[:12]} ({address})",
        run,
        EngineEventData(metadata={key: MetadataValue.text(value) for key, value in metadata.items()}),
        step_key=step_key,
    )


class History:
    """The events of a root run and of all its re-executions, siblings included, sorted by time.

    Args:
        instance: the Dagster instance.
        run: one of the runs.
    """

    def __init__(self, instance: DagsterInstance, run: DagsterRun) -> None:
        self._instance = instance
        self._runs = _group(instance, run.root_run_id or run.run_id)
        self._finished = {run.run_id for run in self._runs if run.is_finished}
        events = [event for run in self._runs for event in instance.all_logs(run.run_id, of_type=_TYPES)]
        self._events = sorted(events, key=lambda event: event.timestamp)

    def records(self, address: str) -> list[Record]:
        """Return what the steps did with a branch.

        Args:
            address: the branch, as ``lakefs://repository/branch``.
        """
        found = []
        for event in self._of(DagsterEventType.ENGINE_EVENT):
            metadata = event.get_dagster_event().engine_event_data.metadata
            if _ADDRESS in metadata and metadata[_ADDRESS].value == address:
                action = cast("Action", metadata[_ACTION].value)
                found.append(Record(action, str(metadata[_COMMIT].value), _step(event), event.timestamp))
        return found

    def checks(self, before: str) -> dict[AssetCheckKey, list[EventLogEntry]]:
        """Return the plans of each check, except of checks that run after a step or in it.

        Args:
            before: the key of the step.
        """
        found: dict[AssetCheckKey, list[EventLogEntry]] = defaultdict(list)
        for plan in self._of(DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED):
            if before not in self._upstream(*_step(plan)):
                found[plan.get_dagster_event().asset_check_planned_data.asset_check_key].append(plan)
        return found

    def missing(self, key: AssetCheckKey, plans: list[EventLogEntry]) -> str | None:
        """Return why a check has no valid result, or None if it has one, passed or not.

        Args:
            key: the check.
            plans: its plans, see `checks`.
        """
        newest = self._newest(key)
        since = newest.timestamp if newest else 0.0
        attempts = any(start.timestamp > since for plan in plans for start in self._of(*_STARTS, step=_step(plan)))
        waiting = any(plan.timestamp > since and plan.run_id not in self._finished for plan in plans)
        if newest is None or attempts or waiting:
            return "has no result"
        changes = [event for event in self._changes(key.asset_key) if _step(event) != _step(newest)]
        if changes and changes[-1].timestamp > since:
            return f"is older than the newest data of {key.asset_key.to_user_string()!r}"
        return None

    def running(self, plans: list[EventLogEntry]) -> bool:
        """Return whether a check is running at the moment.

        Args:
            plans: its plans, see `checks`.
        """
        for step in {_step(plan) for plan in plans if plan.run_id not in self._finished}:
            events = list(self._of(*_LAUNCHES, *_ENDS, step=step))
            if events and _type(events[-1]) in _LAUNCHES:
                return True
        return False

    def failed(self, key: AssetCheckKey) -> bool:
        """Return whether the newest results of a check, one for each partition, have an error.

        Args:
            key: the check.
        """
        newest = self._newest(key)
        if newest is None:
            return False
        since = self._started(newest)
        return any(
            not _evaluation(event).passed and _evaluation(event).severity == AssetCheckSeverity.ERROR
            for event in self._evaluations[key]
            if _step(event) == _step(newest) and event.timestamp >= since
        )

    def verdict(self, key: AssetCheckKey, records: list[Record]) -> Verdict:
        """Return the newest result of a check that passed, with the commit that it judged.

        That is the commit that the check read, else the one that its step sealed, else the newest one that was sealed
        before its step started.

        Args:
            key: the check.
            records: the records of the run's branch.
        """
        result = self._newest(key)
        assert result is not None
        own, since = _step(result), self._started(result)
        mine = [entry for entry in records if entry.step == own and since <= entry.time <= result.timestamp]
        read = [entry.commit for entry in mine if entry.action == "read"]
        sealed = [entry.commit for entry in mine if entry.action == "sealed"]
        before = [entry.commit for entry in records if entry.action == "sealed" and entry.time <= since]
        commit = read[0] if read else next(reversed(sealed or before), None)
        changes = self._changes(key.asset_key)
        writers = {_step(event) for event in changes}
        complete = not changes or any(
            entry.action == "sealed"
            and entry.commit == commit
            and (entry.step == _step(changes[-1]) or entry.time > changes[-1].timestamp)
            for entry in records
        )
        needed = bool(read) or any(entry.step in writers for entry in records)
        return Verdict(name_of(key), commit, needed, complete)

    @cached_property
    def _evaluations(self) -> dict[AssetCheckKey, list[EventLogEntry]]:
        found: dict[AssetCheckKey, list[EventLogEntry]] = defaultdict(list)
        for event in self._of(DagsterEventType.ASSET_CHECK_EVALUATION):
            found[_evaluation(event).asset_check_key].append(event)
        return found

    def _newest(self, key: AssetCheckKey) -> EventLogEntry | None:
        return next(reversed(self._evaluations[key]), None)

    def _started(self, result: EventLogEntry) -> float:
        """Return when the step of a result started."""
        starts = self._of(*_STARTS, step=_step(result))
        return max((start.timestamp for start in starts if start.timestamp <= result.timestamp), default=0.0)

    def _changes(self, asset: AssetKey) -> list[EventLogEntry]:
        """Return the events of all steps that materialize an asset, from their first start on."""
        plans = self._of(DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_MATERIALIZATION)
        steps = {_step(event) for event in plans if event.get_dagster_event().asset_key == asset}
        changes = _STARTS | _ENDS | {DagsterEventType.ASSET_MATERIALIZATION}
        return [event for event in self._of(*changes) if _step(event) in steps]

    def _of(self, *types: DagsterEventType, step: StepId | None = None) -> Iterator[EventLogEntry]:
        return (event for event in self._events if _type(event) in types and (step is None or _step(event) == step))

    def _upstream(self, run_id: str, step_key: str) -> set[str]:
        """Return the keys of a step and of all steps that it depends on."""
        found, todo = set(), [step_key]
        while todo:
            key = todo.pop()
            if key not in found:
                found.add(key)
                todo += self._dependencies[run_id].get(key, ())
        return found

    @cached_property
    def _dependencies(self) -> dict[str, dict[str, set[str]]]:
        """For each run, the keys of the steps that each step depends on directly."""
        found: dict[str, dict[str, set[str]]] = {}
        for run in self._runs:
            steps = found.setdefault(run.run_id, {})
            if run.execution_plan_snapshot_id:
                for step in self._instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id).steps:
                    steps[step.key] = {
                        handle.step_key for each in step.inputs for handle in each.upstream_output_handles
                    }
        return found


def settled(instance: DagsterInstance, run: DagsterRun, before: str, *, timeout: float = CHECK_TIMEOUT) -> History:
    """Return the history of a run, after the results of the checks that are running.

    Args:
        instance: the Dagster instance.
        run: the run.
        before: the key of the step that waits.
        timeout: maximum time to wait, in seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        history = History(instance, run)
        checks = history.checks(before)
        open_ = [key for key, plans in checks.items() if history.missing(key, plans) and history.running(plans)]
        if not open_ or time.monotonic() > deadline:
            return history
        time.sleep(0.5)


def _group(instance: DagsterInstance, root: str) -> list[DagsterRun]:
    """Return a root run and all its re-executions."""
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


def _type(event: EventLogEntry) -> DagsterEventType:
    return event.get_dagster_event().event_type


def _step(event: EventLogEntry) -> StepId:
    return event.run_id, event.step_key or ""


def _evaluation(event: EventLogEntry) -> AssetCheckEvaluation:
    return event.get_dagster_event().asset_check_evaluation_data
