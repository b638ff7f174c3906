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
    return 0


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
