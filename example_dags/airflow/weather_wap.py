"""Write, audit, publish with Airflow: a month of weather reaches `main` only when its audit passes.

Each run works on its own branch, named after the run. The audit checks a commit, and the merge takes exactly that
commit. If a task fails, `main` is unchanged, and the branch is kept for inspection; clear the failed task, and the run
continues from there. A batch that `main` already has is skipped.

The DAG needs a repository, and a connection `lakefs_default` of type lakefs. Run it with the parameters below, for
example ``airflow dags trigger weather_wap --conf '{"month": "2013-02"}'``.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from airflow.sdk import Param, dag, get_current_context, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.operators import (
    LakeFSCommitOperator,
    LakeFSCreateBranchOperator,
    LakeFSDeleteBranchOperator,
    LakeFSMergeOperator,
)
from example_dags import weather

CONNECTION = "lakefs_default"
REPOSITORY = "{{ params.repository }}"
MONTH = "{{ params.month }}"
BRANCH = "{{ macros.lakefs.branch_id(dag.dag_id, run_id) }}"

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    params={
        "month": Param(
            "2013-01", type="string", pattern=r"^\d{4}-\d{2}$", description="Month of the batch to publish."
        ),
        "inbox": Param(str(weather.DATA / "monthly"), type="string", description="Folder that holds the batch."),
        "repository": Param("weather", type="string", description="Repository to publish the batch to."),
    },
    default_args={
        "lakefs_conn_id": CONNECTION,
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
    },
    tags=["lakefs", "example"],
)
def weather_wap() -> None:
    create_branch = LakeFSCreateBranchOperator(
        task_id="create_branch", repo=REPOSITORY, branch=BRANCH, source_branch="main"
    )

    @task
    def land(repo: str, branch: str, month: str, inbox: str) -> None:
        """Upload the batch to the branch, as delivered."""
        with LakeFSHook(CONNECTION).get_conn() as client:
            client.objects.upload(repo, branch, weather.raw_path(month), weather.read_batch(inbox, month))

    @task
    def transform(repo: str, branch: str, month: str) -> None:
        """Write the month's daily table and its summary."""
        with LakeFSHook(CONNECTION).get_conn() as client:
            days = weather.parse(client.objects.get(repo, branch, weather.raw_path(month)))
            client.objects.upload(repo, branch, weather.daily_path(month), weather.clean(days))
            client.objects.upload(repo, branch, weather.summary_path(month), weather.summarize(month, days))
            if not any(client.branches.diff(repo, branch, limit=1)):
                raise AirflowSkipException(f"main already has this batch of {month}")

    commit = LakeFSCommitOperator(
        task_id="commit", repo=REPOSITORY, branch=BRANCH, msg=f"Weather of {MONTH}", metadata={"month": MONTH}
    )

    @task
    def audit(repo: str, branch: str, month: str, commit_id: str) -> str:
        """Check the data of the commit, and return the commit's id if it passes."""
        with LakeFSHook(CONNECTION).get_conn() as client:
            checks = weather.audit_ref(client, repo, commit_id, month)
        for check in checks:
            log.log(logging.INFO if check.passed else logging.ERROR, "%s", check)
        get_current_context()["ti"].xcom_push(key="checks", value=[check.to_dict() for check in checks])
        if failed := [check.name for check in checks if not check.passed]:
            raise AirflowFailException(
                f"the batch of {month} failed {len(failed)} of {len(checks)} checks ({', '.join(failed)});"
                f" main is unchanged, and the batch is kept on branch {branch};"
                f" compare {client.links.compare(repo, 'main', branch)}"
            )
        return commit_id

    audited = audit(REPOSITORY, BRANCH, MONTH, "{{ ti.xcom_pull('commit') }}")
    merge = LakeFSMergeOperator(
        task_id="merge",
        repo=REPOSITORY,
        source_ref="{{ ti.xcom_pull('audit') }}",
        destination_branch="main",
        msg=f"Publish the weather of {MONTH}",
        metadata={"month": MONTH},
    )
    # Runs after a skipped batch, too, but not after a failure.
    delete_branch = LakeFSDeleteBranchOperator(
        task_id="delete_branch", repo=REPOSITORY, branch=BRANCH, trigger_rule="none_failed"
    )

    landed = land(REPOSITORY, BRANCH, MONTH, "{{ params.inbox }}")
    transformed = transform(REPOSITORY, BRANCH, MONTH)
    create_branch >> landed >> transformed >> commit >> audited >> merge >> delete_branch


weather_wap()
