"""The states and XComs of the other tasks of a run, as a running task reads them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

UNFINISHED = (None, "removed", "scheduled", "queued", "up_for_retry", "restarting")
"""The states of tasks that will run, or run again."""


def states(context: Context, tasks: Collection[str]) -> dict[str, str | None]:
    """Return the states of tasks of this run: by task id, and for instances of mapped tasks by ``TASK_ID_INDEX``.

    Args:
        context: the context of the running task.
        tasks: the ids of the tasks; a task that this run does not have is missing in the result.
    """
    if not tasks:
        return {}
    ti = context["ti"]
    found = ti.get_task_states(dag_id=ti.dag_id, task_ids=list(tasks), run_ids=[ti.run_id])
    return {
        name: None if state is None else str(getattr(state, "value", state))
        for name, state in found.get(ti.run_id, {}).items()
    }


def pull(context: Context, task_id: str, key: str = "return_value", index: int | None = None) -> Any:
    """Return an XCom of a task of this run, or of one instance of a mapped task."""
    return context["ti"].xcom_pull(task_ids=task_id, key=key, map_indexes=index)
