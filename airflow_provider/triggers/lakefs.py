"""The trigger that waits for a lakeFS condition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider.hooks.lakefs import LakeFSHook


class LakeFSConditionTrigger(BaseTrigger):
    """Poll lakeFS until a condition is met, then fire once.

    The event's payload:

    ``state``
        ``met``; ``failed`` (the condition can no longer be met); ``timeout`` (``end_time`` has passed); ``error`` (a
        poll failed with a permanent error, or too many polls failed in a row).
    ``reason``
        One sentence that describes the state last seen, or the error.
    ``found``
        Details of what met (or failed) the condition, as JSON values; empty for ``timeout`` and ``error``.

    Delivery: the condition carries what was seen before the task deferred, so no change between the last poll on the
    worker and the first one here is missed. After a restart of the triggerer, the trigger starts over with the same
    condition, so no change during the downtime is missed either.

    Args:
        lakefs_conn_id: the connection's id; the connection is read when the trigger runs.
        condition: the condition to wait for: ``condition.model_dump(mode="json")`` of a class in
            `lakefs_ops.flows.conditions`.
        poll_interval: seconds between two polls, plus or minus 10 %, so that many triggers do not poll at once.
        end_time: when to give up, in Unix seconds; never by default.
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
        **kwargs: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lakefs_conn_id = lakefs_conn_id
        self.condition = dict(condition or {})
        self.poll_interval = poll_interval
        self.end_time = end_time

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments to recreate the trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "lakefs_conn_id": self.lakefs_conn_id,
                "condition": self.condition,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the condition is met, can no longer be met, or times out; then fire once."""
        from lakefs_ops.errors import LakeFSError

        try:
            event = await self._wait()
        except (LakeFSError, AirflowNotFoundException) as error:
            event = _event("error", str(error))
        yield event

    async def _wait(self) -> TriggerEvent:
        from lakefs_ops.errors import LakeFSError
        from lakefs_ops.flows.conditions import load
        from lakefs_ops.flows.waiting import Pace, PollLoop

        pace = Pace(self.poll_interval, first=self.poll_interval)
        loop = PollLoop(load(self.condition), pace=pace, deadline=self.end_time)
        hook = LakeFSHook(self.lakefs_conn_id)
        while True:
            try:
                verdict = await hook.poll(loop.condition)
            except LakeFSError as error:
                decision = loop.on_error(error, time.time())
                self.log.warning("poll failed (%d in a row, %d tolerated): %s", loop.failures, loop.tolerated, error)
            else:
                decision = loop.on_verdict(verdict, time.time())
                if verdict.state != "waiting":
                    return _event(verdict.state, verdict.reason, verdict.found)
                self.log.info("%s", verdict.reason)
            if decision.state == "timeout":
                return _event(decision.state, decision.reason)
            await asyncio.sleep(decision.pause)


def _event(state: str, reason: str, found: Mapping[str, Any] | None = None) -> TriggerEvent:
    return TriggerEvent(  # type: ignore[no-untyped-call]
        {"state": state, "reason": reason, "found": dict(found or {})}
    )
