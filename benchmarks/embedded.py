"""Measure a lakeFS server over HTTP: the embedded one, or another one with ``--url``.

``python benchmarks/embedded.py`` starts the embedded server on repositories of 10,000 and 100,000 objects and writes
benchmarks/SERVER.md. With ``--compare URL`` the S3 gateway is measured next to that of another server, see gateway.py.
Unless noted, each figure is the median of several sequential calls.
"""

import argparse
import base64
import hashlib
import http.client
import importlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote, urlsplit

KEY, SECRET = "AKIAIOSFOLQUICKSTART", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
LARGE = 256 << 20
BLOCK = os.urandom(1 << 20)
HERE = Path(__file__).parent

TARGETS = {
    "start to first answer, ms": ("1,000", ""),
    "commit of one change, ms": ("50", "206"),
    "commit of 1,000 changes, ms": ("500", "305"),
    "merge of one change, ms": ("50", "96"),
    "diff of one change, ms": ("20", "42"),
    "listing all, 1,000 a page, ms": ("1,200", "1,500"),
    "creation of a branch, ms": ("5", "15"),
    "GET of a branch, one connection, per s": ("1,200", "220"),
    "small uploads one after another, per s": ("", "82"),
    "small uploads in 8 threads, per s": ("", "560"),
    "256 MiB up, MiB/s": ("disk", ""),
    "256 MiB down, MiB/s": ("disk", ""),
    "the disk: 256 MiB written and synced, MiB/s": ("", ""),
    "memory before, MiB": ("", ""),
    "peak memory after up and down, MiB": ("constant", ""),
}
"""Measurements, each with its target and the figure of a real lakeFS 1.84, for 100,000 objects on two cores."""


class Caller:
    """One connection."""

    def __init__(self, url, key, secret):
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        self.headers = {"Authorization": "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()}

    def send(self, method, path, value=None, *, raw=None, headers=None):
        headers = {**self.headers, **(headers or {})}
        if value is not None:
            raw, headers["Content-Type"] = json.dumps(value).encode(), "application/json"
        self.connection.request(method, f"/api/v1{path}", raw, headers)
        answer = self.connection.getresponse()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.read()!r}")
        return answer

    def __call__(self, method, path, value=None, **more):
        return self.send(method, path, value, **more).read()


def milliseconds(work, times):
    """Return the median time of a function, which returns the start of the measured part."""
    taken = []
    for _ in range(times):
        began = work()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def rate(work, seconds):
    """Return how often a function runs per second."""
    done, began = 0, time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        work()
        done += 1
    return done / (now - began)


