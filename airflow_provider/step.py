"""A task of a run, as lakeFS gets to know it: the key of its step, and the metadata of its commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient

PREFIX = "::lakefs::Airflow::"
"""Begins the metadata keys that lakeFS shows as Airflow's."""

LOOK_BACK = 1000
"""How many commits are searched for an earlier one of the same task: one request."""


class Step:
    """One logical step: a task of a DAG run, however often it is tried.

    A retry is another attempt at the same step, so it takes up what an earlier attempt made. A cleared task is to
    do its work again, perhaps on new data: that is another step, with a key of its own.

    Args:
        context: the context of the running task.

    Attributes:
        run_key: begins the keys of all steps of the same run.
        key: names the step; the same for each attempt at it.
        retried: whether this step was tried before.
        repeated: whether the task was tried before at all, for this step or before it was cleared.
    """

    def __init__(self, context: Context) -> None:
        ti = context["ti"]
        self.run_key = f"{ti.dag_id}/{ti.run_id}/"
        task = ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}/{ti.map_index}"
        # A clear raises max_tries to the tries made so far plus `retries`.
        tries_before = max(0, ti.max_tries - (ti.task.retries or 0))
        self._keys = [self.run_key + task + (f"#{tries}" if tries else "") for tries in range(tries_before + 1)]
        self.key = self._keys[-1]
        self.retried = ti.try_number > tries_before + 1
        self.repeated = ti.try_number > 1

    def earlier_commit(self, client: LakeFSClient, repository: str, ref: str) -> Commit | None:
        """Return the newest commit of this task from before it was cleared, or None.

        Args:
            client: the client.
            repository: the repository's id.
            ref: whose log to search.
        """
        from lakefs_ops.flows.attempts import KEY

        keys = set(self._keys[:-1])
        log = client.refs.log(repository, ref, limit=LOOK_BACK) if keys else ()
        return next((commit for commit in log if (commit.metadata or {}).get(KEY) in keys), None)


def metadata(context: Context, given: Mapping[str, object] | None = None) -> dict[str, str]:
    """Return the metadata of a commit or a merge: which run made it, and what the DAG's author adds.

    What has no value in this run, such as the logical date of a manual one, is left out.

    Args:
        context: the context of the running task.
        given: the author's own keys and values.
    """
    ti, run = context["ti"], context["dag_run"]
    run_type = getattr(run.run_type, "value", run.run_type)
    described: dict[str, object] = {
        "dag_run_id": ti.run_id,
        "dag_id": ti.dag_id,
        "run_type": run_type,
        "external_trigger[boolean]": str(run_type == "manual").lower(),
        "note": getattr(run, "note", None),
        "url[url:id]": ti.log_url,
        "url[url:ui]": ti.log_url,
    }
    for name in ("logical_date", "data_interval_start", "data_interval_end", "last_scheduling_decision"):
        if date := getattr(run, name, None):
            described[f"{name}[iso8601]"] = date.isoformat()
    values = (
        {"airflow_task_id": ti.task_id} | {PREFIX + key: value for key, value in described.items()} | dict(given or {})
    )
    return {key: str(value) for key, value in values.items() if value is not None}
