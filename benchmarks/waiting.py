"""The cost of a thousand waiting conditions for one process, with single requests and with shared listings.

::

    make bench-waiting

Each round polls 1,000 branches once, in 16 threads, against the embedded server in its own process. Waiting with an
interval of 30 s costs one round every 30 s. Writes benchmarks/WAITING.md.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from lakefs_ops import LakeFSClient
from lakefs_ops.flows.conditions import NewCommit
from lakefs_ops.flows.polling import BranchPoller

COUNT, INTERVAL, ROUNDS = 1000, 30.0, 5
GOAL = 5.0
"""Maximum share of one core that waiting may take, in percent."""

PAGE = Path(__file__).with_name("WAITING.md")


def main() -> None:
    command = [sys.executable, "-m", "lakefs_ops.local", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        try:
            measure(endpoint)
        finally:
            server.terminate()


def measure(endpoint: str) -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    with LakeFSClient(endpoint, access_key_id="AKIAIOSFOLQUICKSTART", secret_access_key=secret) as client:
        client.repositories.create(name="lake", storage_namespace="local://lake")
        head = client.branches.get("lake", "main").commit_id
        for number in range(COUNT):
            client.branches.create("lake", name=f"run-{number}", source="main")
        conditions = [NewCommit(repository="lake", branch=f"run-{n}", after=head) for n in range(COUNT)]
        poller = BranchPoller(client)
        rows = []
        for name, poll in (("single requests", lambda c: c.poll(client)), ("shared listing", poller.poll)):
            seconds, cpu = [], []
            for _ in range(ROUNDS):
                wall, own = time.perf_counter(), time.process_time()
                with ThreadPoolExecutor(16) as pool:
                    assert all(verdict.state == "waiting" for verdict in pool.map(poll, conditions))
                seconds.append(time.perf_counter() - wall)
                cpu.append(time.process_time() - own)
                time.sleep(2.1)
            middle = sorted(cpu)[ROUNDS // 2]
            share = 100 * middle / INTERVAL
            rows.append(
                f"| {name} | {1000 * sorted(seconds)[ROUNDS // 2]:.0f} | {1000 * middle / COUNT:.3f}"
                f" | {share:.2f} | {GOAL:g} | {'yes' if share < GOAL else '**no**'} |"
            )
        text = (
            f"""# A thousand waiting conditions

Written by `make bench-waiting` on {date.today()}: {COUNT:,} conditions in one process, each for
its own branch, polled once every {INTERVAL:g} s; medians of {ROUNDS} rounds against the embedded server. CPU time is
that of the waiting process.

| polling | ms per round | CPU ms per poll | % of a core | goal, % | met |
|---|---:|---:|---:|---:|---|
"""
            + "\n".join(rows)
            + "\n"
        )
        PAGE.write_text(text)
        print(text)


if __name__ == "__main__":
    main()
