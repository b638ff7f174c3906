"""Run the Airflow example with ``dag.test()``, once for each ``MONTH=INBOX``; the demo starts it as a process.

Environment variables: ``AIRFLOW_HOME``, ``AIRFLOW_CONN_LAKEFS_DEFAULT``, ``WEATHER_REPOSITORY``, and the folder of the
DAG as ``AIRFLOW__CORE__DAGS_FOLDER``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from example_dags.reporting import Outcome, Reporter, batches

if TYPE_CHECKING:
    from airflow.models import DagRun


def main(arguments: list[str]) -> int:
    """Run each batch and report its outcome; a refused batch is an outcome, not an error."""
    report = Reporter()
    report.step("import Airflow")
    from airflow.utils.db import initdb

    from airflow_provider.naming import branch_id
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
        branch = branch_id(dag.dag_id, run.run_id)
        report.outcome(outcome(run, month, branch, errors))
    return 0


def outcome(run: DagRun, month: str, branch: str, errors: list[str]) -> Outcome:
    """Return the outcome of a run."""
    audit = run.get_task_instance("audit")
    checks: list[dict[str, Any]] = (audit and audit.xcom_pull(task_ids="audit", key="checks")) or []
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
