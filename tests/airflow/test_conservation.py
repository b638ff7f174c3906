"""Nothing is lost and nothing is published by mistake, whatever happens to the tasks of a DAG: one program per seed.

``LAKEFS_OPS_SEEDS=1000`` for a longer search; each seed executes a dozen runs of two DAGs, in memory (`memory`): one
with a publish group, and one made of single operators. After each run:

- green: each object that it wrote is on main, unless somebody has reverted it since;
- not green: each object that it wrote is on main, or on the branch that the run names;
- published: its branch has nothing more, such as a write after the audits;
- main has only objects that an audit of their own run has seen, and those of other writers to main.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from airflow.sdk import DAG, BaseOperator, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.naming import branch_id, group_branch
from airflow_provider.operators import (
    LakeFSCommitOperator,
    LakeFSCreateBranchOperator,
    LakeFSDeleteBranchOperator,
    LakeFSMergeOperator,
    LakeFSSweepOperator,
)
from airflow_provider.taskgroups import LakeFSPublishTaskGroup
from lakefs_ops import LakeFSClient, errors
from lakefs_ops.flows import attempts, claims
from lakefs_ops.flows.sweep import SweepIncomplete
from tests import chaos
from tests.airflow.memory import Run

SEEDS = range(int(os.environ.get("LAKEFS_OPS_SEEDS", "15")))
RUNS = 8


class Do(BaseOperator):
    """A task of the DAG author; calls a function with the context and its templated argument."""

    template_fields = ("given",)

    def __init__(self, *, call: Callable[[Any, str], Any], given: Any = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.call, self.given = call, given

    def execute(self, context: Any) -> Any:
        return self.call(context, self.given)


class Ledger(chaos.Ledger):
    """What one DAG run has written."""

    def __init__(self, world: World, kind: str, run_id: str, branch: str) -> None:
        super().__init__()
        self.world, self.kind, self.branch = world, kind, branch
        self.reverted = False
        self.fresh: set[str] = set()
        self.run = Run(world.dags[kind], run_id)
        self.run.ledger = self  # type: ignore[attr-defined]

    @property
    def green(self) -> bool:
        return self.run.state == "success"

    def publication(self) -> tuple[Run, int]:
        """Return which execution of the publishing task is the last one."""
        return self.run, self.run.tis["g.publish" if self.kind == "group" else "merge"].try_number

    def write(self, branch: str) -> None:
        dice, name = self.world.dice, f"{self.run.dag.dag_id}/{self.run.run_id}"
        for number in range(dice.randint(1, 3)):
            path, content = f"{name}/{number}", f"{name} {dice.randint(0, 3)}".encode()
            self.put(self.world.client, self.world.repository, branch, path, content)
            self.fresh.add(path)


class World:
    """A repository, the DAG runs that write to it, and other people."""

    def __init__(self, server: Any, repository: str, seed: int) -> None:
        self.dice = random.Random(seed)
        self.chaos = chaos.Chaos(server, self.dice)
        self.client, self.clean = self.chaos.client, server.client
        self.repository = repository
        self.seen: dict[str, set[tuple[str, str]]] = {}
        self.verdicts: dict[str, set[str]] = {}
        self.audited: set[tuple[str, str]] = set()
        self.checked: set[str] = set()
        self.by_hand: dict[str, set[str]] = {}
        self.runs: list[Ledger] = []
        self.dags = {"group": self.group_dag(), "single": self.single_dag()}

    # the DAGs

    def group_dag(self) -> DAG:
        clean_up = self.dice.choice(["success", "never"])
        self.reset = self.dice.random() < 0.3
        with DAG("group", schedule=None, default_args={"retries": 1}) as dag:
            group = LakeFSPublishTaskGroup("g", repo=self.repository, clean_up=clean_up, reset_on_retry=self.reset)
            with group as run:
                first = Do(task_id="w1", call=self.write, given=run.branch)
                second = Do(task_id="w2", call=self.write, given=run.branch)
                first >> second
                with run.audits:
                    Do(task_id="a1", call=self.audit, given=run.ref)
                    task(task_id="a2")(self.judge)(run.ref)
        dag.get_task("g.open")._pre_execute_hook = self.before_open
        return dag

    def single_dag(self) -> DAG:
        branch = "{{ ti.run.ledger.branch }}"
        defaults = {"retries": 1, "repo": self.repository, "branch": branch, "if_nothing": "succeed"}
        with DAG("single", schedule=None, default_args=defaults) as dag:
            create = LakeFSCreateBranchOperator(task_id="create", source_branch="main")
            write = Do(task_id="write", call=self.write, given=branch)
            commit = LakeFSCommitOperator(task_id="commit", msg="Land")
            audit = Do(task_id="audit", call=self.audit, given=commit.output)
            merge = LakeFSMergeOperator(task_id="merge", source_ref=commit.output, destination_branch="main")
            delete = LakeFSDeleteBranchOperator(task_id="delete")
            create >> write >> commit >> audit >> merge >> delete
        return dag

    def before_open(self, context: Any) -> None:
        """With ``reset_on_retry``, what is not published is discarded if all write tasks run again."""
        ledger, writers = context["ti"].run.ledger, ("g.w1", "g.w2")
        if self.reset and context["ti"].try_number > 1 and not any(ledger.run.states()[name] for name in writers):
            main = self.read("main")
            ledger.written = {path: known for path, known in ledger.written.items() if main.get(path) in known}
            ledger.fresh &= ledger.written.keys()

    def write(self, context: Any, branch: str) -> None:
        ledger = context["ti"].run.ledger
        if ledger.kind == "group" and self.dice.random() < 0.05:
            raise AirflowSkipException
        ledger.write(branch)
        self.meddle(ledger)

    def audit(self, context: Any, ref: str) -> None:
        ledger = context["ti"].run.ledger
        seen = self.read(ref)
        self.meddle(ledger)
        prefix = f"{ledger.run.dag.dag_id}/{ledger.run.run_id}/"
        self.seen[ref] = {(path, content) for path, content in seen.items() if path.startswith(prefix)}
        if self.judge(ref, "a1", may_skip=ledger.kind == "group"):
            raise AirflowFailException("a problem")
        if ledger.kind == "single":
            self.verdicts[ref].add("a2")

    def judge(self, ref: str, name: str = "a2", may_skip: bool = True) -> list[str]:
        """Return problems, or raise, or count as a pass for exactly this commit."""
        verdicts = self.verdicts.setdefault(ref, set())
        verdicts.discard(name)
        roll = self.dice.random()
        if may_skip and roll < 0.03:
            raise AirflowSkipException
        if roll < 0.15:
            return ["a problem"]
        verdicts.add(name)
        return []

    # the disturbances

    def meddle(self, ledger: Ledger) -> None:
        """Let other people, or the run itself, do something while a task is at work."""
        event = self.dice.random()
        if event < 0.05:
            self.commit_to_main()
        elif event < 0.1:
            self.sweep()
        elif event < 0.15:
            ledger.write(ledger.branch)

    def commit_to_main(self) -> None:
        self.clean.objects.upload(self.repository, "main", "other/x", f"{self.dice.random()}".encode())
        self.clean.commits.create(self.repository, "main", message="another writer")

    def stage_by_hand(self, branch: str) -> None:
        """Somebody creates a branch with a name that a run also wants, and works on it."""
        with suppress(errors.AlreadyExists):
            self.clean.branches.create(self.repository, name=branch, source="main")
            self.clean.objects.upload(self.repository, branch, "by-hand/x", b"never to be published")
            self.by_hand[branch] = {"by-hand/x"}

    def correct_by_hand(self) -> None:
        """Somebody corrects the data of a run that has failed, and perhaps commits them."""
        failed = [ledger for ledger in self.runs if not ledger.green and ledger.kind == "group"]
        if failed:
            ledger = self.dice.choice(failed)
            with suppress(errors.LakeFSError):
                ledger.write(ledger.branch)
                if self.dice.random() < 0.5:
                    self.clean.commits.create(self.repository, ledger.branch, message="by hand")

    def revert(self) -> None:
        """Somebody takes back a publication."""
        merges = [
            (ledger, ti.xcoms["return_value"])
            for ledger in self.runs
            for ti in ledger.run.tis.values()
            if ledger.green and ti.task_id in ("g.publish", "merge") and ti.state == "success"
        ]
        if merges:
            ledger, merge = self.dice.choice(merges)
            with suppress(errors.BadRequest, errors.Conflict):
                self.clean.branches.revert(self.repository, "main", ref=merge, parent_number=1)
                ledger.reverted, ledger.fresh = True, set()

    def sweep(self) -> None:
        operator = LakeFSSweepOperator(
            task_id="sweep", repo=self.repository, older_than=timedelta(seconds=-5), prefix=("airflow-", "shared-")
        )
        alive = {ledger.run.run_id for ledger in self.runs if ledger.run.state == "running"}
        ti = SimpleNamespace(get_dr_count=lambda *, dag_id, run_ids, states: len(alive & set(run_ids)))
        with suppress(SweepIncomplete):
            operator.work(self.clean, {"ti": ti})  # type: ignore[typeddict-item]

    # the program

    def read(self, ref: str) -> dict[str, str]:
        return {entry.path: entry.checksum for entry in self.clean.objects.list(self.repository, ref)}

    def step(self, number: int) -> None:
        for rate, event in ((0.12, self.revert), (0.12, self.sweep), (0.15, self.correct_by_hand)):
            if self.dice.random() < rate:
                event()
        if self.dice.random() < 0.1:
            self.stage_by_hand(f"shared-{self.dice.randint(0, 1)}")
        if self.runs and self.dice.random() < 0.5:
            ledger = self.dice.choice(self.runs)
            self.again(ledger)
        else:
            ledger = self.new(number)
        self.chaos.rate = self.dice.choice([0.0, 0.03, 0.08])
        published_before = ledger.publication()
        ledger.run.execute()
        self.chaos.rate = 0.0
        if ledger.kind == "group" and ledger.publication() != published_before:
            self.verify_publication(ledger)
        if ledger.green and ledger.publication() != published_before:
            # What was reverted is published again only if it was written again.
            if ledger.reverted:
                ledger.written = {path: ledger.written[path] for path in ledger.fresh}
            ledger.reverted = False
        self.verify()

    def new(self, number: int) -> Ledger:
        kind, run_id = self.dice.choice(["group", "group", "single"]), f"run-{number}"
        shared = self.dice.random() < 0.3
        branch = group_branch("group", run_id, "g")
        if kind == "single":
            branch = f"shared-{self.dice.randint(0, 1)}" if shared else branch_id("single", run_id)
        self.runs.append(Ledger(self, kind, run_id, branch))
        return self.runs[-1]

    def again(self, ledger: Ledger) -> None:
        """Somebody clears tasks of a run, or deletes the run and triggers it again under its run id."""
        tasks = list(ledger.run.tis)
        roll = self.dice.random()
        if roll < 0.2:
            ledger.run = Run(ledger.run.dag, ledger.run.run_id)
            ledger.run.ledger = ledger  # type: ignore[attr-defined]
        elif roll < 0.4:
            ledger.run.clear()
        elif ledger.kind == "single" and ledger.branch.startswith("shared-"):
            # Only `create` finds out whether a branch with a name that others use, too, is still the run's own.
            ledger.run.clear("create")
        elif roll < 0.8 or ledger.kind == "single":
            ledger.run.clear(self.dice.choice(tasks))
        else:
            for task_id in self.dice.sample(tasks, self.dice.randint(1, 3)):
                ledger.run.clear(task_id, downstream=False)
            ledger.run.clear("g.close", downstream=False)

    def verify_publication(self, ledger: Ledger) -> None:
        """What is published is everything on the run's branch, not a part of it."""
        if ledger.run.states()["g.publish"] == "success":
            main = self.read("main")
            with suppress(errors.NotFound):
                left = {path: checksum for path, checksum in self.read(ledger.branch).items() if path in ledger.written}
                assert left.items() <= main.items(), f"{ledger.run.run_id} published only a part of its branch"

    def verify(self) -> None:
        main = self.read("main")
        for ledger in self.runs:
            try:
                branch = self.read(ledger.branch)
            except errors.NotFound:
                branch = {}
            for path, checksums in ledger.written.items():
                if path in ledger.maybe or ledger.reverted:
                    continue
                name = f"{path} of {ledger.run.dag.dag_id} {ledger.run.run_id}"
                if ledger.green:
                    assert main.get(path) in checksums, f"{name} is not published, and the run is green"
                else:
                    found = {main.get(path), branch.get(path)}
                    assert checksums & found, f"{name} is lost"
        for branch, staged in self.by_hand.items():
            assert staged <= set(self.read(branch)), "the work of others is lost"
        passed = (self.seen[ref] for ref, verdicts in self.verdicts.items() if verdicts == {"a1", "a2"})
        self.audited |= {item for items in passed for item in items}
        for commit in self.clean.refs.log(self.repository, "main", first_parent=True):
            if commit.id in self.checked:
                break
            self.checked.add(commit.id)
            for item in self.read(commit.id).items():
                assert item in self.audited or item[0] == "other/x", f"{item[0]} was published without an audit"


@pytest.fixture
def disturbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[World], None]]:
    """Lets the hook return the disturbed client of a world."""
    monkeypatch.setattr(attempts, "SETTLE", 0.0)
    monkeypatch.setattr(claims, "POLL_INTERVAL", 0.01)
    worlds: list[World] = []
    monkeypatch.setattr(LakeFSHook, "get_conn", lambda self: Borrowed(worlds[-1].client))
    yield worlds.append


class Borrowed:
    """The client of a world, which the operators must not close."""

    def __init__(self, client: LakeFSClient) -> None:
        self.client = client

    def __enter__(self) -> LakeFSClient:
        return self.client

    def __exit__(self, *error: object) -> None: ...


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_nothing_is_published_by_mistake(
    lakefs: Any, lakefs_repository: str, disturbed: Callable[[World], None], seed: int
) -> None:
    world = World(lakefs, lakefs_repository, seed)
    disturbed(world)
    world.commit_to_main()
    with world.client:
        for number in range(RUNS):
            world.step(number)
