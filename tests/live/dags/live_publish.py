"""Publish what the run's configuration contains; the audit refuses days that are colder than -60."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, get_current_context, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.taskgroups import LakeFSPublishTaskGroup

defaults = {"retries": 2, "retry_delay": timedelta(seconds=1)}

with (
    DAG("live_publish", schedule=None, default_args=defaults) as dag,
    LakeFSPublishTaskGroup("station", repo="lake") as run,
):

    @task
    def write(branch: str) -> None:
        conf: dict[str, Any] = get_current_context()["dag_run"].conf
        LakeFSHook().upload("lake", branch, conf["path"], f"day,celsius\n2026-01-01,{conf['celsius']}\n")

    @task
    def plausible(ref: str) -> list[str]:
        conf: dict[str, Any] = get_current_context()["dag_run"].conf
        table = LakeFSHook().get_object("lake", ref, conf["path"]).decode()
        celsius = float(table.splitlines()[1].partition(",")[2])
        return [f"{celsius} is too cold"] if celsius < -60 else []

    write(run.branch)
    with run.audits:
        plausible(run.ref)
