"""The base class of the sensors."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider.hooks.lakefs import LakeFSHook
from airflow_provider.rendering import render_as_text, rendered_to_text
from airflow_provider.retry import failing_for_good

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.flows.conditions import Condition, Verdict

STATE_KEY = "lakefs_condition"
"""Key in the task state store under which a sensor saves what it has seen."""

GRACE = timedelta(seconds=60)
"""Time after the trigger's own timeout at which Airflow ends the deferral, in case the triggerer is down."""


class LakeFSSensor(BaseSensorOperator):
    """The base class of the sensors: polls one condition in all modes (``poke``, ``reschedule``, deferrable).

    On Airflow 3.3, the task state store keeps what the sensor has seen, so a sensor that is rescheduled, retried or
    cleared continues from there and misses no change. Airflow 3.1 and 3.2 cannot persist sensor state:
    ``mode="reschedule"`` falls back to poking, and a retry starts over.

    Args:
        lakefs_conn_id: the connection's id.
        deferrable: wait in the triggerer instead of on a worker; ``[operators] default_deferrable`` by default.
    """

    ui_color = "#d5f2ea"

    def __init__(
        self,
        *,
        lakefs_conn_id: str = LakeFSHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        render_as_text(self)
        self.lakefs_conn_id = lakefs_conn_id
        self.deferrable = deferrable
        self._seen: Condition | None = None

    @cached_property
    def hook(self) -> LakeFSHook:
        """The hook for the connection."""
        return LakeFSHook(self.lakefs_conn_id)

    def condition(self) -> Condition:
        """Return the condition to wait for; implemented by subclasses."""
        raise NotImplementedError

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the awaited commit or object; implemented by subclasses.

        Args:
            context: the context of the running task.
            found: details of what met the condition; None while waiting.
        """
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Wait on the worker; if deferrable, poll once and defer."""
        if not self.deferrable:
            return super().execute(context)
        verdict = self._poll(context)
        if verdict.state == "met":
            return verdict.found
        from airflow_provider.triggers.lakefs import LakeFSConditionTrigger

        return self.defer(
            trigger=LakeFSConditionTrigger(
                lakefs_conn_id=self.lakefs_conn_id,
                condition=verdict.condition.model_dump(mode="json"),
                poll_interval=self.poke_interval,
                end_time=time.time() + self.timeout,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + GRACE,
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Resume the task after the trigger has fired.

        Args:
            context: the context of the running task.
            event: the trigger's event; see `airflow_provider.triggers.lakefs.LakeFSConditionTrigger`.

        Raises:
            AirflowSensorTimeout: the condition was not met in time.
            AirflowFailException: the condition can no longer be met.
            AirflowException: polling failed; the task may be retried.
        """
        state, reason = event["state"], event["reason"]
        if state == "timeout":
            raise AirflowSensorTimeout(f"gave up after {self.timeout:g} s: {reason}")
        if state == "failed":
            raise AirflowFailException(reason)
        if state != "met":
            raise AirflowException(reason)
        self.log.info("%s", reason)
        rendered_to_text(self)
        found = cast("dict[str, Any]", event["found"])
        self.link(context, found)
        return found

    def poke(self, context: Context) -> PokeReturnValue:
        """Check the condition once."""
        verdict = self._poll(context)
        return PokeReturnValue(verdict.state == "met", verdict.found)

    def _poll(self, context: Context) -> Verdict:
        """Poll the condition as the previous poll left it, and save what this poll has seen."""
        rendered_to_text(self)
        with failing_for_good():
            wanted = self.condition()
            before = self._seen or self._recall(context, wanted)
            if self._seen is None:
                self.link(context)
            with self.hook.get_conn() as client:
                verdict = before.poll(client)
        self.log.info("%s", verdict.reason)
        if verdict.state == "failed":
            raise AirflowFailException(verdict.reason)
        self._seen = verdict.condition
        if verdict.condition != before:
            self._remember(context, wanted, verdict.condition)
        if verdict.state == "met":
            self.link(context, verdict.found)
        return verdict

    def _recall(self, context: Context, wanted: Condition) -> Condition:
        """Return the condition as the previous poll saved it, unless the sensor's arguments have changed since."""
        from lakefs_ops.flows.conditions import load

        store = context.get("task_state_store")
        saved = cast("dict[str, Any] | None", store.get(STATE_KEY)) if store is not None else None
        if saved and saved["wanted"] == wanted.model_dump(mode="json"):
            return load(saved["seen"])
        return wanted

    def _remember(self, context: Context, wanted: Condition, seen: Condition) -> None:
        store = context.get("task_state_store")
        if store is not None:
            store.set(STATE_KEY, {"wanted": wanted.model_dump(mode="json"), "seen": seen.model_dump(mode="json")})
        elif self.reschedule and not self.deferrable:
            self.log.warning("Airflow 3.1 and 3.2 cannot persist sensor state: mode='reschedule' falls back to poking")
            self.mode = "poke"
