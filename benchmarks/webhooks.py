"""The time from a commit in lakeFS to its event in Airflow and in Dagster: with webhooks, and with polls.

::

    make bench-webhooks

Against the embedded server in its own process, or the lakeFS of ``LAKEFS_OPS_SERVER``, whose environment has the same
``LAKEFSACTION_WEBHOOK_SECRET``. Writes benchmarks/WEBHOOKS.md.

The clock starts before the request that commits, and stops when the host has the event: Airflow's database an asset
event, Dagster's event log an observation, a trigger of Airflow its event. The polls of the triggers start at times that
are spread over one interval, so that the commits meet all phases of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

EVENTS = 50
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEY = "AKIAIOSFOLQUICKSTART"
PAGE = Path(__file__).with_name("WEBHOOKS.md")
WEBHOOK_SECRET = "LAKEFSACTION_WEBHOOK_SECRET"


@contextmanager
def lakefs() -> Iterator[str]:
    """Yield the address of a lakeFS."""
    if endpoint := os.environ.get("LAKEFS_OPS_SERVER"):
        yield endpoint
        return
    command = [sys.executable, "-m", "lakefs_ops.local", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def main() -> None:
    os.environ.setdefault(WEBHOOK_SECRET, "a secret of enough characters")
    with tempfile.TemporaryDirectory() as home, lakefs() as endpoint:
        connection = {"conn_type": "lakefs", "host": endpoint, "login": KEY, "password": SECRET}
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LAKEFS__WEBHOOK_SECRET": os.environ[WEBHOOK_SECRET],
            "AIRFLOW__LAKEFS__POLL_INTERVAL": "0",
            "AIRFLOW_CONN_LAKEFS_DEFAULT": json.dumps(connection),
            "DAGSTER_HOME": home,
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }
        load = os.getloadavg()[0]
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.utils.db import initdb

        from airflow_provider.triggers import LakeFSCommitTrigger

        initdb()
        DagBundlesManager().sync_bundles_to_db()
        interval = LakeFSCommitTrigger(repo="lake", branch="main").poll_interval
        rows = [
            ("webhook to Airflow's plugin, an asset event", airflow(endpoint)),
            ("webhook to `LakeFSWebhooks`, an observation in Dagster", dagster(endpoint)),
            (f"`LakeFSCommitTrigger`, every {interval:g} s (the default)", asyncio.run(polls(endpoint, interval))),
        ]
    write_page(rows, load)


def connect(endpoint: str) -> tuple[Any, str]:
    """Return a client, and a new repository."""
    from lakefs_ops import LakeFSClient

    client = LakeFSClient(endpoint, access_key_id=KEY, secret_access_key=SECRET)
    repository = f"webhooks-{uuid.uuid4().hex[:8]}"
    client.repositories.create(name=repository, storage_namespace=f"local://{repository}")
    return client, repository


def airflow(endpoint: str) -> list[float]:
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.models.asset import AssetEvent
    from airflow.sdk import DAG, Asset, task
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_provider.plugin import LakeFSPlugin

    client, repository = connect(endpoint)
    with DAG("report", schedule=[Asset(f"lakefs://{repository}/main")], is_paused_upon_creation=False) as dag:

        @task
        def report() -> None: ...

        report()
    with create_session() as session:
        stored = [LazyDeserializedDAG.from_dag(dag)]
        update_dag_parsing_results_in_db("dags-folder", None, stored, {}, None, set(), session)

    def newest() -> str | None:
        with create_session() as session:
            event = session.scalars(select(AssetEvent).order_by(AssetEvent.id.desc()).limit(1)).first()
            return event.extra["commit_id"] if event else None

    route = next(app for app in LakeFSPlugin.fastapi_apps if app["url_prefix"] == "/lakefs")
    return pushed(client, repository, route["app"], "webhook", newest)


def dagster(endpoint: str) -> list[float]:
    import dagster as dg

    from dagster_resources import LakeFSResource, LakeFSWebhooks, build_lakefs_observable_source

    client, repository = connect(endpoint)
    source = build_lakefs_observable_source(key="source", repository=repository)
    resource = LakeFSResource(endpoint=endpoint, access_key_id=KEY, secret_access_key=SECRET)
    with dg.DagsterInstance.get() as instance:

        def newest() -> str | None:
            records = instance.fetch_observations(source.key, limit=1).records
            event = records[0].asset_observation if records else None
            return str(event.metadata["lakefs/commit_id"].value) if event else None

        app = LakeFSWebhooks(
            [source], lakefs=resource, secret=os.environ[WEBHOOK_SECRET], instance=instance, poll_interval=0
        )
        return pushed(client, repository, app, "", newest)


def pushed(client: Any, repository: str, app: Any, path: str, newest: Callable[[], str | None]) -> list[float]:
    """Return the seconds until the newest event is that of the commit, for each commit."""
    from example_dags.serving import serving
    from lakefs_ops.flows.webhooks import install_webhook

    with serving(app) as port:
        url = f"http://127.0.0.1:{port}/{path}"
        install_webhook(client, repository, "main", url=url, watch=["main"])
        time.sleep(10)  # lakeFS caches the actions of a branch
        times = []
        for number in range(EVENTS):
            client.objects.upload(repository, "main", f"{number}", b"1")
            began = time.monotonic()
            made = client.commits.create(repository, "main", message=f"{number}").id
            while newest() != made:
                assert time.monotonic() - began < 60, "the webhook was lost"
                time.sleep(0.005)
            times.append(time.monotonic() - began)
    return times


async def polls(endpoint: str, interval: float) -> list[float]:
    """Return the seconds until a trigger reports a commit, for each of many branches at the same time."""
    from airflow_provider.triggers import LakeFSCommitTrigger

    client, repository = connect(endpoint)
    began: dict[str, float] = {}
    times: list[float] = []
    dice = random.Random(1)

    async def watch(branch: str) -> None:
        await asyncio.sleep(dice.random() * interval)
        async for _ in LakeFSCommitTrigger(repo=repository, branch=branch).run():
            times.append(time.monotonic() - began[branch])
            return

    branches = [f"b{number}" for number in range(EVENTS)]
    for branch in branches:
        client.branches.create(repository, name=branch, source="main")
    watches = [asyncio.create_task(watch(branch)) for branch in branches]
    await asyncio.sleep(1.2 * interval)  # each one has polled once
    for branch in branches:
        client.objects.upload(repository, branch, "1", b"1")
        began[branch] = time.monotonic()
        client.commits.create(repository, branch, message="1")
        await asyncio.sleep(0)
    await asyncio.gather(*watches)
    return times


def write_page(rows: list[tuple[str, list[float]]], load: float) -> None:
    server = "a real lakeFS 1.84" if os.environ.get("LAKEFS_OPS_SERVER") else "the embedded server in its own process"
    lines = []
    for name, times in rows:
        median, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        lines.append(f"| {name} | {median:.2f} | {p95:.2f} | {max(times):.2f} |")
    text = f"""# Seconds from a commit to its event

Written by `make bench-webhooks` on {datetime.now(UTC):%Y-%m-%d}: {EVENTS} commits for each row, against {server}, on
{os.cpu_count()} cores. The load of the machine was {load:.1f} before the start. The clock starts before the request
that commits, and stops when the host has stored the event; both hosts store in SQLite. The goal is less than a second.

| event | median, s | 95 %, s | longest, s |
|---|---:|---:|---:|
{chr(10).join(lines)}

Between events, webhooks cost no request (`test_an_idle_receiver_sends_nothing` counts them); a poll costs one for each
interval, whether anything has happened or not.
"""
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
