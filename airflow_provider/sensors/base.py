"""What all sensors share."""

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

MEMORY = "lakefs_condition"
"""Under which key a task's state store keeps what the sensor has seen."""

GRACE = timedelta(seconds=60)
"""How much later than the trigger itself Airflow ends a deferral whose triggerer is down."""


class LakeFSSensor(BaseSensorOperator):
    """The base of the sensors: one condition in all modes (``poke``, ``reschedule``, deferrable).

    What a look has seen is kept in the task's state store (Airflow 3.3), so a sensor that is rescheduled, retried or
    cleared goes on from there and misses nothing in between. Earlier versions of Airflow have no such place; there,
    a sensor in mode ``reschedule`` that has something to remember keeps its slot and pokes.

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
        """Return what to wait for, which is what subclasses define."""
        raise NotImplementedError

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to what is waited for, which is what subclasses define.

        Args:
            context: the context of the running task.
            found: what met the condition, None as long as it is waited for.
        """
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Wait on the worker, or look once and defer."""
        if not self.deferrable:
            return super().execute(context)
        verdict = self._look(context)
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
        """Take up the task when the trigger has fired.

        Args:
            context: the context of the running task.
            event: what the trigger saw; see `airflow_provider.triggers.lakefs.LakeFSConditionTrigger`.

        Raises:
            AirflowSensorTimeout: the time is over.
            AirflowFailException: the condition can never be met any more.
            AirflowException: the looks failed; another try may do better.
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
        """Look once."""
        verdict = self._look(context)
        return PokeReturnValue(verdict.state == "met", verdict.found)

    def _look(self, context: Context) -> Verdict:
        """Look with what was seen before, and keep what is seen now."""
        rendered_to_text(self)
        with failing_for_good():
            wanted = self.condition()
            before = self._seen or self._recall(context, wanted)
            if self._seen is None:
                self.link(context)
            with self.hook.get_conn() as client:
                verdict = before.look(client)
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
        """Return the condition as an earlier look left it, if that look was for the same."""
        from lakefs_ops.flows.conditions import load

        store = context.get("task_state_store")
        kept = cast("dict[str, Any] | None", store.get(MEMORY)) if store is not None else None
        if kept and kept["wanted"] == wanted.model_dump(mode="json"):
            return load(kept["seen"])
        return wanted

    def _remember(self, context: Context, wanted: Condition, seen: Condition) -> None:
        store = context.get("task_state_store")
        if store is not None:
            store.set(MEMORY, {"wanted": wanted.model_dump(mode="json"), "seen": seen.model_dump(mode="json")})
        elif self.reschedule and not self.deferrable:
            self.log.warning("this Airflow keeps nothing for a rescheduled task, so the sensor pokes on in its slot")
            self.mode = "poke"
