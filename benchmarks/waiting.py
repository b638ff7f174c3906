"""The cost of ten thousand waiting conditions for one triggerer.

::

    make bench-waiting

Runs the triggers of deferred sensors in one event loop, as Airflow's triggerer does, against the embedded server in its
own process. Airflow's own `HttpSensorTrigger`, which asks for the same objects, is the measure for them. Writes
benchmarks/WAITING.md.

The triggerer starts its triggers one after another, and so does this. Measurement begins when all of them have polled
twice. A block of the event loop is measured by a task that sleeps for 5 ms again and again: as the CPU time that the
event loop's thread has used between two of its turns, which other processes on the machine do not lengthen, and as time
on the clock.
"""

# ruff: noqa: E501

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

COUNT, INTERVAL, SECONDS = 10_000, 30.0, 60.0
BRANCHES = 1_000
CPU_GOAL, BLOCK_GOAL = 50.0, 50.0
"""Maximum share of one core, in percent, and maximum block of the event loop, in milliseconds."""

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEY = "AKIAIOSFOLQUICKSTART"
PAGE = Path(__file__).with_name("WAITING.md")


class Measured(NamedTuple):
    """What one round has cost."""

    name: str
    polls: float
    cpu: float
    block_cpu: float
    block_clock: float
    collection: float
    share_over: float

    def row(self) -> str:
        met = self.cpu < CPU_GOAL and max(self.block_cpu, self.collection) < BLOCK_GOAL
        return (
            f"| {self.name} | {self.polls:.0f} | {self.cpu:.1f} | {self.block_cpu:.0f} | {self.block_clock:.0f}"
            f" | {self.collection:.0f} | {100 * self.share_over:.2f} | {'yes' if met else '**no**'} |"
        )


