"""The base class of the operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider.hooks.lakefs import LakeFSHook
from airflow_provider.rendering import TemplateFields, rendered_to_text
from airflow_provider.retry import failing_for_good
from lakefs_ops.errors import InvalidArgument

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient


class LakeFSOperator(TemplateFields, BaseOperator):
    """The base class of the operators: one connection, and one client while the task runs.

    An error that a retry cannot fix, such as a conflict, a bad request or unknown credentials, fails the task without
    further tries (see `airflow_provider.retry.NOT_WORTH_A_RETRY`). All other errors count against ``retries`` as usual.

    Template fields are rendered as `airflow_provider.rendering` describes, so ``render_template_as_native_obj`` has no
    effect on them. A name that is None or empty after rendering fails the task.

    Args:
        lakefs_conn_id: the id of the Airflow connection (templated).
    """

    ui_color = "#d5f2ea"
    template_fields: tuple[str, ...] = ("lakefs_conn_id",)

    def __init__(self, *, lakefs_conn_id: str = LakeFSHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lakefs_conn_id = lakefs_conn_id

    @property
    def hook(self) -> LakeFSHook:
        """A hook for the connection."""
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


IF_NOTHING = ("fail", "skip", "succeed")
"""The values of `lakefs_ops.flows.step.IfNothing`, which is imported only by running tasks."""


def check_choice(argument: str, value: object, choices: tuple[object, ...]) -> None:
    """Check an argument that is one of a few values, in the operator's constructor.

    Raises:
        InvalidArgument: the value is not one of the choices.
    """
    if value not in choices:
        raise InvalidArgument(f"{argument} must be one of {', '.join(map(repr, choices))}, got {value!r}")
