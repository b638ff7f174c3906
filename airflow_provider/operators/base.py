"""The base class of the operators."""

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
    """The base class of the operators: one connection, and one client while the task runs.

    An error that a retry cannot fix, such as a conflict, a bad request or unknown credentials, fails the task without
    further tries (see `airflow_provider.retry.NOT_WORTH_A_RETRY`). All other errors count against ``retries`` as usual.

    Args:
        lakefs_conn_id: the id of the Airflow connection.
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
        """Open the client and run `work`."""
        rendered_to_text(self)
        with failing_for_good(), self.hook.get_conn() as client:
            return self.work(client, context)

    def work(self, client: LakeFSClient, context: Context) -> Any:
        """Do the operator's work; subclasses implement this.

        Args:
            client: the client, closed when this returns.
            context: the context of the running task.
        """
        raise NotImplementedError
