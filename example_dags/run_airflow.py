"""Run the Airflow example with ``dag.test()``, once for each ``MONTH=INBOX``; the demo starts it as a process.

Environment variables: ``AIRFLOW_HOME``, ``AIRFLOW_CONN_LAKEFS_DEFAULT``, ``WEATHER_REPOSITORY``, and the folder of the
DAG as ``AIRFLOW__CORE__DAGS_FOLDER``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from example_dags import pushed
from example_dags.reporting import Outcome, Pushed, Reporter, batches
from example_dags.serving import serving

if TYPE_CHECKING:
    from airflow.models import DagRun


def main(arguments: list[str]) -> int:
    """Run each batch and report its outcome; a refused batch is an outcome, not an error."""
    report = Reporter()
    report.step("import Airflow")
    from airflow.utils.db import initdb

    from airflow_provider.naming import group_branch
    from example_dags.airflow import weather_wap

    report.step("create Airflow's database")
    initdb()
    dag = weather_wap.weather_wap()
    errors: list[str] = []
    for task in dag.tasks:
        task.on_execute_callback = [lambda context: report.step(f"{context['ti'].task_id}")]
        # Before Airflow 3.3, dag.test() passes no exception to callbacks; it is only in the log.
        task.on_failure_callback = [lambda context: errors.append(str(context.get("exception") or ""))]
    for month, inbox in batches(arguments):
        report.step(f"schedule {month}")
        errors.clear()
        run = dag.test(run_conf={"month": month, "inbox": inbox, "repository": os.environ["WEATHER_REPOSITORY"]})
        report.outcome(outcome(run, month, group_branch(dag.dag_id, run.run_id, "weather"), errors))
    if pushed.REPOSITORY in os.environ:
        report.outcome(push(report))
    return 0


def push(report: Reporter) -> Pushed:
    """Serve the plugin's route, and return the partitions of the runs that Airflow's scheduler creates."""
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models import DagRun
    from airflow.models.asset import AssetEvent
    from airflow.sdk import DAG, PartitionedAssetTimetable, task
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_provider.assets.lakefs import create_asset
    from airflow_provider.hooks import LakeFSHook
    from airflow_provider.plugin import LakeFSPlugin

    report.step("a DAG with a run for each changed day, and the route for webhooks")
    with LakeFSHook().get_conn() as client:
        repository, branch = pushed.branch_of("Airflow", client)
        days = create_asset(repository=repository, ref=branch, path="daily", partitions=pushed.TEMPLATE)
        with DAG("each_day", schedule=PartitionedAssetTimetable(assets=days), is_paused_upon_creation=False) as dag:

            @task
            def report_day() -> None: ...

            report_day()
        with create_session() as session:  # as Airflow stores the DAGs of a file
            stored = [LazyDeserializedDAG.from_dag(dag)]
            update_dag_parsing_results_in_db("dags-folder", None, stored, {}, None, set(), session)

        def arrived(commit_id: str) -> int:
            with create_session() as session:
                return sum(event.extra.get("commit_id") == commit_id for event in session.scalars(select(AssetEvent)))

        known: set[str] = set()

        def started() -> list[str]:
            with create_session() as session:
                SchedulerJobRunner(Job())._create_dagruns_for_partitioned_asset_dags(session)
                runs = session.execute(select(DagRun.run_id, DagRun.partition_key).filter_by(dag_id=dag.dag_id)).all()
            new = sorted(key for run_id, key in runs if run_id not in known)
            known.update(run_id for run_id, _ in runs)
            return new

        os.environ["AIRFLOW__LAKEFS__WEBHOOK_SECRET"] = pushed.secret()
        route = next(app for app in LakeFSPlugin.fastapi_apps if app["url_prefix"] == "/lakefs")
        with serving(route["app"]) as port:
            url = f"http://127.0.0.1:{port}/webhook"
            return pushed.push("Airflow", client, repository, branch, url, arrived, started, report.step)


def outcome(run: DagRun, month: str, branch: str, errors: list[str]) -> Outcome:
    """Return the outcome of a run."""
    checks: list[dict[str, Any]] = []
    for ti in run.get_task_instances():
        if ti.task_id.startswith("weather.audits."):
            found = ti.xcom_pull(task_ids=ti.task_id, key="checks") or []
            checks += ({"name": c["name"], "findings": c["problems"], "passed": not c["problems"]} for c in found)
    refused = any(not check["passed"] for check in checks)
    return Outcome(
        month,
        "published" if run.state == "success" else "refused" if refused else "failed",
        branch,
        checks,
        errors[0] if errors else "",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
