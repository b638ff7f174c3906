"""Write, audit, publish with Airflow: a month of weather reaches `main` only when its audits pass.

To try it, copy this file into your DAG folder. It needs a lakeFS repository, a connection `lakefs_default` of type
lakefs, and a folder with one file for each month, such as `2013-01.csv`. Trigger it with the parameters below.

The tasks write to a branch of their run, and the audits read one commit of it. If an audit fails, `main` is unchanged,
and the branch is kept: correct the batch, clear `land`, and the run goes on from there.
"""

from __future__ import annotations

import calendar
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.taskgroups import LakeFSPublishTaskGroup, audit

MONTH = "{{ params.month }}"
POSSIBLE = {"precipitation": (0, 600), "temp_max": (-40, 55), "temp_min": (-40, 55), "wind": (0, 60)}
MARGIN = 15
"""How far a temperature may exceed the range of the same month in other years, in °C."""


def read_days(repo: str, ref: str, path: str) -> list[dict[str, Any]]:
    """Return the rows of a table in lakeFS."""
    with LakeFSHook().get_conn() as client:
        table = client.objects.get(repo, ref, path).decode()
    return [row | {name: float(row[name] or "nan") for name in POSSIBLE} for row in csv.DictReader(io.StringIO(table))]


@task
def land(branch: str, params: dict[str, str]) -> None:
    """Upload the batch, as delivered."""
    batch = Path(params["inbox"], f"{params['month']}.csv").read_bytes()
    with LakeFSHook().get_conn() as client:
        client.objects.upload(params["repository"], branch, f"raw/{params['month']}.csv", batch)


@task
def transform(branch: str, params: dict[str, str]) -> None:
    """Write the month's daily table and its summary."""
    repo, month = params["repository"], params["month"]
    days = sorted(read_days(repo, branch, f"raw/{month}.csv"), key=lambda day: day["date"])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["date", *POSSIBLE, "temp_mean"])
    for day in days:
        mean = round((day["temp_max"] + day["temp_min"]) / 2, 2)
        writer.writerow([day["date"], *(day[name] for name in POSSIBLE), mean])
    summary = {
        "month": month,
        "days": len(days),
        "wet_days": sum(day["precipitation"] >= 1 for day in days),
        "precipitation": round(sum(day["precipitation"] for day in days), 1),
        "temp_mean": round(sum(day["temp_max"] + day["temp_min"] for day in days) / (2 * len(days)), 1),
        "temp_max": max(day["temp_max"] for day in days),
        "temp_min": min(day["temp_min"] for day in days),
    }
    with LakeFSHook().get_conn() as client:
        client.objects.upload(repo, branch, f"daily/{month}.csv", table.getvalue().encode())
        client.objects.upload(repo, branch, f"summary/{month}.json", (json.dumps(summary, indent=2) + "\n").encode())


@audit
def every_day_present(ref: str, params: dict[str, str]) -> Iterator[str]:
    """Every day of the month has a row, and no other day does."""
    month = params["month"]
    days = {day["date"] for day in read_days(params["repository"], ref, f"daily/{month}.csv")}
    expected = {f"{month}-{day:02}" for day in range(1, calendar.monthrange(*map(int, month.split("-")))[1] + 1)}
    for day in sorted(expected - days):
        yield f"{day} is missing"
    for day in sorted(days - expected):
        yield f"{day} is not of this month"


@audit
def no_day_twice(ref: str, params: dict[str, str]) -> Iterator[str]:
    """No day has two rows."""
    days = read_days(params["repository"], ref, f"daily/{params['month']}.csv")
    for day, rows in Counter(day["date"] for day in days).items():
        if rows > 1:
            yield f"{day} has {rows} rows"


@audit
def physically_possible(ref: str, params: dict[str, str]) -> Iterator[str]:
    """Every value is present and can occur on Earth."""
    for day in read_days(params["repository"], ref, f"daily/{params['month']}.csv"):
        for name, (lowest, highest) in POSSIBLE.items():
            if not lowest <= day[name] <= highest:
                yield f"{day['date']} {name} {day[name]:g}"


@audit
def fits_the_climate(ref: str, params: dict[str, str]) -> Iterator[str]:
    """Temperatures are near those of the same month in other years on main."""
    repo, path = params["repository"], f"daily/{params['month']}.csv"
    with LakeFSHook().get_conn() as client:
        tables = [entry.path for entry in client.objects.list(repo, "main", prefix="daily/")]
    seen = [day for table in tables if table[-7:] == path[-7:] != path for day in read_days(repo, "main", table)]
    for name in ("temp_max", "temp_min") if seen else ():
        lowest, highest = min(day[name] for day in seen) - MARGIN, max(day[name] for day in seen) + MARGIN
        for day in read_days(repo, ref, path):
            if not lowest <= day[name] <= highest:
                yield f"{day['date']} {name} {day[name]:g}, usual {lowest:g} to {highest:g}"


@dag(
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    params={
        "month": Param(
            "2013-01", type="string", pattern=r"^\d{4}-\d{2}$", description="Month of the batch to publish."
        ),
        "inbox": Param("/data/weather", type="string", description="Folder that holds the batch."),
        "repository": Param("weather", type="string", description="Repository to publish the batch to."),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["lakefs", "example"],
)
def weather_wap() -> None:
    with LakeFSPublishTaskGroup(
        "weather",
        repo="{{ params.repository }}",
        message=f"Weather of {MONTH}",
        merge_message=f"Publish the weather of {MONTH}",
        metadata={"month": MONTH},
    ) as run:
        land(run.branch) >> transform(run.branch)
        with run.audits:
            every_day_present(run.ref)
            no_day_twice(run.ref)
            physically_possible(run.ref)
            fits_the_climate(run.ref)


weather_wap()
