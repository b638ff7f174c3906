"""Publish only what a person has approved."""

from airflow.sdk import DAG, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.taskgroups import LakeFSPublishTaskGroup, audit

with DAG("live_approval", schedule=None) as dag, LakeFSPublishTaskGroup("station", repo="lake", into="main") as run:

    @task
    def write(branch: str, path: str) -> None:
        LakeFSHook().upload("lake", branch, path, "day,celsius\n2026-01-01,-3.5\n")

    @audit
    def has_a_header(ref: str, path: str) -> bool:
        return LakeFSHook().get_object("lake", ref, path).startswith(b"day,celsius\n")

    write(run.branch, "{{ dag_run.conf['path'] }}")
    with run.audits:
        has_a_header(run.ref, "{{ dag_run.conf['path'] }}")
    run.approval()
