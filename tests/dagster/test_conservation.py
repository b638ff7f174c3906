"""Nothing is lost and nothing is published by mistake, whatever happens to the runs of a job: one program per seed.

``LAKEFS_OPS_SEEDS=1000`` for a longer search; each seed has its own assets, partitions and checks, and executes some
runs of them in a real Dagster, with lost replies, kills, re-executions, runs that start in the middle of another run,
and other people. A ledger has each object that the server received from a run. For each merge into main:

- each object that the run has written since its last publication is on main, and nothing else has changed there, except
  for what a check has read in a commit that it passed;
- the newest result of each check of these assets is a pass, and for exactly this content;
- there was something to publish, so nothing is merged twice.

After each run, if it has published, main has what it wrote; otherwise its branch has.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from dagster_resources import (
    LakeFSIOManager,
    LakeFSResource,
    build_lakefs_checks,
    build_lakefs_publish_asset,
    build_lakefs_sweeper,
    history,
    io_manager,
)
from lakefs_ops import Config, LakeFSClient, Retries, errors
from lakefs_ops.call import Call
from lakefs_ops.flows import attempts, claims
from tests.chaos import Killed, lost

SEEDS = range(int(os.environ.get("LAKEFS_OPS_SEEDS", "4")))
RUNS = 7
DAYS = ("a", "b", "c")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
WORLDS: dict[int, "World"] = {}
"""The worlds by their seeds, since Dagster builds the job again for each run."""


def job(seed: int) -> dg.JobDefinition:
    return WORLDS[seed].job


@dataclass
class Check:
    """A check of an asset.

    Attributes:
        kind: ``input`` loads the asset, ``built`` reads the written data, ``ref`` reads the commit of the branch,
            ``blind`` reads nothing.
    """

    name: str
    asset: str
    kind: str


@dataclass
class Group:
    """A run and its re-executions.

    Attributes:
        days: the partitions; empty without partitions.
        runs: the ids of the runs.
        pending: the content of each object that the server has received from the runs, since the last publication.
        foreign: what others wrote to the branch.
        published: the objects of the last publication.
        dropped: the objects of publications that a reset of main took out of its history.
        verdicts: for each check, what it has read and passed; None if it did not pass or is at work.
        seen: for each check that passed, each object of the commit that it read.
        discarded: whether somebody has deleted the branch.
    """

    days: tuple[str, ...]
    runs: list[str] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, dict[str, str] | None] = field(default_factory=dict)
    seen: dict[str, dict[str, str]] = field(default_factory=dict)
    discarded: bool = False


@dataclass
class Execution:
    """One run while it is executed."""

    root: str | None
    days: tuple[str, ...]
    run_id: str = ""
    dead: bool = False


class World:
    """A repository, a job with random assets and checks, its runs, and other people."""

    def __init__(self, server: Any, repository: str, instance: dg.DagsterInstance, seed: int) -> None:
        self.dice, self.rate, self.seed = random.Random(seed), 0.0, seed
        config = Config(
            endpoint=server.endpoint,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
            retries=Retries(count=2, first_wait=0, longest_wait=0),
        )
        self.client, self.clean = LakeFSClient(config=config), server.client
        self._send = self.client.transport.send
        self.client.transport.send = self.send  # type: ignore[method-assign]
        self.repository, self.instance, self.count = repository, instance, 0
        self.groups: dict[str, Group] = {}
        self.stack: list[Execution] = []
        self.timeline: dict[str, list[str]] = {}
        self.known = {commit.id for commit in self.log()}
        self.open: list[str] = []
        self.problems: list[AssertionError] = []
        self.partitioned = self.chance(0.5)
        self.checks: list[Check] = []
        self.all_recorded = True
        self.job = self.make_job()

    def chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def content(self) -> str:
        self.count += 1
        return f"{self.count} {'bad' if self.chance(0.1) else 'good'}"

    # the job

    def make_job(self) -> dg.JobDefinition:
        partitions: dict[str, Any] = {}
        if self.partitioned:
            policy = dg.BackfillPolicy.single_run()
            partitions = {"partitions_def": dg.StaticPartitionsDefinition(list(DAYS)), "backfill_policy": policy}
        self.assets: dict[str, dg.AssetsDefinition] = {}
        checks = []
        for number in range(self.dice.randint(1, 3)):
            name = f"asset{number}"
            deps = [each for each in self.assets if self.chance(0.5)]
            by_value = self.chance(0.6)
            self.assets[name] = (self.value if by_value else self.by_hand)(name, deps, partitions)
            for kind in self.dice.sample(["input", "built", "ref", "blind"], self.dice.choice([0, 1, 1, 2])):
                if by_value or kind != "input":
                    check = Check(f"{name}_{kind}", name, kind)
                    self.checks.append(check)
                    checks.append(self.make_check(check))
        deps = [name for name in self.assets if self.chance(0.7)] or list(self.assets)
        on_main = build_lakefs_publish_asset(
            name="on_main", deps=deps, repository=self.repository,
            if_nothing=self.dice.choice(["fail", "succeed", "skip"]), **partitions,
        )  # fmt: skip
        late = [self.value("late", ["on_main"], partitions)] if self.chance(0.3) else []
        lakefs = LakeFSResource()
        return dg.Definitions(
            assets=[*self.assets.values(), on_main, *late],
            asset_checks=checks,
            jobs=[dg.define_asset_job("program", executor_def=dg.in_process_executor)],
            resources={
                "lakefs": lakefs,
                "io_manager": LakeFSIOManager(lakefs=lakefs, repository=self.repository, format="bytes"),
            },
        ).resolve_job_def("program")

    def value(self, name: str, deps: list[str], partitions: dict[str, Any]) -> dg.AssetsDefinition:
        """Return an asset that returns its value."""

        @dg.asset(name=name, deps=deps, **partitions)
        def asset(context: dg.AssetExecutionContext):
            self.may_die()
            if self.partitioned:
                return {day: self.content().encode() for day in context.partition_keys}
            return self.content().encode()

        return asset

    def by_hand(self, name: str, deps: list[str], partitions: dict[str, Any]) -> dg.AssetsDefinition:
        """Return an asset that writes to the branch itself, and records and commits it, or not."""
        records, commits = self.chance(0.7), self.chance(0.7)
        self.all_recorded &= records

        @dg.asset(name=name, deps=deps, **partitions)
        def asset(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> None:
            branch = lakefs.run_branch(context, self.repository)
            self.may_die()
            for path in self.paths(name):
                if self.chance(0.9):
                    ref, content = branch.ensure(), self.content().encode()
                    stored = branch.client.objects.upload(self.repository, ref, path, content)
                    if records:
                        branch.wrote_objects({stored.path: stored.checksum})
            if commits and self.chance(0.9):
                with suppress(dg.Failure):  # nothing was written
                    branch.commit(f"Write {name}")

        return asset

    def may_die(self) -> None:
        if self.chance(self.rate / 2):
            raise ArithmeticError("the step itself fails")

    def paths(self, asset: str) -> list[str]:
        days = self.stack[-1].days
        return [f"{asset}/{day}.bin" for day in days] if days else [f"{asset}.bin"]

    def make_check(self, check: Check) -> dg.AssetChecksDefinition:
        blocking = self.chance(0.5)
        options = {"asset": check.asset, "name": check.name, "blocking": blocking}

        if check.kind == "built":

            def built(data: Any) -> Any:
                def read() -> dict[str, str]:
                    found = {}
                    for path in self.paths(check.asset):
                        with suppress(errors.ObjectNotFound):
                            found[path] = data.read(path).decode()
                    return found

                passed = self.judge(check, read).passed
                if self.group().verdicts[check.name] is not None and not data.ref.startswith("dagster-"):
                    self.group().seen[check.name] = self.read(data.ref)  # a commit, which is judged as a whole
                return None if passed else ["a problem"]

            return build_lakefs_checks(check.asset, {check.name: built}, repository=self.repository, blocking=blocking)

        if check.kind == "input":

            def loads(value):
                values = list(value.values()) if self.partitioned else [value]
                found = dict(zip(self.paths(check.asset), values, strict=True))
                return self.judge(check, lambda: {path: each.decode() for path, each in found.items()})

            loads.__annotations__["value"] = dict[str, bytes] if self.partitioned else bytes
            return dg.asset_check(**options)(loads)

        @dg.asset_check(**options)
        def judged(context: dg.AssetCheckExecutionContext, lakefs: LakeFSResource) -> dg.AssetCheckResult:
            if check.kind == "blind":
                pending = self.group().pending
                return self.judge(
                    check, lambda: {path: pending[path] for path in self.paths(check.asset) if path in pending}
                )
            branch = lakefs.run_branch(context, self.repository)
            return self.judge(check, lambda: self.read(branch.ref))

        return judged

    def judge(self, check: Check, read: Callable[[], dict[str, str]]) -> dg.AssetCheckResult:
        """Judge what a check reads; it does not pass if there is something bad in it."""
        group = self.group()
        group.verdicts[check.name] = None
        group.seen.pop(check.name, None)
        found = read()
        self.may_die()
        if self.chance(0.08):
            raise RuntimeError("the check itself fails, so that it has no result")
        passed = not any("bad" in content for content in found.values())
        if self.chance(0.05):
            return dg.AssetCheckResult(passed=False)
        if passed or check.kind == "blind":
            group.verdicts[check.name] = found
            if check.kind == "ref":
                group.seen[check.name] = found
        if passed and self.chance(0.05) and check.kind != "built":
            return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)
        return dg.AssetCheckResult(passed=passed or check.kind == "blind")

    # the disturbances

    def send(self, call: Call) -> Any:
        if self.stack and self.stack[-1].dead:
            raise Killed
        if len(self.stack) == 1 and self.chance(self.rate / 4):
            self.meddle()
        if self.chance(1 - self.rate):
            return self.effect(call)
        error = self.dice.choice([*lost(call.operation), None])
        if self.chance(0.5):
            self.effect(call)
        if error is None:
            self.kill()
        raise error

    def effect(self, call: Call) -> Any:
        """Send a request, and enter in the ledger what it did."""
        result = self._send(call)
        if call.operation == "uploadObject":
            branch = call.path_params["branch"]
            group = self.groups[branch.removeprefix("dagster-")]
            group.pending[result.path] = self.clean.objects.get(self.repository, branch, result.path).decode()
            group.foreign.pop(result.path, None)
        elif call.operation == "mergeIntoBranch":
            try:
                self.verify_merges()
            except AssertionError as problem:  # a step would only fail with it
                self.problems.append(problem)
        return result

    def kill(self) -> None:
        self.stack[-1].dead = True
        raise Killed

    def store(self, handle: Callable[..., None], instance: dg.DagsterInstance, event: Any, **options: Any) -> None:
        """Store an event, unless the process of its run was killed before."""
        execution = self.stack[-1] if self.stack else None
        if execution is not None and not execution.run_id:
            execution.run_id = event.run_id
            execution.root = execution.root or event.run_id
            self.groups.setdefault(execution.root, Group(execution.days)).runs.append(event.run_id)
        if execution is not None and execution.run_id == event.run_id:
            if execution.dead:
                return
            if event.is_dagster_event and self.chance(self.rate / 30):
                self.kill()
        handle(instance, event, **options)

    def group(self) -> Group:
        return self.groups[self.stack[-1].root]

    def meddle(self) -> None:
        """Let other runs and people do something while a run is at work."""
        rate, self.rate = self.rate, 0.0
        event = self.dice.random()
        if event < 0.35:
            self.run()
        elif event < 0.5:
            self.commit_to_main()
        elif event < 0.6:
            self.sweep()
        else:
            self.correct_by_hand(self.stack[-1].root)
        self.rate = rate

    def commit_to_main(self) -> None:
        path = self.dice.choice(["other", *self.paths_of_all()])
        content = f"{self.content()} of others"
        self.clean.objects.upload(self.repository, "main", path, content.encode())
        self.known.add(self.clean.commits.create(self.repository, "main", message="another writer").id)
        self.timeline.setdefault(path, []).append(content)

    def paths_of_all(self) -> list[str]:
        return [path for group in self.groups.values() for path in (*group.pending, *group.published)]

    def revert(self) -> None:
        """Somebody takes back the newest commit on main, by a revert or a reset."""
        head = self.clean.commits.get(self.repository, "main")
        if len(head.parents) == 2:
            with suppress(errors.BadRequest, errors.Conflict):
                if self.chance(0.7):
                    self.clean.branches.revert(self.repository, "main", ref=head.id, parent_number=1)
                else:
                    self.clean.branches.hard_reset(self.repository, "main", ref=head.parents[0])
                    group = self.groups.get(head.metadata.get("::lakefs::Dagster::root_run_id", ""))
                    if group is not None:  # its run may publish the same again
                        group.dropped.update(group.published)
        self.known |= {commit.id for commit in self.log()}

    def correct_by_hand(self, root: str | None) -> None:
        """Somebody writes to the branch of a run, commits there, or deletes it."""
        branch = f"dagster-{root}"
        with suppress(errors.NotFound):
            if self.chance(0.1):
                self.clean.branches.delete(self.repository, branch)
                self.groups[root].discarded, self.groups[root].pending = True, {}
                return
            path = self.dice.choice(["by hand", *self.groups[root].pending])
            content = f"{self.content()} by hand"
            self.clean.objects.upload(self.repository, branch, path, content.encode())
            self.groups[root].foreign[path] = content
            if self.chance(0.5):
                self.clean.commits.create(self.repository, branch, message="by hand")

    def sweep(self) -> None:
        """Sweep with the client of somebody else, who sees the same runs."""
        schedule = build_lakefs_sweeper(repository=self.repository, older_than=timedelta(seconds=-5))
        self.stack.append(Execution("sweeper", ()))
        rate, self.rate = self.rate, 0.0
        assert schedule.job.execute_in_process(instance=self.instance, resources={"lakefs": LakeFSResource()}).success
        self.rate = rate
        self.stack.pop()
        self.groups.pop("sweeper")

    # the program

    def step(self) -> None:
        for probability, event in ((0.1, self.revert), (0.1, self.commit_to_main), (0.1, self.sweep)):
            if self.chance(probability):
                event()
        if self.groups and self.chance(0.15):
            self.correct_by_hand(self.dice.choice(list(self.groups)))
        while self.open and self.chance(0.7):
            self.end(self.open.pop())
        self.rate = self.dice.choice([0.0, 0.03, 0.1])
        self.run()

    def run(self) -> bool:
        """Execute a run, or re-execute one; return whether it has published."""
        root = self.dice.choice(list(self.groups)[-3:]) if self.groups and self.chance(0.6) else None
        options, tags = None, {}
        if root is None:
            first, last = sorted(self.dice.choices(range(3), k=2))
            days = DAYS[first : last + 1] if self.partitioned else ()
        else:
            days, options = self.groups[root].days, self.again(self.groups[root])
        if days:
            tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
        execution = Execution(root, days)
        again = dg.build_reconstructable_job(__name__, "job", (self.seed,))
        self.stack.append(execution)
        try:
            dg.execute_job(again, self.instance, run_config=QUIET, tags=tags, reexecution_options=options)
        except Killed:
            execution.dead = True
        finally:
            self.stack.pop()
        if execution.run_id and execution.dead:
            self.open.append(execution.run_id)
            if self.chance(0.6):
                self.end(self.open.pop())
        rate, self.rate = self.rate, 0.0
        published = bool(execution.run_id) and self.verify(execution)
        self.rate = rate
        return published

    def end(self, run_id: str) -> None:
        """Report a run that was killed as failed, as Dagster does after some time."""
        run = self.instance.get_run_by_id(run_id)
        if not run.is_finished:
            self.instance.report_run_failed(run)

    def again(self, group: Group) -> dg.ReexecutionOptions:
        parent = self.instance.get_run_by_id(self.dice.choice(group.runs))
        if parent.is_failure and self.chance(0.4):
            with suppress(dg.DagsterInvariantViolationError):
                return dg.ReexecutionOptions.from_failure(parent.run_id, self.instance)
        plan = self.instance.get_execution_plan_snapshot(parent.execution_plan_snapshot_id)
        steps = [step.key for step in plan.steps if self.chance(0.6)] or [plan.steps[-1].key]
        return dg.ReexecutionOptions(parent.run_id, step_selection=steps if self.chance(0.7) else [])

    # the oracle

    def log(self, ref: str = "main") -> list[Any]:
        return list(self.clean.refs.log(self.repository, ref, first_parent=True))

    def read(self, ref: str) -> dict[str, str]:
        objects = self.clean.objects
        found = objects.list(self.repository, ref)
        return {entry.path: objects.get(self.repository, ref, entry.path).decode() for entry in found}

    def verify_merges(self) -> None:
        """Compare each new commit on main with the ledger of its run, and enter it there."""
        for commit in reversed(self.log()):
            if commit.id not in self.known:
                self.known.add(commit.id)
                self.verify_merge(commit)

    def verify_merge(self, commit: Any) -> None:
        group = self.groups[commit.metadata["::lakefs::Dagster::root_run_id"]]
        before, after = self.read(commit.parents[0]), self.read(commit.id)
        changed = {path: content for path, content in after.items() if before.get(path) != content}
        assert before.keys() <= after.keys(), "something was deleted on main"
        passed = {name: found for name, found in group.verdicts.items() if found is not None}
        seen = {item for name, found in group.seen.items() if name in passed for item in found.items()}
        seen |= group.dropped.items()
        if not self.all_recorded and not any(self.planned(check, group) for check in self.checks):
            seen |= group.foreign.items()  # cannot be told from what the run has written
        assert group.pending or changed.items() <= seen, f"{changed} is published again"
        for path, content in changed.items():
            assert group.pending.get(path) == content or (path, content) in seen, f"{path} was not written by the run"
        for path, content in group.pending.items():
            assert after.get(path) == content or (path, after.get(path)) in seen, f"{path} is not in the publication"
        for check in self.checks:
            own = {path for path in group.pending if path.startswith((f"{check.asset}.", f"{check.asset}/"))}
            if own and self.planned(check, group):
                assert check.name in passed, f"{check.name} has not passed"
                for path in own:
                    assert passed[check.name].get(path) == after[path], f"{check.name} judged another {path}"
        for path, content in changed.items():
            self.timeline.setdefault(path, []).append(content)
        group.published, group.pending, group.foreign = {**group.pending, **changed}, {}, {}

    def planned(self, check: Check, group: Group) -> bool:
        """Return whether a run of a group has, or had, a check to execute."""
        types = {dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED}
        return any(
            event.get_dagster_event().asset_check_planned_data.asset_check_key.name == check.name
            for run_id in group.runs
            for event in self.instance.all_logs(run_id, of_type=types)
        )

    def verify(self, execution: Execution) -> bool:
        """Check that a run has published what it wrote, or has kept it; return whether it has published."""
        self.verify_merges()
        for problem in self.problems:
            raise problem
        main, group = self.read("main"), self.groups[execution.root]
        ended = self.instance.all_logs(execution.run_id, of_type={dg.DagsterEventType.STEP_SUCCESS})
        green = "on_main" in [event.step_key for event in ended]
        if green:
            for path, content in list(group.pending.items()):
                if path.startswith("late"):
                    continue  # written after the publication
                # It brought nothing new, because main had the same content.
                assert content in self.timeline.get(path, []), f"{path} is not published, and the run is green"
                del group.pending[path]
            for path, content in group.published.items():
                line = self.timeline[path]
                newest = len(line) - 1 - line[::-1].index(content)
                assert main.get(path) in line[newest:], f"{path} is not in force, and the run is green"
        for root, each in self.groups.items():
            if each.discarded or not each.pending:
                continue
            branch = self.read(f"dagster-{root}")
            for path, content in each.pending.items():
                assert branch.get(path) in (content, each.foreign.get(path, content)), f"{path} is lost"
        return green


@pytest.fixture
def world(
    lakefs: Any, lakefs_repository: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], World]]:
    monkeypatch.setattr(attempts, "SETTLE", 0.0)
    monkeypatch.setattr(claims, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(io_manager, "PARTITION_WORKERS", 1)
    monkeypatch.setattr(history, "MAX_WAIT", -1.0)
    handle = dg.DagsterInstance.handle_new_event

    def make(seed: int) -> World:
        made = WORLDS[seed] = World(lakefs, lakefs_repository, instance, seed)
        monkeypatch.setattr(LakeFSResource, "get_client", lambda self: made.client)
        monkeypatch.setattr(
            dg.DagsterInstance,
            "handle_new_event",
            lambda self, event, **options: made.store(handle, self, event, **options),
        )
        return made

    yield make
    for made in WORLDS.values():
        made.client.close()
    WORLDS.clear()


@pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_nothing_is_published_by_mistake(world: Callable[[int], World], seed: int) -> None:
    program = world(seed)
    program.commit_to_main()
    for _ in range(RUNS):
        program.step()
