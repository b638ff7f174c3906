"""The event trigger for new commits, for asset watchers."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider.hooks.lakefs import LakeFSHook
from airflow_provider.triggers.watermarks import Watermark

if TYPE_CHECKING:
    from lakefs_ops.flows.conditions import MatchingCommits

DELIVERY = 2.0
"""Seconds that Airflow needs to store an event; the watermark moves past a commit only after this time."""


class LakeFSCommitTrigger(BaseEventTrigger):
    """Fire one event for each new commit on a branch, for an `AssetWatcher`.

    The event's payload has ``repository``, ``ref`` (the branch), ``commit_id``, ``message``, ``metadata``,
    ``committer``, ``creation_date`` and ``uri`` (of the data in this very commit). In a task of the scheduled DAG,
    `airflow_provider.assets.events.triggering_commits` returns it.

    The commits are those of the branch's first-parent history, oldest first: a merge is one commit, and the commits
    that it merges are not reported. The commits that the branch has when the watch begins are not new. If the branch or
    the repository does not exist yet, the trigger waits for it, and then reports the commits made since.

    Delivery: on Airflow 3.3 each commit is reported once, including commits made while the triggerer was down, since
    the asset's state store keeps the last reported commit. Only if the triggerer is killed within two seconds after it
    reported commits may it report them again. Airflow 3.1 and 3.2 have no such store: a restarted triggerer
    continues with the branch's current commit and does not report commits made while it was down; with ``after``,
    it reports again all commits since that one.

    A failed poll never ends the watch, because Airflow would start the trigger again every second: the trigger
    logs the error and polls again. All watches of one connection and repository share a listing of its branches.

    An event of a watcher has no partition key, so it does not start a DAG with a partitioned schedule.

    Args:
        repo: the repository's id.
        branch: the branch.
        prefix: only commits that change an object with this prefix.
        metadata: only commits with these keys and values in their metadata, a mapping.
        message: only commits in whose message this regular expression matches somewhere.
        after: report the commits after this one, given as an id or another ref, when the watch begins; by default only
            commits made from then on.
        lakefs_conn_id: the connection's id; the connection is read when the trigger runs.
        poll_interval: seconds between two polls, plus or minus 10 %.

    Raises:
        TypeError: an argument is invalid. (Any other error would end the triggerer when it recreates the trigger.)

    Example:
        Start a DAG after each commit that changes the daily data::

            weather = Asset(
                "lakefs://lake/main/daily",
                watchers=[
                    AssetWatcher(
                        name="daily", trigger=LakeFSCommitTrigger(repo="lake", branch="main", prefix="daily/")
                    )
                ],
            )
            with DAG("report", schedule=[weather]):

                @task
                def report(**context):
                    for commit in triggering_commits(context):
                        print(commit["uri"])
    """

    def __init__(
        self,
        repo: str,
        branch: str,
        prefix: str | None = None,
        metadata: Mapping[str, str] | list[list[str]] | None = None,
        message: str | None = None,
        after: str | None = None,
        lakefs_conn_id: str = LakeFSHook.default_conn_name,
        poll_interval: float = 60.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.repo = repo
        self.branch = branch
        self.prefix = prefix
        try:
            self.metadata = dict(metadata or {})
        except ValueError:
            raise TypeError(f"metadata must be a mapping such as {{'source': 'gauge'}}, got {metadata!r}") from None
        self.message = message
        self.after = after
        self.lakefs_conn_id = lakefs_conn_id
        self.poll_interval = poll_interval
        self._condition = self._first_condition()

    def _first_condition(self) -> MatchingCommits:
        from lakefs_ops.errors import InvalidArgument
        from lakefs_ops.flows.conditions import MatchingCommits

        try:
            return MatchingCommits(
                repository=self.repo,
                branch=self.branch,
                prefix=self.prefix,
                metadata=self.metadata,
                message=self.message,
                after=self.after,
            )
        except InvalidArgument as error:
            raise TypeError(str(error)) from None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments to recreate the trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "repo": self.repo,
                "branch": self.branch,
                "prefix": self.prefix,
                # Airflow 3.1 encodes a mapping twice when it stores an AssetWatcher's trigger, and decodes it once.
                "metadata": [list(pair) for pair in self.metadata.items()],
                "message": self.message,
                "after": self.after,
                "lakefs_conn_id": self.lakefs_conn_id,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll the branch, and fire one event for each new commit; never ends by itself."""
        from lakefs_ops.flows.waiting import Pace, PollLoop

        hook = LakeFSHook(self.lakefs_conn_id)
        watermark = Watermark(getattr(self, "asset_state_store", None), self._condition)
        loop = PollLoop(
            self._condition,
            pace=Pace(self.poll_interval, first=self.poll_interval),
            deadline=None,
            tolerance=math.inf,
            tolerates=lambda _: True,
        )
        restored = False
        while True:
            try:
                if not restored:
                    loop.condition, restored = await watermark.read(), True
                decision = await hook.drive(loop, once=True)
            except Exception as error:
                decision = loop.on_error(error, time.time())
            loop.log_news(self.log.log)
            if loop.verdict is not None and loop.down_since is None:
                found = loop.verdict.found if loop.changed else {}
                for commit in found.get("commits", []):
                    yield self._event(commit)
                try:
                    await watermark.write(loop.verdict.condition, after=DELIVERY if found else 0)
                except Exception as error:
                    self.log.warning("the watermark was not saved, will try again after the next poll: %s", error)
            await asyncio.sleep(decision.pause)

    def _event(self, commit: Mapping[str, Any]) -> TriggerEvent:
        from airflow_provider.assets.lakefs import asset_uri

        uri = asset_uri(self.repo, commit["commit_id"], self.prefix or "")
        payload = {"repository": self.repo, "ref": self.branch, **commit, "uri": uri}
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]
