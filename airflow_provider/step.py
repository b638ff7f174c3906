"""The exactly-once step of an Airflow task: its key, and the metadata of its commits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakefs_ops.errors import AlreadyExists
from lakefs_ops.flows.step import Step

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient

PREFIX = "::lakefs::Airflow::"
"""The prefix of metadata keys that the lakeFS UI shows under the heading Airflow."""

REFUSED = "lakefs_refused"
"""The key under which a task stores in its state that it has refused a branch that already existed."""


def run_key(context: Context) -> str:
    """Return the prefix of the keys of all steps in a DAG run."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/"


@contextmanager
def creating_branch(context: Context) -> Iterator[bool]:
    """Yield whether an earlier try of the running task may have created the branch of the run.

    If a DAG run is deleted and triggered again under its run id, the branch of the deleted run has the same key. The
    first try refuses it, and so must a later one, since no try of this run has created it. Airflow 3.1 and 3.2 have no
    state in which a task can keep that.
    """
    ti, store = context["ti"], context.get("task_state_store")
    refused = store is not None and bool(store.get(REFUSED))
    retried = ti.try_number > 1 and not refused
    if store is not None and refused:
        store.set(REFUSED, False)  # This try may create the branch, and die.
    try:
        yield retried
    except AlreadyExists:
        if store is not None and not retried:
            store.set(REFUSED, True)
        raise


def step_from_context(context: Context, client: LakeFSClient, repository: str) -> Step:
    """Return the step of the running task: one key for all tries, until the task is cleared.

    A retry is another attempt at the same step, so it finds the effect of an earlier attempt. A cleared task does its
    work again, perhaps on new data, so it is another step; the keys from before are its earlier ones.
    """
    ti = context["ti"]
    task = ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}/{ti.map_index}"
    # Clearing a task raises max_tries, and nothing else changes it: not even other `retries` in a changed DAG file.
    keys = [run_key(context) + task + (f"#{tries}" if tries else "") for tries in range(ti.max_tries + 1)]
    return Step(
        client,
        repository,
        key=keys[-1],
        # Of a cleared task, the first try searches in vain, since its key is new.
        retried=ti.try_number > 1,
        earlier_keys=tuple(keys[:-1]),
    )


def commit_metadata(context: Context, metadata: Mapping[str, object] | None = None) -> dict[str, str]:
    """Return the metadata of a commit: the DAG run and task that create it, and the DAG author's own.

    Fields without a value in this run, such as the logical date of a manual run, are left out. The bundle's version is
    a git commit, if the DAG comes from git.

    Args:
        context: the context of the running task.
        metadata: the DAG author's metadata, which takes precedence.
    """
    ti, run = context["ti"], context["dag_run"]
    run_type = getattr(run.run_type, "value", run.run_type)
    bundle = getattr(ti, "bundle_instance", None)
    fields: dict[str, object] = {
        "dag_run_id": ti.run_id,
        "dag_id": ti.dag_id,
        "run_type": run_type,
        "external_trigger[boolean]": str(run_type == "manual").lower(),
        "note": getattr(run, "note", None),
        "url[url:id]": ti.log_url,
        "url[url:ui]": ti.log_url,
        "partition_key": getattr(run, "partition_key", None),
        "triggering_user": getattr(run, "triggering_user_name", None),
        "team": getattr(run, "team_name", None),
        "clear_number": getattr(run, "clear_number", None) or None,
        "dag_version_id": getattr(ti, "dag_version_id", None),
        "bundle_name": getattr(bundle, "name", None),
        "bundle_version": getattr(bundle, "version", None),
    }
    for name in ("logical_date", "data_interval_start", "data_interval_end", "last_scheduling_decision"):
        if date := getattr(run, name, None):
            fields[f"{name}[iso8601]"] = date.isoformat()
    values = (
        {"airflow_task_id": ti.task_id} | {PREFIX + key: value for key, value in fields.items()} | dict(metadata or {})
    )
    return {key: str(value) for key, value in values.items() if value is not None}
