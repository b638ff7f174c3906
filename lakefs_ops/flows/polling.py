"""Polling for many waiters at once: those that wait for branches of one repository share one branch listing.

A thousand tasks that wait for commits in one repository would send a thousand requests per round, one per branch.
With a `BranchPoller`, one listing of all branches answers them all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from copy import copy
from typing import TYPE_CHECKING

from lakefs_ops.errors import LakeFSError
from lakefs_ops.flows.conditions import CommitCondition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.conditions import Condition, Verdict

LISTING_THRESHOLD = 8
"""Number of polls of one repository within `max_age` from which a listing replaces single requests."""


class BranchPoller:
    """Polls on behalf of many waiters; thread-safe.

    A verdict may be up to ``max_age`` seconds old, or twice as old while a new listing is in flight. No change is
    missed, because the condition carries its watermark.

    Args:
        client: the client to poll with.
        max_age: how long a listing is reused, in seconds.

    Example:
        >>> poller = BranchPoller(client)  # doctest: +SKIP
        >>> verdicts = [poller.poll(condition) for condition in a_thousand_conditions]  # doctest: +SKIP
    """

    def __init__(self, client: LakeFSClient, *, max_age: float = 2.0) -> None:
        self._client = client
        self._max_age = max_age
        self._lock = threading.Lock()
        self._repositories: dict[str, _Heads] = {}

    def poll(self, condition: Condition) -> Verdict:
        """Check a condition once.

        Raises:
            LakeFSError: the poll failed.
        """
        if not isinstance(condition, CommitCondition) or condition.after is None:
            return condition.poll(self._client)
        with self._lock:
            known = self._repositories.setdefault(condition.repository, _Heads(self._client, condition.repository))
        heads = known.recall(self._max_age)
        if heads is None:
            if not known.worth_a_listing(self._max_age):
                return condition.poll(self._client)
            heads = known.read(self._max_age)
        # The listing may be older than the watermark, so only a poll decides that there is a new commit.
        return _unchanged(condition, heads.get(condition.branch)) or condition.poll(self._client)


def _unchanged(condition: CommitCondition, head: str | None) -> Verdict | None:
    """Return the verdict for a branch without news; None if a poll must resolve the watermark first."""
    return condition.unchanged(head) if condition.is_resolved else None


class _Heads:
    """The commits that the branches of one repository point at."""

    def __init__(self, client: LakeFSClient, repository: str) -> None:
        self._client, self._repository = client, repository
        self._lock = threading.Lock()
        self._recent_polls: deque[float] = deque(maxlen=LISTING_THRESHOLD)
        self._heads: Mapping[str, str] = {}
        self._read_at = self._ended = float("-inf")
        self._failure: LakeFSError | None = None

    def worth_a_listing(self, max_age: float) -> bool:
        now = time.monotonic()
        self._recent_polls.append(now)
        return len(self._recent_polls) == LISTING_THRESHOLD and now - self._recent_polls[0] <= max_age

    def recall(self, max_age: float) -> Mapping[str, str] | None:
        now = time.monotonic()
        # Locked while a listing is in flight.
        if self._failure is not None or now - self._read_at > max_age * (1 + self._lock.locked()):
            return None
        self._recent_polls.append(now)
        return self._heads

    def read(self, max_age: float) -> Mapping[str, str]:
        arrived = time.monotonic()
        with self._lock:
            now = time.monotonic()
            # Callers that arrive while a listing is in flight share it, or its failure.
            if self._ended < arrived and now - self._read_at > max_age:
                try:
                    listing = self._client.branches.list(self._repository, show_hidden=True)
                    self._heads, self._read_at = {branch.id: branch.commit_id for branch in listing}, now
                    self._failure = None
                except LakeFSError as error:
                    self._failure, self._read_at = error, float("-inf")
                self._ended = time.monotonic()
            if self._failure is not None:
                raise copy(self._failure)
            return self._heads
