"""Worker processes of a backfill, which get SIGKILL at random moments and start again where their journal ends.

``python backfill_workers.py SETTINGS`` with a JSON object: the connection, the repository, the number of partitions,
workers and kills, the seconds that each partition takes to compute, a seed, and whether to publish ``early``: what is
there when half of the partitions are. It prints a JSON object with the partitions that ended green or were refused, the
numbers of kills and of failed attempts, and the published commit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lakefs_ops import Config, LakeFSClient, Retries, errors
from lakefs_ops.flows import attempts, backfill, claims
from lakefs_ops.flows.backfill import Backfill, BackfillClosed

KEY = "fix-2015"
TRIES = 20


class Journal:
    """What a scheduler stores: which steps of which partitions have succeeded. Lines are appended in one write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *words: str) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(" ".join(words).encode() + b"\n")

    def read(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []


class Worker:
    """Runs partitions one after the other, as a scheduler runs the tasks: a task that failed is tried again."""

    def __init__(self, settings: dict[str, Any], journal: Journal) -> None:
        keys = {name: settings[name] for name in ("endpoint", "access_key_id", "secret_access_key")}
        retries = Retries(count=4, first_wait=0.02, longest_wait=0.1)
        self.client = LakeFSClient(config=Config(**keys, retries=retries))
        self.repository, self.journal, self.compute = settings["repository"], journal, settings["compute"]
        self.backfill = Backfill(self.client, self.repository, KEY)

    def run(self, partition: str) -> None:
        lines = self.journal.read()
        retried = ["start", partition] in lines
        self.journal.write("start", partition)
        audited = next((line[2] for line in lines if line[:2] == ["audited", partition]), None)
        for attempt in range(TRIES):
            run = self.backfill.member(partition, retried=retried or attempt > 0)
            try:
                if audited is None:
                    run.open()
                    time.sleep(self.compute)
                    content = f"content of {partition}".encode()
                    self.client.objects.upload(self.repository, run.branch, f"daily/{partition}", content)
                    run.audit()
                    audited = run.audited
                    self.journal.write("audited", partition, str(audited))
                run.publish(audited)
            except BackfillClosed as closed:
                if closed.published is None:  # a scheduler tries again
                    time.sleep(0.2)
                    continue
                self.journal.write("refused", partition)
                return
            except errors.TRANSIENT as error:
                self.journal.write("failed", partition, type(error).__name__)
                continue
            self.journal.write("green", partition)
            return
        raise RuntimeError(f"{partition} failed {TRIES} times")

    def finish(self, *partitions: str) -> None:
        for _ in range(TRIES):
            try:
                self.journal.write("published", self.backfill.finish(partitions, policy="passed"))
                return
            except errors.TRANSIENT as error:
                self.journal.write("failed", "finish", type(error).__name__)


class Manager:
    def __init__(self, settings: dict[str, Any], folder: str) -> None:
        self.settings, self.dice = settings, random.Random(settings["seed"])
        self.journal = Journal(Path(folder) / "journal")
        self.partitions = [f"day-{number:03}" for number in range(settings["partitions"])]
        self.kills = 0

    def words(self, first: str) -> list[str]:
        return [line[1] for line in self.journal.read() if line[0] == first]

    def fork(self, method: str, partitions: list[str]) -> int:
        if child := os.fork():
            return child
        status = 1
        try:
            worker = Worker(self.settings, self.journal)
            if method == "finish":
                worker.finish(*partitions)
            else:
                for partition in partitions:
                    worker.run(partition)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)

    def collect(self) -> None:
        """Run all partitions, with kills at random moments."""
        workers = self.settings["workers"]
        slices = {number: self.partitions[number::workers] for number in range(workers)}
        children = {self.fork("run", part): number for number, part in slices.items()}
        early = self.settings["early"]
        while children:
            if early and len(self.words("green")) >= len(self.partitions) // 2:
                early, finisher = False, self.fork("finish", self.partitions)
                slices[-1], children[finisher] = self.partitions, -1
            child, status = os.waitpid(-1, os.WNOHANG)
            if child:
                number = children.pop(child)
                if os.WIFSIGNALED(status):
                    done = {*self.words("green"), *self.words("refused")}
                    left = [name for name in slices[number] if name not in done]
                    child = self.fork("finish", slices[number]) if number == -1 else self.fork("run", left)
                    children[child] = number
                elif status:
                    raise RuntimeError(f"a worker ended with {status}")
            elif self.kills < self.settings["kills"]:
                time.sleep(self.dice.uniform(0.01, 0.1))
                os.kill(self.dice.choice([*children]), signal.SIGKILL)
                self.kills += 1
            else:
                time.sleep(0.01)

    def finish(self) -> None:
        """Publish, with two finishers at a time, of which one gets SIGKILL as long as kills are left."""
        for _ in range(3 if self.settings["kills"] else 1):
            children = [self.fork("finish", self.partitions) for _ in range(2)]
            if self.settings["kills"]:
                time.sleep(self.dice.uniform(0, 0.3))
                os.kill(children[0], signal.SIGKILL)
                self.kills += 1
            for child in children:
                os.waitpid(child, 0)


def main(settings: dict[str, Any]) -> None:
    """Run the backfill and print the result."""
    attempts.SETTLE, claims.POLL_INTERVAL, backfill.FINISH_TIMEOUT = 0.1, 0.05, 1.0
    with tempfile.TemporaryDirectory() as folder:
        manager = Manager(settings, folder)
        start = time.perf_counter()
        manager.collect()
        collected = time.perf_counter() - start
        manager.finish()
        result = {
            "green": manager.words("green"),
            "audited": manager.words("audited"),
            "refused": manager.words("refused"),
            "failed": [" ".join(line[1:]) for line in manager.journal.read() if line[0] == "failed"],
            "kills": manager.kills,
            "published": manager.words("published"),
            "collected_in": collected,
            "finished_in": time.perf_counter() - start - collected,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
