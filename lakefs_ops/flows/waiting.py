"""Wait until a condition is met.

`PollLoop` decides after each poll whether to stop or how long to pause. It neither sleeps nor does I/O, so the same
logic serves two drivers: `wait`, which blocks, and Airflow's trigger, which runs in an event loop.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

from lakefs_ops import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.conditions import Condition, Verdict

JITTER = 0.1
"""Fraction by which a pause varies at random, so that many waiters do not poll at the same moment."""
FIRST_PAUSE = 0.5
"""The default first pause, in seconds."""
GROWTH = 1.5
"""Factor from one pause to the next while nothing changes."""
TOLERATED_FAILURES = 5
"""Default number of consecutive transient errors after which a wait continues."""


class Pace:
    """The pauses between polls: short at first and after each change, then longer and longer.

    Args:
        longest: the longest pause, in seconds, plus or minus `JITTER`.
        first: the pause at first and after a change, in seconds; a value of ``longest`` keeps all pauses equal.
    """

    def __init__(self, longest: float, *, first: float = FIRST_PAUSE) -> None:
        self._longest, self._first = longest, first
        self._seen: object = None
        self._pause = 0.0

    def pause(self, seen: object) -> float:
        """Return the seconds until the next poll.

        Args:
            seen: what the last poll saw; if it equals the previous value, the pause grows.
        """
        changed, self._seen = seen != self._seen, seen
        self._pause = min(self._longest, self._first if changed else self._pause * GROWTH)
        return self._pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311


class Decision(NamedTuple):
    """How to proceed after a poll.

    Attributes:
        state: ``waiting`` (poll again after the pause), ``met``, ``failed`` (can no longer be met) or ``timeout``.
        reason: one sentence that describes the state last seen on the server.
        pause: seconds until the next poll, if ``waiting``.
    """

    state: Literal["waiting", "met", "failed", "timeout"]
    reason: str
    pause: float = 0.0


class PollLoop:
    """Decides after each poll whether to stop or how long to pause; never sleeps and does no I/O.

    A driver polls `condition`, passes the verdict or the error to `on_verdict` or `on_error`, and follows the
    decision. The last poll takes place at the deadline.

    Args:
        condition: the condition to wait for.
        pace: the pauses between polls.
        deadline: when to give up, on the same clock as the ``now`` of the methods; None to wait forever.
        tolerated: number of consecutive transient errors after which the wait continues.

    Attributes:
        condition: the condition to poll next.
        verdict: the last verdict; None if no poll has succeeded yet.
        failures: number of consecutive transient errors so far.
    """

    def __init__(
        self, condition: Condition, *, pace: Pace, deadline: float | None, tolerated: int = TOLERATED_FAILURES
    ) -> None:
        self.condition = condition
        self.verdict: Verdict | None = None
        self.failures = 0
        self.tolerated = tolerated
        self._pace = pace
        self._deadline = deadline

    def on_verdict(self, verdict: Verdict, now: float) -> Decision:
        """Decide after a successful poll."""
        self.failures = 0
        self.verdict, self.condition = verdict, verdict.condition
        if verdict.state != "waiting":
            return Decision(verdict.state, verdict.reason)
        return self._pause_until_deadline(now)

    def on_error(self, error: errors.LakeFSError, now: float) -> Decision:
        """Decide after a failed poll.

        Raises:
            LakeFSError: the error itself, if it is not transient or one too many in a row.
        """
        self.failures += 1
        if not isinstance(error, errors.TRANSIENT) or self.failures > self.tolerated:
            raise error
        return self._pause_until_deadline(now)

    def _pause_until_deadline(self, now: float) -> Decision:
        reason = self.verdict.reason if self.verdict else "no poll succeeded"
        if self._deadline is None:
            return Decision("waiting", reason, self._pace.pause(reason))
        if now >= self._deadline:
            return Decision("timeout", reason)
        return Decision("waiting", reason, min(self._deadline - now, self._pace.pause(reason)))


class WaitTimedOut(errors.LakeFSError, TimeoutError):
    """The condition was not met in time.

    Attributes:
        verdict: the last verdict; None if no poll succeeded.
    """

    verdict: Verdict | None = None


class ConditionFailed(errors.LakeFSError):
    """The condition can no longer be met.

    Attributes:
        verdict: the verdict with the reason.
    """

    verdict: Verdict


def wait(
    condition: Condition,
    client: LakeFSClient,
    *,
    timeout: float,
    interval: float = 30.0,
    tolerated: int = TOLERATED_FAILURES,
    on_poll: Callable[[Verdict], None] | None = None,
) -> Verdict:
    """Poll until the condition is met.

    Args:
        condition: the condition to wait for.
        client: the client to poll with.
        timeout: maximum time to wait, in seconds.
        interval: the longest pause between two polls, in seconds, plus or minus 10 %. Pauses are short at first and
            after each change, then grow.
        tolerated: number of consecutive transient errors after which the wait continues.
        on_poll: called with each verdict, for example to show progress.

    Returns:
        The verdict that met the condition.

    Raises:
        WaitTimedOut: not met in time; the message contains the state last seen.
        ConditionFailed: the condition can no longer be met.
        LakeFSError: a poll failed with a permanent error, or too many polls failed in a row.

    Example:
        >>> wait(NewCommit(repository="lake", branch="main"), client, timeout=600)  # doctest: +SKIP
    """
    loop = PollLoop(condition, pace=Pace(interval), deadline=time.monotonic() + timeout, tolerated=tolerated)
    while True:
        try:
            verdict = loop.condition.poll(client)
        except errors.LakeFSError as error:
            decision = loop.on_error(error, time.monotonic())
        else:
            if on_poll is not None:
                on_poll(verdict)
            decision = loop.on_verdict(verdict, time.monotonic())
            if decision.state == "met":
                return verdict
            if decision.state == "failed":
                raise ConditionFailed(decision.reason, verdict=verdict)
        if decision.state == "timeout":
            raise WaitTimedOut(f"gave up after {timeout:g} s: {decision.reason}", verdict=loop.verdict)
        time.sleep(decision.pause)
