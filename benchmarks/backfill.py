"""The time of a backfill with eight workers, next to one worker at a time.

::

    make bench-backfill

Each partition is a run of write, audit, publish in a worker process. Its computation is a wait, so that the machine's
cores do not bound it. Against the embedded server, or the lakeFS of ``LAKEFS_OPS_SERVER``. Writes
benchmarks/BACKFILL.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from lakefs_ops import LakeFSClient
from lakefs_ops.local import LocalLakeFS

WORKERS = Path(__file__).parents[1] / "tests" / "flows" / "backfill_workers.py"
PAGE = Path(__file__).with_name("BACKFILL.md")


def measure(client: LakeFSClient, secret: str, partitions: int, workers: int, compute: float) -> tuple[float, float]:
    """Return the seconds until everything is collected, and those of the publication."""
    repository = f"backfill-{uuid.uuid4().hex[:8]}"
    client.repositories.create(name=repository, storage_namespace=f"local://{repository}")
    settings = {
        "endpoint": client.config.endpoint, "access_key_id": client.config.access_key_id, "secret_access_key": secret,
        "repository": repository, "partitions": partitions, "workers": workers, "kills": 0, "compute": compute,
        "seed": 1, "early": False,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, WORKERS, json.dumps(settings)], stdout=subprocess.PIPE, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert len(result["green"]) == partitions
    return result["collected_in"], result["finished_in"]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--partitions", type=int, default=200)
    parser.add_argument("--compute", type=float, default=1.0, help="seconds of work for each partition")
    args = parser.parse_args()
    with ExitStack() as stack:
        if endpoint := os.environ.get("LAKEFS_OPS_SERVER"):
            keys = [os.environ[f"LAKEFS_OPS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
        else:
            server = stack.enter_context(LocalLakeFS())
            endpoint, keys = server.endpoint, [server.access_key_id, server.secret_access_key]
        client = stack.enter_context(LakeFSClient(endpoint, access_key_id=keys[0], secret_access_key=keys[1]))
        rows = []
        for workers in (8, 1):
            collected, finished = measure(client, keys[1], args.partitions, workers, args.compute)
            rows.append((workers, collected, finished))
            print(f"{workers} workers: {collected:.1f} s and {finished:.1f} s")
    (_, eight, _), (_, one, _) = rows
    lines = [f"| {workers} | {collected:.1f} | {finished:.1f} |" for workers, collected, finished in rows]
    server_name = "a real lakeFS 1.84" if os.environ.get("LAKEFS_OPS_SERVER") else "the embedded server"
    PAGE.write_text(
        f"""# A backfill with eight workers

Written by `make bench-backfill` on {datetime.now(UTC):%Y-%m-%d}: {args.partitions} partitions, each with
{args.compute:g} s of computation, in worker processes against {server_name}, on {os.cpu_count()} cores. The load of the
machine was {os.getloadavg()[2]:.1f}. Each run creates its branch, uploads, commits, audits and merges into the
collecting branch; one merge publishes them all.

| workers | all runs, s | publication, s |
|---:|---:|---:|
{chr(10).join(lines)}

With eight workers the backfill took {100 * eight / one:.0f} % of the time with one.
"""
    )


if __name__ == "__main__":
    main()
