"""The operator that waits for a repository's actions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider.links import LakeFSActionRunLink
from airflow_provider.operators.waiting import LakeFSWaitingOperator
from airflow_provider.rendering import REQUIRED, as_rendered

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient

MAX_OUTPUT = 2000
"""How many characters of a failed hook's output the error message has."""


class LakeFSWaitForActionRunOperator(LakeFSWaitingOperator):
    """Wait until the actions for a commit have ended, such as the post-commit or post-merge hooks.

    If a hook failed, the task fails without further tries, and its message has the end of the hook's output.

    Delivery: reads only.

    XCom: a mapping with ``run_id`` and ``hooks``, a list with ``action``, ``hook_id`` and ``status`` of each hook.

    Args:
        repo: the repository's id (templated).
        commit_id: the commit that the actions run for (templated).
        event_type: the event that started the actions, such as ``post-merge`` (templated).
        timeout: maximum time to wait, one hour by default.
        deferrable: wait in the triggerer instead of on a worker; ``[operators] default_deferrable`` by default.
        poll_interval: the longest pause between two polls, in seconds.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Continue when a hook has registered the published tables::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                publish = LakeFSMergeOperator(
                    task_id="publish", source_ref="run-{{ ds_nodash }}", destination_branch="main"
                )
                LakeFSWaitForActionRunOperator(
                    task_id="registered", commit_id=publish.output, event_type="post-merge", deferrable=True
                )
    """

    template_fields = (*LakeFSWaitingOperator.template_fields, "repo", "commit_id", "event_type")
    operator_extra_links = (LakeFSActionRunLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        commit_id: Templated[str] = REQUIRED,
        event_type: Templated[str] = REQUIRED,
        timeout: float | timedelta = timedelta(hours=1),
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.repo = as_rendered(repo)
        self.commit_id = as_rendered(commit_id)
        self.event_type = as_rendered(event_type)

    def work(self, client: LakeFSClient, context: Context) -> dict[str, Any]:
        """Wait for the run and return its hooks."""
        from lakefs_ops.flows.conditions import ActionRunDone

        LakeFSActionRunLink().push(context, client.links.commit(self.repo, self.commit_id))
        condition = ActionRunDone(repository=self.repo, commit_id=self.commit_id, event_type=self.event_type)
        result: dict[str, Any] = self.wait(client, context, condition)
        return result

    def met(self, client: LakeFSClient, context: Context, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return the hooks of the run."""
        run_id = found["run_id"]
        LakeFSActionRunLink().push(context, client.links.action_run(self.repo, run_id))
        hooks = [
            {"action": hook.action, "hook_id": hook.hook_id, "status": hook.status}
            for hook in client.actions.list_run_hooks(self.repo, run_id)
        ]
        return {"run_id": run_id, "hooks": hooks}

    def failed(self, client: LakeFSClient, reason: str, found: Mapping[str, Any]) -> Exception:
        """Return an error with the output of the failed hooks."""
        run_id = found["run_id"]
        outputs = []
        for hook in client.actions.list_run_hooks(self.repo, run_id):
            if hook.status == "failed":
                output = client.actions.get_run_hook_output(self.repo, run_id, hook.hook_run_id)
                text = output.decode(errors="replace").strip()[-MAX_OUTPUT:]
                outputs.append(f"{hook.action}/{hook.hook_id}: {text}")
        url = client.links.action_run(self.repo, run_id)
        return AirflowFailException(f"{reason}: {'; '.join(outputs) or 'no hook failed'}; {url}")
