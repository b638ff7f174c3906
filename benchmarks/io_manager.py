"""The IO manager next to those that write to local files or S3, with the same frames; and its memory with 1 GB.

::

    make bench-io

Each manager stores a polars frame and loads it again in a Dagster run; only the time in the manager counts. The
embedded lakeFS and an S3 server (moto, which needs the extra ``bench-io``) run in their own processes. Writes
benchmarks/IO_MANAGER.md.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"

import dagster as dg
import numpy as np
import polars as pl

from dagster_resources import LakeFSIOManager, LakeFSResource
from lakefs_ops import LakeFSClient

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEY = "AKIAIOSFOLQUICKSTART"
SIZES = {"1,000 rows": (1_000, 15), "1,000,000 rows": (1_000_000, 5)}
LARGE = 1 << 30
"""Bytes of the large parquet file."""
PAGE = Path(__file__).with_name("IO_MANAGER.md")


@contextmanager
def server(*command: str) -> Iterator[str]:
    """Run a server; yield the first line that it prints."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def frame(rows: int) -> pl.DataFrame:
    random = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "id": np.arange(rows),
            "celsius": random.normal(10, 8, rows),
            "city": random.choice(["Berlin", "Hanoi", "Lima", "Oslo"], rows),
            "wind": random.random(rows),
        }
    )


def lakefs_manager(endpoint: str, repository: str, isolation: str) -> tuple[LakeFSResource, LakeFSIOManager]:
    lakefs = LakeFSResource(endpoint=endpoint, access_key_id=KEY, secret_access_key=SECRET)
    return lakefs, LakeFSIOManager(lakefs=lakefs, repository=repository, isolation=isolation)