class Bench:
    def __init__(self, url, key, secret, pid, objects):
        self.make = lambda: Caller(url, key, secret)
        self.call = self.make()
        self.pid = pid
        self.objects = objects
        self.repository = f"bench-{uuid.uuid4().hex[:8]}"
        self.lake = f"/repositories/{self.repository}"

    def upload(self, branch, path, call=None):
        return (call or self.call)(
            "POST", f"{self.lake}/branches/{branch}/objects?path={quote(path)}", raw=os.urandom(16)
        )

    def uploads(self, branch, paths, threads=8):
        """Upload in threads; return the time in seconds."""
        paths, ready = list(paths), threading.Barrier(threads + 1)

        def run(part):
            call = self.make()
            call("GET", self.lake)
            ready.wait()
            for path in part:
                self.upload(branch, path, call)

        workers = [threading.Thread(target=run, args=(paths[n::threads],)) for n in range(threads)]
        for worker in workers:
            worker.start()
        ready.wait()
        began = time.perf_counter()
        for worker in workers:
            worker.join()
        return time.perf_counter() - began

    def some(self, number):
        """Return the paths of random objects."""
        return [name(at) for at in random.sample(range(self.objects), number)]

    def branch(self):
        name = f"b-{uuid.uuid4().hex}"
        self.call("POST", f"{self.lake}/branches", {"name": name, "source": "main"})
        return name

    def commit(self, branch):
        self.call("POST", f"{self.lake}/branches/{branch}/commits", {"message": "a change"})

    def a_commit(self, changes):
        branch = self.branch()

        def work():
            self.uploads(branch, self.some(changes), min(8, changes))
            began = time.perf_counter()
            self.commit(branch)
            return began

        return work

    def a_merge(self):
        branch = self.branch()
        for changed in (branch, "main"):
            self.upload(changed, *self.some(1))
            self.commit(changed)
        began = time.perf_counter()
        self.call("POST", f"{self.lake}/refs/{branch}/merge/main", {})
        return began

    def a_diff(self):
        branch = self.branch()
        self.upload(branch, *self.some(1))
        self.commit(branch)
        began = time.perf_counter()
        self.call("GET", f"{self.lake}/refs/main/diff/{branch}")
        return began

    def a_branch(self):
        began = time.perf_counter()
        self.branch()
        return began

    def a_listing(self):
        began, after = time.perf_counter(), ""
        while True:
            page = json.loads(self.call("GET", f"{self.lake}/refs/main/objects/ls?amount=1000&after={quote(after)}"))
            if not page["pagination"]["has_more"]:
                return began
            after = page["pagination"]["next_offset"]

    def up(self):
        headers = {"Content-Length": str(LARGE)}
        began = time.perf_counter()
        path = f"{self.lake}/branches/main/objects?path=large"
        self.call("POST", path, raw=(BLOCK for _ in range(LARGE >> 20)), headers=headers)
        return began

    def down(self):
        began = time.perf_counter()
        answer = self.call.send("GET", f"{self.lake}/refs/main/objects?path=large")
        while answer.read(1 << 20):
            pass
        return began

    def memory(self, name):
        if self.pid is None:
            return None
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith(name))

    def measure(self):
        """Yield each measurement and its figure."""
        yield "commit of one change, ms", milliseconds(self.a_commit(1), 41)
        yield "commit of 1,000 changes, ms", milliseconds(self.a_commit(1000), 3)
        yield "merge of one change, ms", milliseconds(self.a_merge, 41)
        yield "diff of one change, ms", milliseconds(self.a_diff, 41)
        yield "listing all, 1,000 a page, ms", milliseconds(self.a_listing, 3)
        yield "creation of a branch, ms", milliseconds(self.a_branch, 31)
        yield "GET of a branch, one connection, per s", rate(lambda: self.call("GET", f"{self.lake}/branches/main"), 3)
        branch = self.branch()
        yield "small uploads one after another, per s", rate(lambda: self.upload(branch, f"s/{uuid.uuid4().hex}"), 3)
        paths = [f"t/{number}" for number in range(2000)]
        yield "small uploads in 8 threads, per s", len(paths) / self.uploads(branch, paths)
        yield "memory before, MiB", self.memory("VmRSS")
        yield "256 MiB up, MiB/s", (LARGE >> 20) / milliseconds(self.up, 3) * 1000
        yield "256 MiB down, MiB/s", (LARGE >> 20) / milliseconds(self.down, 3) * 1000
        yield "peak memory after up and down, MiB", self.memory("VmHWM")


def name(number):
    return f"data/{number % 100:02}/{number:08}.parquet"


def fill(directory, repository, objects):
    """Write objects directly to the store of a stopped embedded server."""
    from lakefs_ops.local.handlers.objects import new_address
    from lakefs_ops.local.store.lake import Lake
    from lakefs_ops.local.store.trees import Entry
    from lakefs_ops.local.store.versions import Versions

    lake = Lake(directory)
    known = lake.repository(repository)
    incoming = lake.blobs.write()
    incoming.write(b"1")
    incoming.keep()
    digest, now = hashlib.md5(b"1", usedforsecurity=False).hexdigest(), int(time.time())
    kind = "application/octet-stream"
    content = {path: Entry(new_address(known), digest, 1, now, {}, kind) for path in map(name, range(objects))}
    versions = Versions(lake, known, "bench")
    versions.replace("main", lambda tree: lake.trees.apply(tree, content), message="all", metadata={})
    lake.close()


