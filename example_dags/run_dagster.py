"""Run the Dagster example with a real instance, once for each ``MONTH=INBOX``; the demo starts it as a process.

Environment variables: ``LAKEFS_ENDPOINT`` and the keys, ``WEATHER_REPOSITORY``, ``DAGSTER_HOME``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from example_dags import pushed
from example_dags.reporting import Outcome, Pushed, Reporter, batches
from example_dags.serving import serving

if TYPE_CHECKING:
    from dagster import DagsterInstance, ExecuteInProcessResult


def main(arguments: list[str]) -> int:
    """Run each batch and report its outcome; a refused batch is an outcome, not an error."""
    report = Reporter()
    report.step("import Dagster")
    import dagster as dg

    from example_dags.dagster import weather_wap

    job = weather_wap.defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        for month, inbox in batches(arguments):
            report.step(f"materialize {month}")
            result = job.execute_in_process(
                instance=instance,
                partition_key=month,
                run_config=dg.RunConfig(ops={"raw_weather": weather_wap.Delivery(inbox=inbox)}),
                raise_on_error=False,
            )
            report.outcome(outcome(result, month))
    if pushed.REPOSITORY in os.environ:
        with dg.DagsterInstance.ephemeral() as instance:  # SQLite takes seconds to store 365 observations
            report.outcome(push(instance, report))
    return 0


def push(instance: DagsterInstance, report: Reporter) -> Pushed:
    """Serve the application for webhooks, and return the partitions that Dagster's automation requests."""
    import dagster as dg

    from dagster_resources import LakeFSPartitions, LakeFSResource, LakeFSWebhooks, build_lakefs_observable_source

    report.step("an asset with a run for each changed day, and the application for webhooks")
    lakefs = LakeFSResource()
    client = lakefs.get_client()
    repository, branch = pushed.branch_of("Dagster", client)
    year = LakeFSPartitions(dg.DailyPartitionsDefinition(pushed.YEAR[0], end_date="2014-01-01"), pushed.TEMPLATE)
    days = build_lakefs_observable_source(key="days", repository=repository, branch=branch, partitions=year)
    changed = dg.AutomationCondition.any_deps_updated()

    @dg.asset(deps=[days], partitions_def=year.definition, automation_condition=changed)
    def each_day() -> None: ...

    definitions, cursor = dg.Definitions([days, each_day], resources={"lakefs": lakefs}), None

    def requested() -> list[str]:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
        cursor = result.cursor
        return sorted(result.get_requested_partitions(each_day.key))

    app = LakeFSWebhooks([days], lakefs=lakefs, secret=pushed.secret(), instance=instance, poll_interval=0)
    app.observe()
    requested()

    def arrived(commit_id: str) -> int:
        records = instance.fetch_observations(days.key, limit=len(pushed.YEAR)).records
        observations = [record.asset_observation for record in records]
        commits = [each.metadata["lakefs/commit_id"].value for each in observations if each is not None]
        return commits.count(commit_id)

    with serving(app) as port:
        url = f"http://127.0.0.1:{port}/"
        return pushed.push("Dagster", client, repository, branch, url, arrived, requested, report.step)


def outcome(result: ExecuteInProcessResult, month: str) -> Outcome:
    """Return the outcome of a run."""
    checks = [
        {
            "name": evaluation.check_name,
            "passed": evaluation.passed,
            "findings": [text for each in evaluation.metadata["findings"].value for text in each["problems"]],
        }
        for evaluation in result.get_asset_check_evaluations()
    ]
    failures = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    sentences = [" ".join((error.cause or error).message.split()) for error in failures if error]
    refused = any(not check["passed"] for check in checks)
    return Outcome(
        month,
        "published" if result.success else "refused" if refused else "failed",
        f"dagster-{result.run_id}",
        checks,
        " ".join(sentences),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
