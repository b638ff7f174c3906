"""What all operators share."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider.hooks.lakefs import LakeFSHook
from airflow_provider.rendering import render_as_text, rendered_to_text
from airflow_provider.retry import failing_for_good

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient


class LakeFSOperator(BaseOperator):
    """The base of the operators: one connection, one client while the task runs, errors in one sentence.

    An error that no retry can cure (a conflict, a bad request, unknown credentials: see
    `airflow_provider.retry.NOT_WORTH_A_RETRY`) fails the task without further tries. All others count against
    ``retries`` as usual.

    Args:
        lakefs_conn_id: the connection's id.
    """

    ui_color = "#d5f2ea"

    def __init__(self, *, lakefs_conn_id: str = LakeFSHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        render_as_text(self)
        self.lakefs_conn_id = lakefs_conn_id

    @cached_property
    def hook(self) -> LakeFSHook:
        """The hook for the connection."""
        return LakeFSHook(self.lakefs_conn_id)

    def execute(self, context: Context) -> Any:
        """Do the operator's work; see `work`."""
        rendered_to_text(self)
        with failing_for_good(), self.hook.get_conn() as client:
            return self.work(client, context)

    def work(self, client: LakeFSClient, context: Context) -> Any:
        """Do the operator's work, which is what subclasses define.

        Args:
            client: the client, open until this returns.
            context: the context of the running task.
        """
        raise NotImplementedError
