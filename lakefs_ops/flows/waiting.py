"""The only loop that sleeps: wait until a condition is met."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from lakefs_ops import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.conditions import Condition, Verdict

JITTER = 0.1
"""By which part of itself an interval varies, so that many waiters do not look at once."""
SOONEST = 0.5
"""The first interval, in seconds."""
GROWTH = 1.5
"""How much longer each interval is than the one before it, while nothing changes."""


def jittered(interval: float) -> float:
    """Return an interval, varied by up to `JITTER` of itself."""
    return interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311


class Pace:
    """How long to pause between looks: briefly at first and after each change, then longer and longer.

    Args:
        interval: the longest pause, in seconds, varied a little.
    """

    def __init__(self, interval: float) -> None:
        self._longest = interval
        self._seen: object = None
        self._pause = 0.0

    def pause(self, seen: object) -> float:
        """Return the seconds until the next look.

        Args:
            seen: what the last one saw, to be compared with what the one before it saw.
        """
        changed, self._seen = seen != self._seen, seen
        self._pause = min(self._longest, SOONEST if changed else self._pause * GROWTH)
        return jittered(self._pause)


class WaitTimedOut(errors.LakeFSError, TimeoutError):
    """The condition was not met in time.

    Attributes:
        verdict: what was last seen; None when no look succeeded.
    """

    verdict: Verdict | None = None


class ConditionFailed(errors.LakeFSError):
    """The condition can never be met any more.

    Attributes:
        verdict: why.
    """

    verdict: Verdict


def wait(
    condition: Condition,
    client: LakeFSClient,
    *,
    timeout: float,
    interval: float = 30.0,
    tolerated: int = 5,
    on_look: Callable[[Verdict], None] | None = None,
) -> Verdict:
    """Look until the condition is met.

    Args:
        condition: what to wait for.
        client: the client to look with.
        timeout: seconds to wait at most.
        interval: the longest time between two looks, in seconds, varied a little. The first looks, and those after
            a change, follow each other more quickly.
        tolerated: failed looks in a row that are waited out.
        on_look: called with each verdict, to show progress.

    Returns:
        The verdict that met it.

    Raises:
        WaitTimedOut: not met in time; says what was last seen.
        ConditionFailed: it can never be met any more.
        LakeFSError: a look failed for good, or too many in a row.

    Example:
        >>> wait(NewCommit(repository="lake", branch="main"), client, timeout=600)  # doctest: +SKIP
    """
    deadline = time.monotonic() + timeout
    verdict: Verdict | None = None
    failures = 0
    pace = Pace(interval)
    while True:
        try:
            verdict = condition.look(client)
        except errors.TRANSIENT:
            failures += 1
            if failures > tolerated:
                raise
        else:
            failures = 0
            if on_look is not None:
                on_look(verdict)
            if verdict.state == "met":
                return verdict
            if verdict.state == "failed":
                raise ConditionFailed(verdict.reason, verdict=verdict)
            condition = verdict.condition
        left = deadline - time.monotonic()
        if left <= 0:
            seen = verdict.reason if verdict else "no look succeeded"
            raise WaitTimedOut(f"gave up after {timeout:g} s: {seen}", verdict=verdict)
        time.sleep(min(left, pace.pause(verdict and verdict.reason)))
