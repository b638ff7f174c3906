"""DAGs written for airflow-provider-lakefs 0.48.0 run after the replacements that docs/former-provider.md names."""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "former-provider.md"

OLD_DAG = """
from datetime import timedelta

from airflow.decorators import task
from airflow.models.dag import DAG
from airflow.utils.dates import days_ago
from lakefs_provider.hooks.lakefs_hook import LakeFSHook
from lakefs_provider.operators.commit_operator import LakeFSCommitOperator
from lakefs_provider.operators.create_branch_operator import LakeFSCreateBranchOperator
from lakefs_provider.operators.create_symlink_operator import LakeFSCreateSymlinkOperator
from lakefs_provider.operators.delete_branch_operator import LakeFSDeleteBranchOperator
from lakefs_provider.operators.get_commit_operator import LakeFSGetCommitOperator
from lakefs_provider.operators.get_object_operator import LakeFSGetObjectOperator
from lakefs_provider.operators.merge_operator import LakeFSMergeOperator
from lakefs_provider.operators.upload_operator import LakeFSUploadOperator
from lakefs_provider.sensors.commit_sensor import LakeFSCommitSensor
from lakefs_provider.sensors.file_sensor import LakeFSFileSensor

default_args = {
    "owner": "data",
    "lakefs_conn_id": "lakefs_default",
    "repo": REPOSITORY,
    "branch": "weekly",
    "path": "reports/week-7.csv",
    "default-branch": "main",
}

with DAG(
    dag_id="former",
    default_args=default_args,
    start_date=days_ago(2),
    schedule_interval=None,
    render_template_as_native_obj=True,
) as dag:
    create = LakeFSCreateBranchOperator(task_id="create", source_branch=default_args["default-branch"])
    upload = LakeFSUploadOperator(task_id="upload", content=b"station,celsius")
    present = LakeFSFileSensor(task_id="present", mode="reschedule", poke_interval=1, timeout=10)
    commit = LakeFSCommitOperator(task_id="commit", msg="week 7", metadata={"week": "7"})
    committed = LakeFSCommitSensor(task_id="committed", prev_commit_id="{{ ti.xcom_pull('create') }}", timeout=10)
    read = LakeFSGetCommitOperator(task_id="read", ref="weekly", do_xcom_push=True)
    merge = LakeFSMergeOperator(
        task_id="merge",
        source_ref="{{ ti.xcom_pull(task_ids='read').id }}",
        destination_branch=default_args["default-branch"],
        msg="publish week 7",
    )
    show = LakeFSGetObjectOperator(task_id="show", ref="main")
    symlinks = LakeFSCreateSymlinkOperator(task_id="symlinks", branch="main")

    @task
    def log_of_main():
        return [commit["message"] for commit in LakeFSHook("lakefs_default").log_commits(REPOSITORY, "main")]

    delete = LakeFSDeleteBranchOperator(task_id="delete")
    create >> upload >> present >> commit >> committed >> read >> merge >> [show, symlinks, log_of_main()] >> delete
"""


@pytest.mark.usefixtures("connection")
def test_a_dag_of_the_former_provider(lakefs, lakefs_repository: str, run_dag: Callable[[Any], Any]) -> None:
    page = PAGE.read_text()
    assert "sed -i 's/lakefs_provider/airflow_provider/' dags/*.py" in page
    code = OLD_DAG.replace("lakefs_provider", "airflow_provider")
    # What Airflow 3 itself dropped.
    code = code.replace("from airflow.decorators import", "from airflow.sdk import")
    code = code.replace("from airflow.utils.dates import days_ago", "from datetime import datetime")
    code = code.replace("days_ago(2)", "datetime(2026, 1, 1)").replace("schedule_interval=", "schedule=")
    code = code.replace("from airflow.models.dag import DAG", "from airflow.sdk import DAG")
    names: dict[str, Any] = {"REPOSITORY": lakefs_repository}
    exec(code, names)
    run = run_dag(names["dag"])
    assert {ti.task_id: str(ti.state) for ti in run.get_task_instances()} == dict.fromkeys(
        names["dag"].task_ids, "success"
    )
    assert lakefs.client.objects.get(lakefs_repository, "main", "reports/week-7.csv") == b"station,celsius"
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_the_page_lists_every_old_module() -> None:
    rows = dict(
        re.findall(r"^\| `(lakefs_provider\.[a-z_.]+)` \| `(airflow_provider\.[a-z_.]+)` \|$", PAGE.read_text(), re.M)
    )
    assert {old.replace("lakefs_provider.", "") for old in rows} == {module for module, _ in FORMER}
    for old, new in rows.items():
        assert import_module(new)
        assert import_module(old.replace("lakefs_provider", "airflow_provider"))


FORMER = [
    ("hooks.lakefs_hook", "LakeFSHook"),
    ("operators.commit_operator", "LakeFSCommitOperator"),
    ("operators.create_branch_operator", "LakeFSCreateBranchOperator"),
    ("operators.create_symlink_operator", "LakeFSCreateSymlinkOperator"),
    ("operators.delete_branch_operator", "LakeFSDeleteBranchOperator"),
    ("operators.get_commit_operator", "LakeFSGetCommitOperator"),
    ("operators.get_object_operator", "LakeFSGetObjectOperator"),
    ("operators.merge_operator", "LakeFSMergeOperator"),
    ("operators.upload_operator", "LakeFSUploadOperator"),
    ("sensors.commit_sensor", "LakeFSCommitSensor"),
    ("sensors.file_sensor", "LakeFSFileSensor"),
]


@pytest.mark.parametrize(("module", "name"), FORMER)
def test_modules_of_the_former_provider(module: str, name: str) -> None:
    package = module.partition(".")[0]
    former = getattr(import_module(f"airflow_provider.{module}"), name)
    assert former is getattr(import_module(f"airflow_provider.{package}"), name)
