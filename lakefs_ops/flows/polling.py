"""Looks for many waiters at once: those at branches of one repository share one listing.

A thousand tasks that wait for commits in one repository would ask a thousand times for one branch each; here they
ask once for all branches, and each judges its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from lakefs_ops.flows.conditions import NewCommit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.conditions import Condition, Verdict

MANY = 8
"""From how many looks at one repository within `max_age` a listing takes the place of single ones."""


class SharedLooks:
    """Looks on behalf of many waiters; may be shared by threads.

    A verdict may be as old as ``max_age``. None misses a change by that: the watermark is in the condition.

    Args:
        client: the client to look with.
        max_age: how long a listing is good for, in seconds.

    Example:
        >>> looks = SharedLooks(client)  # doctest: +SKIP
        >>> verdicts = [looks.look(condition) for condition in a_thousand_conditions]  # doctest: +SKIP
    """

    def __init__(self, client: LakeFSClient, *, max_age: float = 2.0) -> None:
        self._client = client
        self._max_age = max_age
        self._lock = threading.Lock()
        self._repositories: dict[str, _Heads] = {}

    @property
    def client(self) -> LakeFSClient:
        """The client that looks."""
        return self._client

    def look(self, condition: Condition) -> Verdict:
        """Look once whether a condition is met.

        Raises:
            LakeFSError: the look failed.
        """
        if not isinstance(condition, NewCommit):
            return condition.look(self._client)
        with self._lock:
            known = self._repositories.setdefault(condition.repository, _Heads(self._client, condition.repository))
        if not known.wanted_by_many(self._max_age):
            return condition.look(self._client)
        return condition.judge(known.read(self._max_age).get(condition.branch))


class _Heads:
    """Where the branches of one repository point."""

    def __init__(self, client: LakeFSClient, repository: str) -> None:
        self._client, self._repository = client, repository
        self._lock = threading.Lock()
        self._recent: deque[float] = deque(maxlen=MANY)
        self._heads: Mapping[str, str] = {}
        self._read_at = float("-inf")

    def wanted_by_many(self, max_age: float) -> bool:
        now = time.monotonic()
        self._recent.append(now)
        return len(self._recent) == MANY and now - self._recent[0] <= max_age

    def read(self, max_age: float) -> Mapping[str, str]:
        # Who comes while the listing is on its way waits for it, instead of asking for another one.
        with self._lock:
            if time.monotonic() - self._read_at > max_age:
                begun = time.monotonic()
                listing = self._client.branches.list(self._repository, show_hidden=True)
                self._heads = {branch.id: branch.commit_id for branch in listing}
                self._read_at = begun
            return self._heads
