"""The base class of the sensors."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider.hooks.lakefs import LakeFSHook
from airflow_provider.rendering import TemplateFields, as_rendered, rendered_to_text
from airflow_provider.retry import failing_for_good
from lakefs_ops.flows.waiting import TOLERANCE, as_seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.flows.conditions import Condition
    from lakefs_ops.flows.waiting import PollLoop

STATE_KEY = "lakefs_condition"
"""Key in the task state store under which a sensor saves what it has seen."""

OUTAGE_KEY = "lakefs_outage"
"""Key in the task state store under which a rescheduled sensor saves when the current outage began."""

GRACE = timedelta(seconds=60)
"""Time after the trigger's own timeout at which Airflow ends the deferral, in case the triggerer is down."""


class LakeFSSensor(TemplateFields, BaseSensorOperator):
    """The base class of the sensors: polls one condition in all modes (``poke``, ``reschedule``, deferrable).

    On Airflow 3.3, the task state store keeps what the sensor has seen, so a sensor that is rescheduled, retried or
    cleared continues from there and misses no change. Airflow 3.1 and 3.2 cannot persist sensor state:
    ``mode="reschedule"`` falls back to poking, and a retry starts over.

    All modes treat a failed poll alike:

    - A transient error (nothing listens, a timeout, a 5xx status) is tolerated until lakeFS has been down for
      ``tolerance``; then the task fails and may be retried. Without a task state store, a rescheduled sensor tolerates
      it until the sensor's timeout.
    - After a 401, the connection is read again; the task fails only if it has not changed or is rejected again.
      It is also read again while lakeFS cannot be reached, in case its address has changed.
    - An error that a retry cannot fix, such as wrong credentials, fails the task without further tries.
    - ``soft_fail`` skips the task on a timeout only, never on an error. ``silent_fail`` (keep waiting) and
      ``never_fail`` (skip) apply to errors only, never to a timeout.

    Args:
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker; ``[operators] default_deferrable`` by default.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.
    """

    ui_color = "#d5f2ea"
    template_fields: tuple[str, ...] = ("lakefs_conn_id",)

    def __init__(
        self,
        *,
        lakefs_conn_id: Templated[str] = LakeFSHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        tolerance: timedelta | float = TOLERANCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.lakefs_conn_id = as_rendered(lakefs_conn_id)
        self.deferrable = deferrable
        self.tolerance = as_seconds("tolerance", tolerance)
        self._loop: PollLoop | None = None

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
            found: details of what met or failed the condition; None while waiting.
        """
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Wait on the worker; if deferrable, poll once and defer."""
        with self._skipping_as_poke_does():
            if not self.deferrable:
                return super().execute(context)
        try:
            result = self.poke(context)
        except Exception as error:
            if self.silent_fail and not isinstance(error, AirflowFailException):
                self.log.exception("poll failed, will poll again")
            elif self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            else:
                raise
        else:
            if result.is_done:
                return result.xcom_value
        from airflow_provider.triggers.lakefs import LakeFSConditionTrigger

        condition = self._loop.condition if self._loop is not None else self.condition()
        return self.defer(
            trigger=LakeFSConditionTrigger(
                lakefs_conn_id=self.lakefs_conn_id,
                condition=condition.model_dump(mode="json"),
                poll_interval=self.poke_interval,
                end_time=time.time() + self.timeout,
                tolerance=self.tolerance,
                exponential_backoff=self.exponential_backoff,
                max_wait=self.max_wait.total_seconds() if self.max_wait else None,
                silent_fail=self.silent_fail,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + GRACE,
        )

    def resume_execution(self, *args: Any, **kwargs: Any) -> Any:
        """Resume the task after the trigger has fired, timed out or crashed."""
        with self._skipping_as_poke_does():
            return super().resume_execution(*args, **kwargs)

    @contextmanager
    def _skipping_as_poke_does(self) -> Iterator[None]:
        """Raise the error for which Airflow skips the task although ``soft_fail`` or ``never_fail`` does not apply.

        Airflow skips a deferred task with either option after any error, and a timeout.
        """
        error = None
        try:
            yield
        except AirflowSkipException as skipped:
            error = skipped.__cause__
            if error is None or self._may_skip(error):
                raise
        if error is not None:
            raise error

    def _may_skip(self, error: BaseException) -> bool:
        if self.soft_fail:
            return isinstance(error, AirflowSensorTimeout | AirflowTaskTimeout)
        return not isinstance(error, AirflowSensorTimeout)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Resume the task after the trigger has fired.

        Args:
            context: the context of the running task.
            event: the trigger's event; see `airflow_provider.triggers.lakefs.LakeFSConditionTrigger`.

        Raises:
            AirflowSensorTimeout: the condition was not met in time.
            AirflowFailException: the condition can no longer be met, or polling failed with an error that a retry
                cannot fix.
            AirflowException: polling failed; the task may be retried.
        """
        state, reason = event["state"], event["reason"]
        if state == "timeout":
            raise AirflowSensorTimeout(f"gave up after {self.timeout:g} s: {reason}")
        found = cast("dict[str, Any]", event["found"])
        if state == "met" or found:
            rendered_to_text(self)
            self.link(context, found)
        if state == "failed":
            raise AirflowFailException(reason)
        if state != "met":
            raise AirflowException(reason)
        self.log.info("%s", reason)
        return found

    def poke(self, context: Context) -> PokeReturnValue:
        """Check the condition once, as the previous poll left it, and save what this poll has seen.

        Raises:
            AirflowFailException: the condition can no longer be met, or a retry cannot fix the error.
            LakeFSError: the poll failed, and the error is not transient or lakeFS has been down for too long.
        """
        from lakefs_ops.errors import LakeFSError

        rendered_to_text(self)
        with failing_for_good():
            wanted = self.condition()
            if self._loop is None:
                self.link(context)
                self._loop = self._start(context, wanted)
            loop = self._loop
            seen, down_since = loop.condition, loop.down_since
            try:
                verdict = self.hook.poll_blocking(seen)
            except LakeFSError as error:
                loop.on_error(error, time.time())
            else:
                loop.on_verdict(verdict, time.time())
        loop.log_news(self.log.log)
        if loop.down_since != down_since:
            self._remember_outage(context, loop.down_since)
        if loop.down_since is not None:
            return PokeReturnValue(is_done=False)
        if verdict.state == "failed":
            if verdict.found:
                self.link(context, verdict.found)
            raise AirflowFailException(verdict.reason)
        if loop.condition != seen:
            self._remember(context, wanted, loop.condition)
        if verdict.state == "met":
            self.link(context, verdict.found)
        return PokeReturnValue(verdict.state == "met", verdict.found)

    @property
    def _rescheduled(self) -> bool:
        return self.reschedule and not self.deferrable

    def _start(self, context: Context, wanted: Condition) -> PollLoop:
        """Continue from the saved state, unless the sensor's arguments have changed since it was saved."""
        from lakefs_ops.flows.conditions import load
        from lakefs_ops.flows.waiting import Pace, PollLoop

        store, condition, down_since = context.get("task_state_store"), wanted, None
        if store is not None:
            saved = cast("dict[str, Any] | None", store.get(STATE_KEY))
            if saved and saved["wanted"] == wanted.model_dump(mode="json"):
                condition = load(saved["seen"])
            outage = cast("dict[str, Any] | None", store.get(OUTAGE_KEY)) if self._rescheduled else None
            if outage and outage["try_number"] == context["ti"].try_number:
                down_since = outage["since"]
        return PollLoop(
            condition,
            pace=Pace(self.poke_interval),
            deadline=None,
            tolerance=math.inf if store is None and self._rescheduled else self.tolerance,
            down_since=down_since,
        )

    def _remember(self, context: Context, wanted: Condition, seen: Condition) -> None:
        store = context.get("task_state_store")
        if store is not None:
            store.set(STATE_KEY, {"wanted": wanted.model_dump(mode="json"), "seen": seen.model_dump(mode="json")})
        elif self._rescheduled:
            self.log.warning("Airflow 3.1 and 3.2 cannot persist sensor state: mode='reschedule' falls back to poking")
            self.mode = "poke"

    def _remember_outage(self, context: Context, since: float | None) -> None:
        store = context.get("task_state_store")
        if store is not None and self._rescheduled:
            # A retry begins with a new tolerance.
            store.set(OUTAGE_KEY, {"since": since, "try_number": context["ti"].try_number})
