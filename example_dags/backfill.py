"""The scene of the demo with a backfill as one merge, and with the commit that broke the data afterwards.

See docs/backfills.md and docs/blame.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from example_dags import weather
from lakefs_ops import LakeFSClient
from lakefs_ops.flows.backfill import Backfill
from lakefs_ops.flows.blame import Snapshot, bisect
from lakefs_ops.flows.publish import WriteAuditPublish
from lakefs_ops.flows.step import Step

MONTHS = tuple(f"2013-{number:02d}" for number in range(1, 13))
SPOILED = "2013-03"


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What the scene has shown.

    Attributes:
        merges: the number of merges on main after the backfill.
        collected: the number of months on main after the backfill.
        url: the page of the merge.
        by_hand: the id of the commit that somebody made without an audit.
        first_bad: the id of the commit that `bisect` found.
        audits: how many commits it audited.
        restored: whether main has the months of the backfill again.
    """

    merges: int
    collected: int
    url: str
    by_hand: str
    first_bad: str
    audits: int
    restored: bool


def run_backfill(server: Mapping[str, str], repository: str, say: Callable[[str], None]) -> Backfilled:
    """Publish a year with one merge, spoil a month by hand, and find and undo the commit.

    Args:
        server: endpoint and access key of a lakeFS.
        repository: the name of the new repository.
        say: reports the step that starts now.
    """
    with LakeFSClient(**server) as client:
        client.repositories.create(name=repository, storage_namespace=f"local://{repository}")
        backfill = Backfill(client, repository, key="weather-2013")

        def collect(month: str) -> None:
            with backfill.member(month) as run:
                _write(client, repository, run.branch, weather.DATA / "monthly", month)
                run.audit(rules_of_the_month(month))

        with ThreadPoolExecutor(4) as pool:
            collected = 0
            for run in as_completed([pool.submit(collect, month) for month in MONTHS]):
                run.result()
                before, collected = collected, len(backfill.progress(MONTHS).collected)
                if collected > before:
                    say(f"{collected} of {len(MONTHS)} months are collected")
        published = backfill.finish(MONTHS)
        merges = sum(len(commit.parents) > 1 for commit in client.refs.log(repository, "main", first_parent=True))
        before = _content(client, repository)

        say("somebody commits a spoiled month by hand, and others go on")
        _write(client, repository, "main", weather.DATA / "spoiled", SPOILED)
        by_hand = client.commits.create(repository, "main", message="Correct March").id
        for number in range(6):
            client.objects.upload(repository, "main", f"notes/{number}.txt", b"a note")
            client.commits.create(repository, "main", message=f"Note {number}")

        say("find the commit, and undo it")
        found = bisect(client, repository, "main", march, good=published)
        Step(client, repository, f"undo/{found.first_bad.id}").revert("main", found.first_bad.id)
        return Backfilled(
            merges, len([path for path in before if path.startswith("daily/")]),
            client.links.commit(repository, published), by_hand, found.first_bad.id, found.audits,
            restored=before.items() <= _content(client, repository).items(),
        )  # fmt: skip


def rules_of_the_month(month: str) -> Callable[[WriteAuditPublish | Snapshot], Iterator[str]]:
    """Return the audit of a month, which reads the commit that it is called with."""

    def weather_rules(at: WriteAuditPublish | Snapshot) -> Iterator[str]:
        for check in weather.audit_ref(at.client, at.repository, at.ref, month):
            yield from check.findings

    return weather_rules


march = rules_of_the_month(SPOILED)


def _write(client: LakeFSClient, repository: str, branch: str, inbox: object, month: str) -> None:
    for path, table in weather.tables(f"{inbox}", month).items():
        client.objects.upload(repository, branch, path, table)


def _content(client: LakeFSClient, repository: str) -> dict[str, str]:
    return {entry.path: entry.checksum for entry in client.objects.list(repository, "main")}
