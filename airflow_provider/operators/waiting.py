"""The base class of the operators that wait for lakeFS, on a worker or in the triggerer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, conf

from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import rendered_to_text
from airflow_provider.retry import failing_for_good
from lakefs_ops.flows.waiting import TOLERANCE, as_seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.conditions import Condition

GRACE = timedelta(seconds=60)
"""Time after the trigger's own timeout at which Airflow ends the deferral, in case the triggerer is down."""


class LakeFSWaitingOperator(LakeFSOperator):
    """The base class of the operators that start something, and wait until a condition is met.

    Args:
        deferrable: wait in the triggerer instead of on a worker; ``[operators] default_deferrable`` by default.
        timeout: maximum time to wait, in seconds; a task that times out fails and may be retried.
        poll_interval: the longest pause between two polls, in seconds.
        tolerance: seconds for which lakeFS may be down before the task fails.
    """

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        timeout: float | timedelta,
        poll_interval: float = 10.0,
        tolerance: float | timedelta = TOLERANCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.timeout = as_seconds("timeout", timeout)
        self.poll_interval = poll_interval
        self.tolerance = as_seconds("tolerance", tolerance)

    def met(self, client: LakeFSClient, context: Context, found: Mapping[str, Any]) -> Any:
        """Return the operator's result once the condition is met; subclasses implement this.

        Args:
            client: the client.
            context: the context of the running task.
            found: details of what met the condition.
        """
        raise NotImplementedError

    def failed(self, client: LakeFSClient, reason: str, found: Mapping[str, Any]) -> Exception:
        """Return the error to raise when the condition can no longer be met; by default one that is not retried."""
        return AirflowFailException(reason)

    def wait(self, client: LakeFSClient, context: Context, condition: Condition) -> Any:
        """Wait for the condition and return the operator's result; if deferrable, poll once and defer."""
        from lakefs_ops.errors import TRANSIENT
        from lakefs_ops.flows.waiting import ConditionFailed, wait

        if not self.deferrable:
            try:
                verdict = wait(
                    condition, client, timeout=self.timeout, poll_interval=self.poll_interval, tolerance=self.tolerance
                )
            except ConditionFailed as error:
                raise self.failed(client, error.verdict.reason, error.verdict.found) from None
            return self.met(client, context, verdict.found)
        try:
            verdict = condition.poll(client)
        except TRANSIENT as error:
            self.log.warning("poll failed, the triggerer will poll again: %s", error)
        else:
            if verdict.state == "met":
                return self.met(client, context, verdict.found)
            if verdict.state == "failed":
                raise self.failed(client, verdict.reason, verdict.found)
            condition = verdict.condition
        return self.defer(
            trigger=self.trigger(condition),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + GRACE,
        )

    def trigger(self, condition: Condition) -> Any:
        """Return the trigger that waits for the condition."""
        from airflow_provider.triggers.lakefs import LakeFSConditionTrigger

        return LakeFSConditionTrigger(**self.trigger_arguments(condition))

    def trigger_arguments(self, condition: Condition) -> dict[str, Any]:
        """Return the arguments of the trigger."""
        return {
            "lakefs_conn_id": self.lakefs_conn_id,
            "condition": condition.model_dump(mode="json"),
            "poll_interval": self.poll_interval,
            "end_time": time.time() + self.timeout,
            "tolerance": self.tolerance,
        }

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Resume the task after the trigger has fired.

        Args:
            context: the context of the running task.
            event: the trigger's event; see `airflow_provider.triggers.lakefs.LakeFSConditionTrigger`.

        Raises:
            AirflowException: the condition was not met in time, or polling failed; the task may be retried.
            AirflowFailException: the condition can no longer be met, or a retry cannot fix the error.
        """
        state, reason, found = event["state"], event["reason"], event["found"]
        rendered_to_text(self)
        if state == "timeout":
            raise AirflowException(f"gave up after {self.timeout:g} s: {reason}")
        if state == "error":
            raise AirflowException(reason)
        if state == "failed" and not found:
            raise AirflowFailException(reason)  # A poll failed with an error that a retry cannot fix.
        with failing_for_good(), self.hook.get_conn() as client:
            if state == "failed":
                raise self.failed(client, reason, found)
            self.log.info("%s", reason)
            return self.met(client, context, found)
