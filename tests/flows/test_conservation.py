"""Nothing is lost and nothing is published by mistake, whatever happens: random programs, one for each seed.

``LAKEFS_OPS_SEEDS=1000`` for a longer search; each seed executes a dozen runs. After each run:

- green: each object that it wrote is on main;
- not green: each object that it wrote is on main or on the branch that the run names, unless somebody deleted it;
- each commit on main has only objects that an audit of their own run has seen, and those of other writers to main;
- each merge on main has a commit of which the last audit passed;
- a tag points to the run's merge.

``mutations.py`` checks that the test notices each check that is missing.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from lakefs_ops import errors
from lakefs_ops.flows import attempts, claims
from lakefs_ops.flows.publish import AuditFailed, WriteAuditPublish
from lakefs_ops.flows.sweep import sweep
from tests.chaos import Chaos, Killed, Ledger
from tests.flows.mutations import MUTATIONS, mutated

SEEDS = range(int(os.environ.get("LAKEFS_OPS_SEEDS", "20")))
RUNS = 10


class Run(Ledger):
    """One run of the world, with a ledger of the objects it wrote."""

    def __init__(self, world: World, key: str, branch: str) -> None:
        super().__init__()
        self.world, self.key, self.branch = world, key, branch
        self.attempts, self.green, self.discarded = 0, False, False
        self.published: str | None = None
        self.audited: str | None = None

    def flow(self, **more) -> WriteAuditPublish:
        dice = self.world.dice
        flow = WriteAuditPublish(
            self.world.client, self.world.repository, key=self.key, branch=self.branch, retried=self.attempts > 1,
            verify=dice.choice([None, False]), clean_up=dice.choice(["success", "never"]), **more,
        )  # fmt: skip
        self.branch = flow.branch
        return flow

    def write(self) -> None:
        for number in range(self.world.dice.randint(1, 3)):
            path, content = f"{self.key}/{number}", f"{self.key} {self.world.dice.randint(0, 3)}".encode()
            self.put(self.world.client, self.world.repository, self.branch, path, content)

    def check(self, flow: WriteAuditPublish) -> Iterator[str]:
        seen, dice = self.world.read(flow.ref), self.world.dice.random()
        if dice < 0.2:
            yield "a problem"
        elif dice < 0.3:
            raise ArithmeticError("the check itself fails")
        else:
            self.world.audited |= {(path, content) for path, content in seen.items() if path.startswith(f"{self.key}/")}

    def audit(self, flow: WriteAuditPublish) -> None:
        """Audit, perhaps again; a careless caller goes on although an audit did not pass."""
        dice = self.world.dice
        for _ in range(dice.choice([1, 1, 1, 2])):
            sealed: list[str] = []

            def check(flow: WriteAuditPublish, sealed: list[str] = sealed) -> Iterator[str]:
                sealed.append(flow.ref)
                self.world.passed.discard(flow.ref)
                return self.check(flow)

            try:
                flow.audit(check)
                self.world.passed.update(sealed)
            except (AuditFailed, ArithmeticError):
                if dice.random() < 0.5:
                    raise

    def attempt(self) -> None:
        """Execute the whole run, in one process or with another object for each step."""
        world, dice = self.world, self.world.dice
        self.attempts += 1
        if self.discarded:
            # Somebody deleted what earlier attempts wrote; this one writes its own data.
            self.written, self.maybe, self.discarded = {}, set(), False
        flow = self.flow(tag=dice.choice([None, None, self.key]))
        steps = dice.random() < 0.3
        flow.open()
        for _ in range(dice.choice([1, 1, 2])):
            for _ in range(dice.randint(1, 2)):
                if steps:
                    self.flow().open(create=False)
                self.write()
                if dice.random() < 0.5:
                    flow.seal()
                world.meddle(self)
            self.audit(flow)
            if dice.random() < 0.15:
                self.write()
            world.meddle(self)
            self.audited = flow.audited
            self.published = (self.flow() if steps else flow).publish(flow.audited if steps else None)
            world.verify_merges()
            self.discarded = False
            if flow.tag is not None and not steps:
                tagged = world.clean.tags.get(world.repository, flow.tag).commit_id
                assert tagged == self.published
            if dice.random() < 0.7:
                break
            flow.tag = None  # a tag cannot move to the next publication
            flow.open()
        self.green = True

    def execute(self, tries: int) -> None:
        self.green = False
        self.world.verify_merges()
        for _ in range(tries):
            self.world.chaos.rate = self.world.dice.choice([0.0, 0.05, 0.15])
            try:
                self.attempt()
            except (Killed, ArithmeticError, errors.LakeFSError):
                if self.world.dice.random() < 0.2:
                    with suppress(Killed, errors.LakeFSError):
                        self.flow().close()
            finally:
                self.world.chaos.rate = 0.0
            self.world.verify_merges()  # before another attempt changes the verdict on a commit
            if self.green:
                return


class World:
    """A repository, the runs that write to it, and other people."""

    def __init__(self, server, repository: str, seed: int) -> None:
        self.dice = random.Random(seed)
        self.chaos = Chaos(server, self.dice)
        self.client, self.clean = self.chaos.client, server.client
        self.repository = repository
        self.audited: set[tuple[str, str]] = set()
        self.passed: set[str] = set()
        self.merges: set[str] = set()
        self.runs: list[Run] = []
        self.checked: set[str] = set()
        self.by_hand: dict[str, set[str]] = {}

    def read(self, ref: str) -> dict[str, str]:
        """Return the checksum of each object."""
        return {entry.path: entry.checksum for entry in self.clean.objects.list(self.repository, ref)}

    def commit_to_main(self) -> None:
        self.clean.objects.upload(self.repository, "main", "other/x", f"{self.dice.random()}".encode())
        self.clean.commits.create(self.repository, "main", message="another writer")

    def meddle(self, run: Run) -> None:
        """Let other people do something while a run is at work."""
        event = self.dice.random()
        if event < 0.1:
            self.commit_to_main()
        elif event < 0.2:
            self.sweep()
        elif event < 0.23:
            with suppress(errors.BranchNotFound):
                self.clean.branches.delete(self.repository, run.branch)
                run.discarded = True
        elif event < 0.27:
            with suppress(errors.BranchNotFound):
                self.clean.objects.upload(self.repository, run.branch, f"{run.key}/by-hand", b"by somebody else")
                if self.dice.random() < 0.5:
                    self.clean.commits.create(self.repository, run.branch, message="by hand")

    def stage_by_hand(self, branch: str) -> None:
        """Somebody creates a branch with a name that a run also wants, and works on it."""
        with suppress(errors.AlreadyExists):
            self.clean.branches.create(self.repository, name=branch, source="main")
            self.by_hand[branch] = set()
            if self.dice.random() < 0.7:
                self.clean.objects.upload(self.repository, branch, "by-hand/x", b"never to be published")
                self.by_hand[branch] = {"by-hand/x"}

    def revert(self) -> None:
        """Somebody takes back a publication, which was a mistake."""
        published = [run for run in self.runs if run.green and run.published]
        if not published:
            return
        run = self.dice.choice(published)
        with suppress(errors.BadRequest, errors.Conflict):
            self.clean.branches.revert(self.repository, "main", ref=run.published, parent_number=1)
            run.green = False
            with suppress(errors.LakeFSError):
                # Somebody repeats the last step only.
                run.published = run.flow().publish(run.audited)
                run.green = True
            if not run.green:
                run.published, run.written = None, {}

    def sweep(self) -> None:
        swept = sweep(self.clean, self.repository, older_than=timedelta(seconds=-5), prefix=("wap-", "shared-"))
        assert not set(swept) & {branch for branch, staged in self.by_hand.items() if staged}

    def step(self, number: int) -> None:
        event = self.dice.random()
        if event < 0.1:
            self.revert()
        elif event < 0.2:
            self.sweep()
        elif event < 0.3:
            self.stage_by_hand(f"shared-{self.dice.randint(0, 1)}")
        if self.runs and self.dice.random() < 0.3:
            run = self.dice.choice(self.runs)
            if self.dice.random() < 0.3:
                run.attempts = 0  # started as if it had never been
        else:
            run = Run(self, f"run-{number}", self.dice.choice(["", f"shared-{self.dice.randint(0, 1)}"]))
            self.runs.append(run)
        run.execute(self.dice.randint(1, 3))
        self.verify()

    def verify_merges(self) -> None:
        for commit in self.clean.refs.log(self.repository, "main", first_parent=True):
            if commit.id in self.merges:
                break
            self.merges.add(commit.id)
            assert set(commit.parents[1:]) <= self.passed, f"the last audit of {commit.parents[1:]} did not pass"

    def verify(self) -> None:
        self.verify_merges()
        main = self.read("main")
        for run in self.runs:
            try:
                branch = self.read(run.branch) if run.branch else {}
            except errors.NotFound:
                branch = {}
            for path, checksums in run.written.items():
                if path in run.maybe:
                    continue
                if run.green:
                    assert run.published
                    assert main.get(path) in checksums, f"{run.key} is green, and {path} is not published"
                elif not run.discarded:
                    assert checksums & {main.get(path), branch.get(path)}, f"{run.key} is red, and {path} is lost"
        for branch, staged in self.by_hand.items():
            assert staged <= set(self.read(branch)), "the work of others is lost"
        for commit in self.clean.refs.log(self.repository, "main", first_parent=True):
            if commit.id in self.checked:
                break
            self.checked.add(commit.id)
            for item in self.read(commit.id).items():
                assert item in self.audited or item[0] == "other/x", f"{item[0]} was published without an audit"


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_nothing_is_published_by_mistake(lakefs, lakefs_repository, monkeypatch, seed):
    monkeypatch.setattr(attempts, "SETTLE", 0.0)
    monkeypatch.setattr(claims, "POLL_INTERVAL", 0.01)
    world = World(lakefs, lakefs_repository, seed)
    world.commit_to_main()
    with world.client:
        for number in range(RUNS):
            world.step(number)
        with WriteAuditPublish(world.client, lakefs_repository, key="last") as calm:
            world.client.objects.upload(lakefs_repository, calm.branch, "last/0", b"1")
            calm.audit()
    assert "last/0" in world.read("main"), "a run without faults is published, whatever was before"


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_finds_the_line_that_it_replaces(name):
    compile(mutated(MUTATIONS[name]), name, "exec")
