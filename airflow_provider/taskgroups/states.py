"""The states and XComs of the other tasks of a run, as a running task reads them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_INSTANCE = re.compile(r"(.+)_\d+")

UNFINISHED = (None, "removed", "scheduled", "queued", "up_for_retry", "restarting")
"""The states of tasks that will run, or run again."""


def states(context: Context, tasks: Collection[str]) -> dict[tuple[str, int | None], str | None]:
    """Return the states of tasks of this run, by task id and map index; the index is None for tasks without one.

    Args:
        context: the context of the running task.
        tasks: the ids of the tasks; a task that this run does not have is missing in the result.
    """
    ti = context["ti"]
    found: dict[tuple[str, int | None], str | None] = {}
    for names in _distinct(tasks):
        answer = ti.get_task_states(dag_id=ti.dag_id, task_ids=names, run_ids=[ti.run_id]).get(ti.run_id, {})
        for name, state in answer.items():
            task_id, _, index = (name, "", "") if name in names else name.rpartition("_")
            found[task_id, int(index) if index else None] = (
                None if state is None else str(getattr(state, "value", state))
            )
    return found


def _distinct(tasks: Collection[str]) -> Iterator[list[str]]:
    """Yield groups of task ids in which ``TASK_INDEX``, Airflow's name of an instance, is not another task."""
    alone = {name for name in tasks if (match := _INSTANCE.fullmatch(name)) and match[1] in tasks}
    if others := [name for name in tasks if name not in alone]:
        yield others
    yield from ([name] for name in sorted(alone))


def pull(context: Context, task_id: str, key: str = "return_value", index: int | None = None) -> Any:
    """Return an XCom of a task of this run, or of one instance of a mapped task."""
    return context["ti"].xcom_pull(task_ids=task_id, key=key, map_indexes=index)