def serve(directory):
    """Start the embedded server; return its process, its URL and the milliseconds until its first response."""
    command = [sys.executable, "-m", "lakefs_ops.local", "--data", str(directory), "--port", "0"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    url = process.stdout.readline().strip()
    Caller(url, KEY, SECRET)("GET", "/config")
    return process, url, (time.perf_counter() - began) * 1000


def stop(process):
    process.terminate()
    process.communicate(timeout=30)


def disk(directory):
    """Return the write speed of the disk for a large file, in MiB/s, as the reference for uploads."""

    def write():
        began = time.perf_counter()
        with (directory / "disk").open("wb") as file:
            for _ in range(LARGE >> 20):
                file.write(BLOCK)
            file.flush()
            os.fsync(file.fileno())
        return began

    took = milliseconds(write, 3)
    (directory / "disk").unlink()
    return (LARGE >> 20) / took * 1000


def create(bench, namespace):
    value = {"name": bench.repository, "storage_namespace": f"{namespace.rstrip('/')}/{bench.repository}"}
    bench.call("POST", "/repositories", value)


def run(bench, found):
    for what, figure in bench.measure():
        found[what] = figure
        print(f"  {what:45} {show(figure)}", flush=True)
    return found


def embedded(objects):
    print(f"embedded, {objects:,} objects", flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        directory = Path(folder)
        process, url, _ = serve(directory)
        bench = Bench(url, KEY, SECRET, None, objects)
        create(bench, "local://bench")
        stop(process)
        fill(directory, bench.repository, objects)
        process, url, took = serve(directory)
        try:
            serving = Bench(url, KEY, SECRET, process.pid, objects)
            serving.repository, serving.lake = bench.repository, bench.lake
            found = run(serving, {"start to first answer, ms": took})
        finally:
            stop(process)
        found["the disk: 256 MiB written and synced, MiB/s"] = disk(directory)
        return found


def other(arguments, objects):
    print(f"{arguments.url}, {objects:,} objects", flush=True)
    bench = Bench(arguments.url, arguments.key, arguments.secret, arguments.pid, objects)
    create(bench, arguments.namespace)
    try:
        bench.uploads("main", map(name, range(objects)), 16)
        bench.commit("main")
        return run(bench, {})
    finally:
        bench.call("DELETE", bench.lake)


def show(figure):
    if figure is None:
        return ""
    return f"{figure:,.2f}" if figure < 2 else f"{figure:,.1f}" if figure < 20 else f"{figure:,.0f}"


def table(results):
    heads = ["", *(f"{objects:,} objects" for objects in results), "target", "lakeFS 1.84, for orientation"]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for what, targets in TARGETS.items():
        rows.append([what, *(show(found.get(what)) for found in results.values()), *targets])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def installed(name):
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, action="append", help="number of objects (default: 10,000 and 100,000)")
    parser.add_argument("--url", help="measure this server instead, after uploading the objects")
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--secret", default=SECRET)
    parser.add_argument("--namespace", default="local://bench", help="storage namespace of the repositories")
    parser.add_argument("--pid", type=int, help="process ID of the server, to measure its memory")
    parser.add_argument("--print", action="store_true", help="do not write SERVER.md")
    gateway = importlib.import_module("gateway")
    gateway.add_arguments(parser)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    results = {
        objects: other(arguments, objects) if arguments.url else embedded(objects)
        for objects in arguments.objects or (10_000, 100_000)
    }
    if arguments.print or arguments.url:
        print(table(results))
        return
    libraries = ", ".join(map(installed, ("uvicorn", "httptools", "uvloop")))
    (HERE / "SERVER.md").write_text(
        f"""# The embedded server

Measured on {date.today()} with `make bench-server`: lakefs-ops {version("lakefs-ops")}, {os.cpu_count()} cores (load
{load:.1f} before the run), {platform.system()} {platform.machine()}, Python {platform.python_version()},
{libraries}. Server and client share the machine. Each time is a median, over HTTP.

The changed objects are random, and merges have changes on both sides.

{table(results)}

## The S3 gateway

The same machine, the servers in turns, each figure the best of {arguments.rounds} rounds. boto3 has its defaults,
except that it sends checksums only where they are required.

{gateway.run(arguments)}
"""
    )


if __name__ == "__main__":
    main()
