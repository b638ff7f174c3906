"""Compare with the other clients in one run: ``make bench``. Prints the table and writes RESULTS.md.

Each measurement runs in its own process on one core, and the server on another; the clients alternate. For times the
minimum is compared, because other load only makes them longer; for other quantities the median. Only the ratios are
comparable between machines.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
TIMES = ("seconds", "cpu")
PACKAGES = ("lakefs-ops", "lakefs-sdk", "lakefs", "requests", "urllib3", "pydantic", "uvloop")


@dataclass
class Row:
    """One row of the table: how many times faster (or smaller) our client is than the peer, or the slowest peer."""

    what: str
    measurement: str
    peer: str | tuple[str, ...]
    goal: float
    rounds: int = 3
    ours: str = "ours"
    quantity: str = "seconds"
    at_most: bool = False  # the goal is an upper bound of the ratio

    @property
    def peers(self):
        return (self.peer,) if isinstance(self.peer, str) else self.peer


# The MD5 is computed next to the transfer, so both together should take as long as the slower of the two.
SLOWER = ("unchecked", "md5")

ROWS = [
    Row("import, compared to `import requests`", "imported", "requests", 1.2, 9, at_most=True),
    Row("import", "imported", "sdk", 5, 9),
    Row("create a client, compared to importing requests and pydantic", "created", "libraries", 1.2, 15, at_most=True),
    Row("import and the first parsed call", "first", "sdk", 3, 15),
    Row("GET branch", "get", "sdk", 1.3, 7),
    Row("GET branch", "get", "lakefs", 1.3, 7),
    Row("POST commit", "post", "sdk", 1.5, 7),
    Row("list 100,000: iterate", "iterate", "sdk", 7, 5),
    Row("list 100,000: iterate", "iterate", "lakefs", 13),
    Row("list 100,000: keep", "keep", "sdk", 5.5, 5),
    Row("list 100,000: keep, memory", "keep", "sdk", 2, quantity="memory"),
    Row("download 256 MiB", "read", "sdk", 3, 11),
    Row("download 256 MiB", "read", "lakefs", 1, 5),
    Row("download 256 MiB, CPU of the client", "read", "sdk", 3, 11, quantity="cpu"),
    Row("download 256 MiB, compared to a bare socket", "read", "socket", 1.2, 11, at_most=True),
    Row("download 256 MiB, extra memory", "read", "", 5, 5, quantity="memory", at_most=True),
    Row("download 256 MiB to a file", "download", "sdk", 0, 5),
    Row("the same in parts, resumable, with MD5", "download", "sdk", 0, 5, ours="checked"),
    Row("the same, compared to the slower of transfer and MD5", "download", SLOWER, 1.15, 9, "checked", at_most=True),
    Row("upload 256 MiB from a file", "upload", "sdk", 2.5, 5),
    Row("upload 256 MiB from a file", "upload", "lakefs", 1, 5),
    Row("upload 256 MiB, extra memory", "upload", "", 5, 5, quantity="memory", at_most=True),
    Row("the same, with MD5", "upload", "sdk", 0, 5, ours="checked"),
    Row("the same, compared to the slower of transfer and MD5", "upload", SLOWER, 1.15, 9, "checked", at_most=True),
    Row("delete 10,000", "delete", "sdk", 5, 5),
    Row("upload 2,000 small, 16 threads, 10 ms away", "small", "sdk", 0),
    Row("upload 2,000 small, 16 threads, 10 ms away", "small", "lakefs", 1),
    Row("requests for one small upload", "small", "", 1, quantity="requests", at_most=True),
    Row("GET branch from 16 threads", "concurrent", "", 1 / 900, quantity="seconds", at_most=True),
    Row("GET branch from 16 threads, CPU", "concurrent", "", 0.001, quantity="cpu", at_most=True),
]


def measure(name, client, url):
    run = subprocess.run(
        [sys.executable, HERE / "measure.py", name, client, url], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise SystemExit(f"{name} with {client} failed:\n{run.stderr}")
    return json.loads(run.stdout)


def measure_all(url):
    """Return the figures by measurement, client and quantity; the clients alternate."""
    plan = {}
    for row in ROWS:
        clients, rounds = plan.get(row.measurement, ([], 0))
        plan[row.measurement] = clients, max(rounds, row.rounds)
        for client in (row.ours, *row.peers):
            if client and client not in clients:
                clients.append(client)
    figures = {}
    for name, (clients, rounds) in plan.items():
        print(f"{name}: {', '.join(clients)} ...", file=sys.stderr, flush=True)
        found = {client: [] for client in clients}
        for _ in range(rounds):
            for client in clients:
                found[client].append(measure(name, client, url))
        for client, values in found.items():
            for quantity in values[0]:
                best = min if quantity in TIMES else statistics.median
                figures[name, client, quantity] = best(value[quantity] for value in values)
    return figures


def shown(value, quantity):
    if quantity == "memory":
        return f"{value:.1f} MB"
    if quantity == "requests":
        return f"{value:.2f}"
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def table(figures):
    yield "| what | ours | peer | | ratio | goal | |"
    yield "|---|---|---|---|---|---|---|"
    for row in ROWS:
        ours = figures[row.measurement, row.ours, row.quantity]
        if row.peer:
            theirs, slowest = max((figures[row.measurement, name, row.quantity], name) for name in row.peers)
            ratio = ours / theirs if row.at_most else theirs / max(ours, 1e-9)
            text, peer, name = f"{ratio:.2f}", shown(theirs, row.quantity), slowest.replace("sdk", "lakefs_sdk")
        else:
            ratio, text, peer, name = ours, "", "", ""
        goal = f"{'<=' if row.at_most else '>='} {shown(row.goal, row.quantity) if not row.peer else f'{row.goal:g}'}"
        reached = ratio <= row.goal * 1.005 if row.at_most else ratio >= row.goal
        if not row.goal:
            goal = verdict = ""
        else:
            verdict = "yes" if reached else "**no**"
        yield f"| {row.what} | {shown(ours, row.quantity)} | {peer} | {name} | {text} | {goal} | {verdict} |"


def machine(load):
    model = platform.processor() or platform.machine()
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    # Other load affects the rows that use both cores (download, listing) most.
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()}, {model}, {os.cpu_count()} cores, load {load:.1f} before the run.\n{versions}."
    )


def main():
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    server = subprocess.Popen(
        [sys.executable, HERE / "server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        figures = measure_all(server.stdout.readline().strip())
    finally:
        server.stdin.close()
        server.wait(10)
    text = "\n".join(table(figures))
    print(text)
    (HERE / "RESULTS.md").write_text(
        "# Benchmarks\n\n"
        "Written by `make bench`: alternating runs, each in its own process on one core, against one loopback server\n"
        "on another core. Times are the minimum of each client, because other load only makes them longer; other\n"
        "figures are medians. Where the goal is `>=`, the ratio is how many times faster or smaller our client is.\n"
        "Only ratios are comparable between machines.\n\n"
        f"{machine(load)}\n\n{text}\n"
    )


if __name__ == "__main__":
    main()
