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
    LakeFSGetObjectOperator,
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


HERE = {"repo": "lake", "branch": "{{ run_id }}"}

with DAG("operators", schedule=[raw], default_args=HERE) as operators:
    arrived = LakeFSFileSensor(task_id="arrived", path="inbox/daily.csv", deferrable=True, branch="main")
    quiet = LakeFSPrefixUnchangedSensor(task_id="quiet", prefix="inbox/", quiet_for=timedelta(minutes=5), branch="main")
    create = LakeFSCreateBranchOperator(task_id="create", source_branch="main")
    upload = LakeFSUploadOperator(task_id="upload", path="daily.csv", content="day\n")
    commit = LakeFSCommitOperator(task_id="commit", msg="Land", metadata={"k": "v"}, if_nothing="succeed")
    merge = LakeFSMergeOperator(task_id="merge", source_ref=commit.output, destination_branch="main")
    delete = LakeFSDeleteBranchOperator(task_id="delete")
    sweep = LakeFSSweepOperator(task_id="sweep", older_than=timedelta(days=7))
    merged = LakeFSCommitMatchSensor(task_id="merged", branch="main", message="Land", prev_commit_id=commit.output)
    read = LakeFSGetObjectOperator(task_id="read", ref=merge.output, path=land("main"))
    [arrived, quiet] >> create >> upload >> commit >> merge >> delete >> sweep >> [merged, read] >> react()

daily()
