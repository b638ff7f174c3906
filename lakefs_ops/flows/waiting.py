"""Wait until a condition is met.

`PollLoop` decides after each poll whether to stop or how long to pause. It neither sleeps nor does I/O, so the same
logic serves two drivers: `wait`, which blocks, and the threads that poll for Airflow's triggers.
"""

from __future__ import annotations

import logging
import random
import time
from datetime import timedelta
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
TOLERANCE = 900.0
"""Default number of seconds for which a wait survives an outage, so that a restart of lakeFS ends no wait."""

logger = logging.getLogger("lakefs_ops")


def as_seconds(argument: str, value: object) -> float:
    """Return a duration in seconds.

    Args:
        argument: the argument's name, for the error message.
        value: the duration, as a ``timedelta`` or in seconds.

    Raises:
        InvalidArgument: it is neither, or negative.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, int | float) or not seconds >= 0:
        raise errors.InvalidArgument(f"{argument} must be a timedelta or seconds, at least 0, got {value!r}")
    return seconds


def is_outage(error: Exception) -> bool:
    """Whether an error may not occur on the next poll."""
    return isinstance(error, errors.TRANSIENT)


class Pace:
    """The pauses between polls: short at first and after each change, then longer and longer.

    Args:
        longest: the longest pause, in seconds, plus or minus `JITTER`.
        first: the pause at first and after a change, in seconds; a value of ``longest`` keeps all pauses equal.
        growth: factor from one pause to the next while nothing changes.
    """

    def __init__(self, longest: float, *, first: float = FIRST_PAUSE, growth: float = GROWTH) -> None:
        self._longest, self._first, self._growth = longest, first, growth
        self._seen: object = None
        self._pause = 0.0

    def pause(self, seen: object) -> float:
        """Return the seconds until the next poll.

        Args:
            seen: what the last poll saw; if it equals the previous value, the pause grows.
        """
        changed, self._seen = seen != self._seen, seen
        self._pause = min(self._longest, self._first if changed else self._pause * self._growth)
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
    """Decides after each poll whether to stop or how long to pause; never sleeps or polls.

    A driver polls `condition`, passes the verdict or the error to `on_verdict` or `on_error`, and follows the
    decision. The last poll takes place at the deadline.

    An outage begins with the first poll that fails with a tolerated error, and ends with the next poll that succeeds.
    The wait continues until an outage has lasted for ``tolerance``, however many polls fail in that time.

    Args:
        condition: the condition to wait for.
        pace: the pauses between polls.
        deadline: when to give up, on the same clock as the ``now`` of the methods; None to wait forever.
        tolerance: seconds for which an outage is tolerated.
        tolerates: whether an error counts as an outage; any other error ends the wait.
        down_since: when the current outage began, if an earlier loop has seen its beginning.

    Attributes:
        condition: the condition to poll next.
        verdict: the last verdict; None if no poll has succeeded yet.
        down_since: when the current outage began; None if the last poll succeeded.
        changed: whether the last poll brought anything new: another verdict, a failure, or the end of an outage.
        news: a line for the log, empty if the last poll brought none.
    """

    def __init__(
        self,
        condition: Condition,
        *,
        pace: Pace,
        deadline: float | None,
        tolerance: float = TOLERANCE,
        tolerates: Callable[[Exception], bool] = is_outage,
        down_since: float | None = None,
    ) -> None:
        self.condition = condition
        self.verdict: Verdict | None = None
        self.down_since = down_since
        self.changed = False
        self.news = ""
        self._pace = pace
        self._deadline = deadline
        self._tolerance, self._tolerates = tolerance, tolerates
        self._error: Exception | None = None

    def on_verdict(self, verdict: Verdict, now: float) -> Decision:
        """Decide after a successful poll."""
        self.changed = verdict != self.verdict or self.down_since is not None
        self.news = verdict.reason if self.verdict is None or verdict.reason != self.verdict.reason else ""
        if self.down_since is not None:
            self.news = f"lakeFS is back after {now - self.down_since:.0f} s: {verdict.reason}"
        self.down_since = self._error = None
        if self.changed:
            self.verdict, self.condition = verdict, verdict.condition
        if verdict.state != "waiting":
            return Decision(verdict.state, verdict.reason)
        return self._pause_until_deadline(now)

    def on_error(self, error: Exception, now: float) -> Decision:
        """Decide after a failed poll.

        Raises:
            Exception: the error itself, if it is not tolerated or the outage has lasted too long.
        """
        if not self._tolerates(error):
            raise error
        if self.down_since is None:
            self.down_since = now
        if now - self.down_since >= self._tolerance:
            raise error
        self.changed = True
        self.news = "" if type(error) is type(self._error) else f"poll failed, will poll again: {error}"
        self._error = error
        return self._pause_until_deadline(now)

    def log_news(self, log: Callable[[int, str, str], object]) -> None:
        """Log the last poll if it changed something: failures as warnings, the rest as information.

        Args:
            log: the ``log`` method of a logger.
        """
        if self.news:
            log(logging.WARNING if self._error else logging.INFO, "%s", self.news)

    def _pause_until_deadline(self, now: float) -> Decision:
        reason = self.verdict.reason if self.verdict else "no poll succeeded"
        if self._deadline is None:
            return Decision("waiting", reason, self._pace.pause(reason))
        if now >= self._deadline:
            return Decision("timeout", f"{reason}; the last poll failed: {self._error}" if self._error else reason)
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
    poll_interval: float = 30.0,
    tolerance: float = TOLERANCE,
    on_poll: Callable[[Verdict], None] | None = None,
) -> Verdict:
    """Poll until the condition is met.

    Args:
        condition: the condition to wait for.
        client: the client to poll with.
        timeout: maximum time to wait, in seconds.
        poll_interval: the longest pause between two polls, in seconds, plus or minus 10 %. Pauses are short at first
            and after each change, then grow.
        tolerance: seconds for which polls may fail with transient errors, such as a refused connection or a status 503,
            before the wait ends with the last of these errors; 15 minutes by default.
        on_poll: called with each verdict, for example to show progress.

    Returns:
        The verdict that met the condition.

    Raises:
        WaitTimedOut: not met in time; the message contains the state last seen.
        ConditionFailed: the condition can no longer be met.
        LakeFSError: a poll failed with a permanent error, or an outage has lasted for ``tolerance``.

    Example:
        >>> wait(NewCommit(repository="lake", branch="main"), client, timeout=600)  # doctest: +SKIP
    """
    loop = PollLoop(condition, pace=Pace(poll_interval), deadline=time.monotonic() + timeout, tolerance=tolerance)
    while True:
        try:
            verdict = loop.condition.poll(client)
        except errors.LakeFSError as error:
            decision = loop.on_error(error, time.monotonic())
            loop.log_news(logger.log)
        else:
            if on_poll is not None:
                on_poll(verdict)
            decision = loop.on_verdict(verdict, time.monotonic())
            loop.log_news(logger.log)
            if decision.state == "met":
                return verdict
            if decision.state == "failed":
                raise ConditionFailed(decision.reason, verdict=verdict)
        if decision.state == "timeout":
            raise WaitTimedOut(f"gave up after {timeout:g} s: {decision.reason}", verdict=loop.verdict)
        time.sleep(decision.pause)