class Collections:
    """Times Python's garbage collector, which stops all threads.

    Attributes:
        own: seconds that it has taken in the event loop's thread since this was set to 0.
    """

    def __init__(self, pauses: list[float]) -> None:
        self._pauses, self._began, self._loop, self.own = pauses, 0.0, threading.current_thread(), 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
            return
        pause = time.perf_counter() - self._began
        self._pauses.append(pause)
        if threading.current_thread() is self._loop:
            self.own += pause


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"  # Airflow's trigger warns at each poll
        command = [sys.executable, "-m", "lakefs_ops.local", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            endpoint = server.stdout.readline().strip()
            os.environ["AIRFLOW_CONN_LAKEFS_DEFAULT"] = json.dumps(
                {"conn_type": "lakefs", "host": endpoint, "login": KEY, "password": SECRET}
            )
            os.environ["AIRFLOW_CONN_HTTP_DEFAULT"] = json.dumps(
                {"conn_type": "http", "host": endpoint, "login": KEY, "password": SECRET}
            )
            try:
                load_before = os.getloadavg()[0]
                rows = [measured.row() for measured in measure_all(endpoint)]
            finally:
                server.terminate()
    write_page(rows, load_before)


def measure_all(endpoint: str) -> list[Measured]:
    from lakefs_ops import LakeFSClient
    from lakefs_ops.flows.conditions import CommitMatches, NewCommit, ObjectExists
    from lakefs_ops.flows.polling import BranchPoller

    with LakeFSClient(endpoint, access_key_id=KEY, secret_access_key=SECRET) as client:
        client.repositories.create(name="lake", storage_namespace="local://lake")
        head = client.branches.get("lake", "main").commit_id
        for number in range(BRANCHES):
            client.branches.create("lake", name=f"run-{number}", source="main")

    def commit(number: int) -> Any:
        branch = f"run-{number % BRANCHES}"
        kind = NewCommit if number % 2 else CommitMatches
        return kind(repository="lake", branch=branch, after=head)

    def thing(number: int) -> Any:
        return ObjectExists(repository="lake", ref="main", path=f"daily/{number}/_SUCCESS")

    def both(number: int) -> Any:
        return (commit, thing)[number % 2](number // 2)

    from airflow.providers.http.hooks.http import HttpAsyncHook
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    from airflow_provider.triggers import LakeFSConditionTrigger

    def ours(condition: Callable[[int], Any]) -> Callable[[int], Any]:
        return lambda number: LakeFSConditionTrigger(
            condition=condition(number).model_dump(mode="json"), poll_interval=INTERVAL
        )

    def of_airflow(number: int) -> Any:
        endpoint = f"api/v1/repositories/lake/refs/main/objects/stat?path=daily/{number}/_SUCCESS"
        return HttpSensorTrigger(endpoint=endpoint, method="GET", poke_interval=INTERVAL)

    kinds: dict[str, tuple[Callable[[int], Any], type, str]] = {
        "commits on 1,000 branches": (ours(commit), BranchPoller, "poll"),
        "objects": (ours(thing), BranchPoller, "poll"),
        "half and half": (ours(both), BranchPoller, "poll"),
        "objects, Airflow's `HttpSensorTrigger`": (of_airflow, HttpAsyncHook, "run"),
    }
    return [asyncio.run(measure(name, *kind)) for name, kind in kinds.items()]


async def measure(name: str, create: Callable[[int], Any], owner: type, method: str) -> Measured:
    """Run triggers; a call of the method is a poll."""
    polls: list[None] = []
    real_poll = getattr(owner, method)

    def poll(*args: Any, **kwargs: Any) -> Any:
        polls.append(None)
        return real_poll(*args, **kwargs)

    async def run(trigger: Any) -> None:
        async for event in trigger.run():
            raise AssertionError(event)

    setattr(owner, method, poll)
    tasks = []
    try:
        for number in range(COUNT):
            tasks.append(asyncio.create_task(run(create(number))))
            await asyncio.sleep(0)
        while len(polls) < 2 * COUNT:
            await asyncio.sleep(0.1)
        turns: list[tuple[float, float]] = []
        collections: list[float] = [0.0]
        gc.callbacks.append(watch := Collections(collections))
        before, began, own = len(polls), time.monotonic(), time.process_time()
        while time.monotonic() - began < SECONDS:
            cpu, clock, watch.own = time.thread_time(), time.monotonic(), 0.0
            await asyncio.sleep(0.005)
            turns.append((time.thread_time() - cpu - watch.own, time.monotonic() - clock - 0.005))
        gc.callbacks.remove(watch)
        seconds, own = time.monotonic() - began, time.process_time() - own
        failed = [task for task in tasks if task.done()]
        assert not failed, failed[0].exception()
    finally:
        setattr(owner, method, real_poll)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    measured = Measured(
        name=name,
        polls=(len(polls) - before) / seconds,
        cpu=100 * own / seconds,
        block_cpu=1000 * max(cpu for cpu, _ in turns),
        block_clock=1000 * max(clock for _, clock in turns),
        collection=1000 * max(collections),
        share_over=sum(1000 * clock > BLOCK_GOAL for _, clock in turns) / len(turns),
    )
    print(measured, flush=True)
    return measured


def write_page(rows: list[str], load_before: float) -> None:
    text = (
        f"""# Ten thousand waiting conditions

Written by `make bench-waiting` on {date.today()}: {COUNT:,} triggers of deferred sensors in one event loop, each polled
once every {INTERVAL:g} s, for {SECONDS:g} s against the embedded server in its own process, on {os.cpu_count()} cores. The load of the
machine was {load_before:.1f} before the start, the server's own included {os.getloadavg()[0]:.1f} at the end.

CPU time is that of the process with the triggers, in percent of one core; the goal is less than {CPU_GOAL:g}. A block is the
longest time for which no other task of the event loop had its turn; the goal is less than {BLOCK_GOAL:g} ms. It has two causes, and
both must meet the goal: the work of the event loop's thread, in CPU time, and a garbage collection, which stops all
threads. On the clock, a block includes both and the time that other processes took. The last but one column is the
share of all turns, in percent, that came more than {BLOCK_GOAL:g} ms late on the clock.

A full collection of a process with Airflow and this many tasks takes half a second, and it is due when the objects that
have outlived younger collections are a quarter of all. So a poll should leave none behind.

| waiting for | polls per s | % of a core | longest block, CPU ms | longest block, clock ms | longest collection, ms | late turns, % | met |
|---|---:|---:|---:|---:|---:|---:|---|
"""
        + "\n".join(rows)
        + "\n"
    )
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