def managers(endpoint: str, folder: str) -> Iterator[tuple[str, Any]]:
    """Yield the name of each manager, and its resource."""
    yield "files, pickle (Dagster's default)", dg.FilesystemIOManager(base_dir=f"{folder}/pickle")
    try:
        from dagster_polars import PolarsParquetIOManager
    except ImportError:
        pass
    else:
        yield "files, parquet (dagster-polars)", PolarsParquetIOManager(base_dir=f"{folder}/polars")
    if "S3_ENDPOINT" in os.environ:
        import boto3
        from dagster_aws.s3 import S3PickleIOManager, S3Resource

        s3 = {"endpoint_url": os.environ["S3_ENDPOINT"], "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        boto3.client("s3", region_name="us-east-1", **s3).create_bucket(Bucket="bench")
        yield (
            "S3, pickle (dagster-aws)",
            S3PickleIOManager(s3_resource=S3Resource(region_name="us-east-1", **s3), s3_bucket="bench"),
        )
    for isolation in ("none", "run", "asset"):
        yield f"lakeFS, parquet, isolation {isolation}", lakefs_manager(endpoint, "lake", isolation)[1]


def timed(manager: Any, spent: dict[str, list[float]]) -> dg.IOManagerDefinition:
    """Wrap a manager so that the time in it is recorded."""

    class Timed(dg.IOManager):
        def __init__(self, inner: dg.IOManager) -> None:
            self._inner = inner

        def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
            begin = time.perf_counter()
            self._inner.handle_output(context, obj)
            spent["write"].append(time.perf_counter() - begin)

        def load_input(self, context: dg.InputContext) -> Any:
            begin = time.perf_counter()
            value = self._inner.load_input(context)
            spent["read"].append(time.perf_counter() - begin)
            return value

    @dg.io_manager(required_resource_keys={"inner"})
    def wrapper(context: dg.InitResourceContext) -> Timed:
        return Timed(context.resources.inner)

    return wrapper


def compare(endpoint: str, instance: dg.DagsterInstance, folder: str) -> list[str]:
    lines = []
    for label, (rows, runs) in SIZES.items():
        data = frame(rows)
        spent: dict[str, dict[str, list[float]]] = {}
        publish: list[float] = []

        @dg.asset
        def written(config_rows: dg.ResourceParam[int]) -> pl.DataFrame:
            return data.with_columns(pl.lit(config_rows).alias("run"))  # noqa: B023

        @dg.asset
        def read(written: pl.DataFrame) -> None:
            assert written.height == data.height  # noqa: B023

        found = list(managers(endpoint, f"{folder}/{rows}"))
        for number in range(runs + 1):
            for name, manager in found:
                times = spent.setdefault(name, defaultdict(list))
                resources = {"inner": manager, "io_manager": timed(manager, times), "config_rows": number}
                result = dg.materialize([written, read], instance=instance, resources=resources)
                if name.endswith("isolation run"):
                    publish.append(_publish(endpoint, result.run_id))
        local = next((name for name in spent if "dagster-polars" in name), next(iter(spent)))
        base = {kind: statistics.median(spent[local][kind][1:]) for kind in ("write", "read")}
        lines += [f"## {label}", "", "| manager | write, ms | ratio | read, ms | ratio |", "|---|---:|---:|---:|---:|"]
        for name, times in spent.items():
            write, load = (statistics.median(times[kind][1:]) for kind in ("write", "read"))
            lines.append(
                f"| {name} | {write * 1e3:.1f} | {write / base['write']:.1f}"
                f" | {load * 1e3:.1f} | {load / base['read']:.1f} |"
            )
        lines += [
            "",
            f"Commit and merge of a run's branch at its end: {statistics.median(publish[1:]) * 1e3:.1f} ms.",
            "",
        ]
    return lines


def _publish(endpoint: str, run_id: str) -> float:
    """Commit a run's branch, merge and delete it; return the seconds."""
    with LakeFSClient(endpoint, access_key_id=KEY, secret_access_key=SECRET) as client:
        from lakefs_ops.flows.publish import WriteAuditPublish

        begin = time.perf_counter()
        run = WriteAuditPublish(client, "lake", key=run_id, branch=f"dagster-{run_id}", named_by_key=True)
        run.publish(run.seal())
        return time.perf_counter() - begin


def make_large(file: Path, size: int) -> None:
    """Write a parquet file of about this size in bytes, of incompressible numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random, rows = np.random.default_rng(1), 1 << 20
    schema = pa.schema([(f"c{number}", pa.float64()) for number in range(8)])
    with pq.ParquetWriter(file, schema, compression=None, use_dictionary=False) as writer:
        for _ in range(size // (8 * rows * len(schema))):
            writer.write_table(pa.table([random.random(rows) for _ in schema], schema=schema))


def anonymous() -> int:
    """Return the bytes of memory of this process that are not the content of files."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


@contextmanager
def sampled() -> Iterator[list[int]]:
    """Yield a list that a thread fills with the memory of this process, every 10 ms."""
    samples, done = [anonymous()], threading.Event()

    def sample() -> None:
        while not done.wait(0.01):
            samples.append(anonymous())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def pass_through(kind: str, endpoint: str, file: str) -> None:
    """Store the large file as a lazy value, load it, and aggregate it; print the peak memory and times."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    @dg.asset
    def large() -> Any:
        return pl.scan_parquet(file) if kind == "polars.LazyFrame" else ds.dataset(file)

    @dg.asset(ins={"large": dg.AssetIn(dagster_type=pl.LazyFrame if kind == "polars.LazyFrame" else ds.Dataset)})
    def total(large: Any) -> None:
        if kind == "polars.LazyFrame":
            assert large.select(pl.col("c0").sum()).collect(engine="streaming").item() > 0
        else:
            assert sum(batch.num_rows for batch in large.to_batches(columns=["c0"])) > 0

    spent: dict[str, list[float]] = defaultdict(list)
    manager = lakefs_manager(endpoint, "lake", "run")[1]
    with dg.DagsterInstance.ephemeral() as instance:
        assert pl.from_arrow(pa.table({"c0": [1.0]})).height == 1  # what the libraries load is not the run's memory
        resources = {"inner": manager, "io_manager": timed(manager, spent)}
        before = anonymous()
        with sampled() as samples:
            assert dg.materialize([large, total], instance=instance, resources=resources).success
    extra = (max(samples) - before) / (1 << 20)
    print(json.dumps({"extra": extra, "write": spent["write"][0], "read": spent["read"][0]}))


def alone(kind: str, file: str) -> None:
    """Write the file to another local one with the library alone; print the peak memory."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    copy = f"{file}.copy"
    assert pl.from_arrow(pa.table({"c0": [1.0]})).height == 1
    before = anonymous()
    with sampled() as samples:
        if kind == "polars.LazyFrame":
            pl.scan_parquet(file).sink_parquet(copy)
        else:
            dataset = ds.dataset(file)
            with pq.ParquetWriter(copy, dataset.schema) as writer:
                for batch in dataset.to_batches():
                    writer.write_batch(batch)
    Path(copy).unlink()
    print(json.dumps({"extra": (max(samples) - before) / (1 << 20)}))


def run_alone(*arguments: str) -> dict[str, float]:
    """Run a part of this file in a process; return what it prints last."""
    command = [sys.executable, __file__, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def measure_large(endpoint: str, folder: str) -> list[str]:
    lines = [
        "## Memory",
        "",
        "One parquet file, stored and loaded in one run; the peak of the process's memory above that before the run,",
        "without the pages of mapped files, which the system takes back when it needs them. For comparison, the memory",
        "of the library alone when it copies the file on the local disk, with its defaults.",
        "",
        "| value | file, MB | memory, MB | library alone, MB | write, s | read, s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    file = Path(folder) / "large.parquet"
    for size in (LARGE // 4, LARGE):
        make_large(file, size)
        for kind in ("polars.LazyFrame", "pyarrow.dataset.Dataset"):
            found = run_alone("--large", kind, endpoint, str(file))
            library = run_alone("--alone", kind, str(file))["extra"]
            lines.append(
                f"| {kind} | {file.stat().st_size / 1e6:,.0f} | {found['extra']:.0f} | {library:.0f}"
                f" | {found['write']:.1f} | {found['read']:.1f} |"
            )
    return [*lines, ""]


def main() -> None:
    if sys.argv[1:2] == ["--large"]:
        pass_through(*sys.argv[2:])
        return
    if sys.argv[1:2] == ["--alone"]:
        alone(*sys.argv[2:])
        return
    with (
        server("-m", "lakefs_ops.local", "--port", "0") as endpoint,
        tempfile.TemporaryDirectory() as folder,
        dg.DagsterInstance.ephemeral() as instance,
        LakeFSClient(endpoint, access_key_id=KEY, secret_access_key=SECRET) as client,
    ):
        client.repositories.create(name="lake", storage_namespace="local://lake")
        lines = [*compare_with_s3(endpoint, instance, folder), *measure_large(endpoint, folder)]
    names = ("dagster", "polars", "pyarrow", "dagster-polars", "dagster-aws")
    PAGE.write_text("\n".join([*head(names), *lines]).rstrip() + "\n")
    sys.stdout.write(PAGE.read_text())


def compare_with_s3(endpoint: str, instance: dg.DagsterInstance, folder: str) -> list[str]:
    if find_spec("moto") is None:
        return compare(endpoint, instance, folder)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            os.environ["S3_ENDPOINT"] = f"http://127.0.0.1:{port}"
            return compare(endpoint, instance, folder)
        finally:
            process.terminate()


def head(names: tuple[str, ...]) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except ImportError:
            continue
    load = os.getloadavg()[0]
    return [
        "# The IO manager",
        "",
        f"Written by `make bench-io` on {date.today()}: CPython {platform.python_version()}, {', '.join(found[:2])},",
        f"{', '.join(found[2:])},",
        f"{os.cpu_count()} cores, load {load:.1f}. Each manager stores a polars frame and loads it again, in turn;",
        "medians of the time in the manager. The ratio is to the first manager that stores parquet in local files,",
        "without a server.",
        "",
    ]


if __name__ == "__main__":
    main()
