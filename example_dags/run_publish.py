"""Publish a month without a host; the demo starts it as a process, kills it, and starts it again.

Environment variables: ``LAKEFS_ENDPOINT`` and the keys, ``WEATHER_REPOSITORY``. With ``--retried``, an earlier attempt
may have been made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial

from example_dags import weather
from example_dags.reporting import Outcome, Reporter, batches
from lakefs_ops import LakeFSClient
from lakefs_ops.flows.publish import WriteAuditPublish


def main(arguments: list[str]) -> int:
    """Publish each batch and report its outcome."""
    report = Reporter()
    retried = "--retried" in arguments
    repository = os.environ["WEATHER_REPOSITORY"]
    with LakeFSClient() as client:
        for month, inbox in batches(word for word in arguments if word != "--retried"):
            run = WriteAuditPublish(
                client,
                repository,
                key=f"weather/{month}",
                message=f"Publish the weather of {month}",
                retried=retried,
            )
            report.step("find the branch" if retried else "create a branch")
            run.open()
            report.step("write and audit")
            for path, table in weather.tables(inbox, month).items():
                client.objects.upload(repository, run.branch, path, table)
            checks: list[weather.Check] = []
            run.audit(partial(audit, month, checks))
            report.step("find the merge" if retried else "merge")
            run.publish()
            report.outcome(Outcome(month, "published", run.branch, [check.to_dict() for check in checks]))
    return 0


def audit(month: str, checks: list[weather.Check], run: WriteAuditPublish) -> Iterator[str]:
    """Audit the sealed commit of the run, add the results to the checks, and return the findings."""
    checks += weather.audit_ref(run.client, run.repository, run.ref, month)
    return (finding for check in checks for finding in check.findings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
