"""A user's DAG file that uses the parts of the provider; mypy --strict proves that the types arrive as documented."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, assert_type

from airflow.sdk import DAG, Asset, AssetWatcher, dag, task

from airflow_provider.assets.events import triggering_commits
from airflow_provider.exceptions import MergeConflict
from airflow_provider.hooks import LakeFSHook
from airflow_provider.notifications import LakeFSNotifier
from airflow_provider.operators import (
    LakeFSCommitOperator,
    LakeFSCreateBranchOperator,
    LakeFSDeleteBranchOperator,
    LakeFSMergeOperator,
    LakeFSSweepOperator,
    LakeFSUploadOperator,
)
from airflow_provider.sensors import LakeFSCommitMatchSensor, LakeFSFileSensor, LakeFSPrefixUnchangedSensor
from airflow_provider.taskgroups import LakeFSPublishTaskGroup, audit
from airflow_provider.triggers import LakeFSCommitTrigger
from lakefs_ops import LakeFSClient

raw = Asset(
    "raw",
    watchers=[AssetWatcher(name="commits", trigger=LakeFSCommitTrigger(repo="lake", branch="main"))],
)


@task
def land(branch: str) -> str:
    with LakeFSHook("lakefs_default").get_conn() as client:
        assert_type(client, LakeFSClient)
        return client.objects.upload("lake", branch, "daily.csv", b"day\n2015-01-01\n").path


@audit
def every_day_present(ref: str) -> Iterator[str]:
    with LakeFSHook().get_conn() as client:
        if not client.objects.get("lake", ref, "daily.csv"):
            yield "daily.csv is empty"


@dag(schedule=None, on_failure_callback=LakeFSNotifier(print))
def daily() -> None:
    with LakeFSPublishTaskGroup("publish", repo="lake", into="main", metadata={"team": "weather"}) as run:
        assert_type(run, LakeFSPublishTaskGroup)
        land(run.branch)
        with run.audits:
            every_day_present(run.ref)


@task
def react(**context: Any) -> None:
    try:
        for commit in triggering_commits(context):
            print(commit)
    except MergeConflict as conflict:
        assert_type(list(conflict.paths), list[str])


HERE: dict[str, Any] = {"repo": "lake", "branch": "{{ run_id }}"}
COMMIT = "{{ ti.xcom_pull('commit') }}"

with DAG("operators", schedule=[raw]) as operators:
    arrived = LakeFSFileSensor(task_id="arrived", path="inbox/daily.csv", deferrable=True, repo="lake", branch="main")
    quiet = LakeFSPrefixUnchangedSensor(
        task_id="quiet", prefix="inbox/", quiet_for=timedelta(minutes=5), repo="lake", branch="main"
    )
    create = LakeFSCreateBranchOperator(task_id="create", source_branch="main", **HERE)
    upload = LakeFSUploadOperator(task_id="upload", path="daily.csv", content="day\n", **HERE)
    commit = LakeFSCommitOperator(task_id="commit", msg="Land", metadata={"k": "v"}, if_nothing="succeed", **HERE)
    merge = LakeFSMergeOperator(task_id="merge", source_ref=COMMIT, destination_branch="main", repo="lake")
    delete = LakeFSDeleteBranchOperator(task_id="delete", **HERE)
    sweep = LakeFSSweepOperator(task_id="sweep", older_than=timedelta(days=7), repo="lake")
    merged = LakeFSCommitMatchSensor(task_id="merged", branch="main", message="Land", repo="lake")
    [arrived, quiet] >> create >> upload >> commit >> merge >> delete >> sweep >> merged >> react()

daily()
