"""The scene of the demo without polling: a commit of 3 of 365 days starts 3 runs, and so does its revert.

lakeFS sends a webhook for each commit to the host, which reads the changed partitions from lakeFS's history. See
docs/events.md.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Sequence

from example_dags.reporting import Pushed
from lakefs_ops import LakeFSClient
from lakefs_ops.flows.webhooks import VARIABLE, install_webhook

TEMPLATE = "daily/{day}.csv"
REPOSITORY = "PUSHED_REPOSITORY"
"""The environment variable with the repository of `write_year`; without it, a host does not show the scene."""

YEAR = [f"{dt.date(2013, 1, 1) + dt.timedelta(number)}" for number in range(365)]
CHANGED = ["2013-01-17", "2013-04-10", "2013-12-31"]
TIMEOUT = 30.0
"""Seconds after which a webhook counts as lost."""


def secret() -> str:
    """Return the secret that the demo has set for lakeFS, and for the hosts."""
    return os.environ[VARIABLE]


def write_year(client: LakeFSClient, repository: str) -> None:
    """Create a repository with a year of days on main, committed yesterday."""
    client.repositories.create(name=repository, storage_namespace=f"local://{repository}")
    _write(client, repository, "main", YEAR, "4.2", date=int(time.time()) - 86400)


def branch_of(host: str, client: LakeFSClient) -> tuple[str, str]:
    """Return the repository of `write_year`, and a new branch of it for a host."""
    repository, branch = os.environ[REPOSITORY], f"for-{host.lower()}"
    client.branches.create(repository, name=branch, source="main")
    return repository, branch


def push(
    host: str,
    client: LakeFSClient,
    repository: str,
    branch: str,
    url: str,
    arrived: Callable[[str], int],
    started: Callable[[], list[str]],
    say: Callable[[str], None],
) -> Pushed:
    """Install the webhook, correct three days, and take that back.

    Args:
        host: Airflow or Dagster.
        client: the client.
        repository: the repository.
        branch: the host's branch.
        url: where the host takes webhooks.
        arrived: returns the number of the host's events for a commit.
        started: starts the runs, and returns their partitions.
        say: reports the step that starts now.
    """
    install_webhook(client, repository, branch, url=url, watch=[branch])

    def received(commit_id: str) -> tuple[list[str], float]:
        began = time.monotonic()
        while arrived(commit_id) < len(CHANGED) and time.monotonic() - began < TIMEOUT:
            time.sleep(0.01)
        seconds = time.monotonic() - began
        return started(), seconds

    say("a commit of 3 of 365 days, and its webhook")
    changed, first = received(_write(client, repository, branch, CHANGED, "5.1"))
    say("its revert, and its webhook")
    client.branches.revert(repository, branch, ref=branch)
    reverted, second = received(client.branches.get(repository, branch).commit_id)
    return Pushed(host, changed, reverted, max(first, second))


def _write(
    client: LakeFSClient, repository: str, branch: str, days: Sequence[str], celsius: str, date: int | None = None
) -> str:
    for day in days:
        client.objects.upload(repository, branch, TEMPLATE.format(day=day), f"celsius\n{celsius}\n".encode())
    return client.commits.create(repository, branch, message=f"Weather of {len(days)} days", date=date).id
