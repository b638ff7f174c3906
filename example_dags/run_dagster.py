"""Run the Dagster example with a real instance, once for each ``MONTH=INBOX``; the demo starts it as a process.

Environment variables: ``LAKEFS_ENDPOINT`` and the keys, ``WEATHER_REPOSITORY``, ``DAGSTER_HOME``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from example_dags.reporting import Outcome, Reporter, batches

if TYPE_CHECKING:
    from dagster import ExecuteInProcessResult


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
    return 0


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
