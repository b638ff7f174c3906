"""The trigger that waits for a condition on lakeFS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider.hooks.lakefs import LakeFSHook

if TYPE_CHECKING:
    from lakefs_ops.flows.conditions import Verdict

TOLERATED_FAILURES = 5
"""How many looks in a row may fail with a transient error before the trigger gives up."""


class LakeFSConditionTrigger(BaseTrigger):
    """Look at lakeFS until a condition is met, then fire once.

    The event's payload:

    ``state``
        ``met``; ``failed`` (it can never be met any more); ``timeout`` (``end_time`` is past); ``error`` (a look failed
        for good, or too many in a row did).
    ``reason``
        One sentence of what was last seen, or of what went wrong.
    ``found``
        What met the condition, as JSON values; empty in all other states.

    Delivery: the condition carries what was seen before the task deferred, so a change between the last look and
    the first one here is not missed, nor while the triggerer is down: it begins again with the same condition.

    Args:
        lakefs_conn_id: the connection's id; the connection itself is read when the trigger runs.
        condition: what to wait for, ``condition.model_dump(mode="json")`` of one of `lakefs_ops.flows.conditions`.
        poll_interval: seconds between two looks, varied a little so that many triggers do not look at once.
        end_time: when to give up, in Unix seconds; never by default.
        **kwargs: what other versions of this trigger may have stored; ignored, because a trigger that cannot be
            made again takes the whole triggerer down.

    Example:
        In an operator of one's own::

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
        """Return the class and the arguments to make it again."""
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
        """Look until the condition is met, can never be met, or the time is over; then fire once."""
        from lakefs_ops.errors import LakeFSError

        try:
            event = await self._wait()
        except (LakeFSError, AirflowNotFoundException) as error:
            event = _event("error", str(error))
        yield event

    async def _wait(self) -> TriggerEvent:
        from lakefs_ops.errors import TRANSIENT
        from lakefs_ops.flows.conditions import load
        from lakefs_ops.flows.waiting import jittered

        condition = load(self.condition)
        hook = LakeFSHook(self.lakefs_conn_id)
        verdict: Verdict | None = None
        failures = 0
        while True:
            try:
                verdict = await hook.look(condition)
            except TRANSIENT as error:
                failures += 1
                if failures > TOLERATED_FAILURES:
                    raise
                self.log.warning("look %d of %d in a row failed: %s", failures, TOLERATED_FAILURES, error)
            else:
                failures = 0
                condition = verdict.condition
                if verdict.state != "waiting":
                    return _event(verdict.state, verdict.reason, verdict.found)
                self.log.info("%s", verdict.reason)
            pause = jittered(self.poll_interval)
            if self.end_time is not None:
                left = self.end_time - time.time()
                if left <= 0:
                    return _event("timeout", verdict.reason if verdict else "no look succeeded")
                pause = min(pause, left)
            await asyncio.sleep(pause)


def _event(state: str, reason: str, found: Mapping[str, Any] | None = None) -> TriggerEvent:
    return TriggerEvent(  # type: ignore[no-untyped-call]
        {"state": state, "reason": reason, "found": dict(found or {})}
    )
