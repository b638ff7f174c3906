"""The trigger that waits for a lakeFS condition."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider.hooks.lakefs import LakeFSHook
from airflow_provider.retry import failing_for_good
from lakefs_ops.flows.waiting import TOLERANCE

if TYPE_CHECKING:
    from lakefs_ops.flows.waiting import PollLoop


class LakeFSConditionTrigger(BaseTrigger):
    """Poll lakeFS until a condition is met, then fire once.

    The event's payload:

    ``state``
        ``met``; ``failed`` (the condition can no longer be met, or a poll failed with an error that a retry cannot fix,
        such as wrong credentials); ``timeout`` (``end_time`` has passed); ``error`` (a poll failed with another
        error, lakeFS has been down for ``tolerance``, or the connection cannot be read).
    ``reason``
        One sentence that describes the state last seen, or the error.
    ``found``
        Details of what met (or failed) the condition, as JSON values; empty after a timeout or an error.

    Delivery: the condition carries what was seen before the task deferred, so no change between the last poll on the
    worker and the first one here is missed. After a restart of the triggerer, the trigger starts over with the same
    condition, so no change during the downtime is missed either.

    Args:
        lakefs_conn_id: the connection's id; the connection is read when the trigger runs.
        condition: the condition to wait for: ``condition.model_dump(mode="json")`` of a class in
            `lakefs_ops.flows.conditions`.
        poll_interval: seconds between two polls, plus or minus 10 %, so that many triggers do not poll at once.
        end_time: when to give up, in Unix seconds; never by default.
        tolerance: seconds for which polls may fail with transient errors; 15 minutes by default.
        exponential_backoff: double the time between two polls after each poll.
        max_wait: the longest time between two polls with ``exponential_backoff``, in seconds; unlimited by default.
        silent_fail: after an error that a retry of the task may fix, keep polling until ``end_time``.
        **kwargs: ignored; another version of this trigger may have stored further arguments, and a trigger that
            cannot be recreated crashes the whole triggerer.

    Example:
        In your own operator::

            def execute(self, context):
                condition = NewCommit(repository="lake", branch="main", after=self.known)
                self.defer(
                    trigger=LakeFSConditionTrigger(
                        lakefs_conn_id="lakefs_default", condition=condition.model_dump(mode="json")
                    ),
                    method_name="resume",
                )
    """

    def __init__(
        self,
        lakefs_conn_id: str = LakeFSHook.default_conn_name,
        condition: Mapping[str, Any] | None = None,
        poll_interval: float = 60.0,
        end_time: float | None = None,
        tolerance: float = TOLERANCE,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        silent_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lakefs_conn_id = lakefs_conn_id
        self.condition = dict(condition or {})
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.tolerance = tolerance
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.silent_fail = silent_fail

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments to recreate the trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "lakefs_conn_id": self.lakefs_conn_id,
                "condition": self.condition,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "tolerance": self.tolerance,
                "exponential_backoff": self.exponential_backoff,
                "max_wait": self.max_wait,
                "silent_fail": self.silent_fail,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the condition is met, can no longer be met, or times out; then fire once."""
        try:
            event = await self._wait()
        except AirflowFailException as error:
            event = _event("failed", str(error))
        except Exception as error:
            event = _event("error", str(error) or repr(error))
        yield event

    async def _wait(self) -> TriggerEvent:
        loop = self._poll_loop()
        hook = LakeFSHook(self.lakefs_conn_id)
        pause = 0.0
        while True:
            try:
                with failing_for_good():
                    decision = await hook.drive(loop, after=pause)
            except AirflowFailException:
                raise
            except Exception as error:
                decision = loop.on_error(error, time.time())
            loop.log_news(self.log.log)
            if decision.state != "waiting":
                found = loop.verdict.found if loop.verdict and decision.state != "timeout" else {}
                return _event(decision.state, decision.reason, found)
            pause = decision.pause

    def _poll_loop(self) -> PollLoop:
        from lakefs_ops.flows.conditions import load
        from lakefs_ops.flows.waiting import Pace, PollLoop, is_outage

        longest = self.max_wait or math.inf if self.exponential_backoff else self.poll_interval
        return PollLoop(
            load(self.condition),
            pace=Pace(longest, first=self.poll_interval, growth=2),
            deadline=self.end_time,
            tolerance=math.inf if self.silent_fail else self.tolerance,
            tolerates=(lambda _: True) if self.silent_fail else is_outage,
        )


def _event(state: str, reason: str, found: Mapping[str, Any] | None = None) -> TriggerEvent:
    return TriggerEvent(  # type: ignore[no-untyped-call]
        {"state": state, "reason": reason, "found": dict(found or {})}
    )
