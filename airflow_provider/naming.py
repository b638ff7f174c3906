"""Branch names from DAG and run ids."""

from __future__ import annotations

from lakefs_ops.flows.names import readable_name

GROUP_PREFIX = "airflow-"
"""The prefix of the branches of publish groups."""


def branch_id(*ids: object) -> str:
    """Return a branch name for ids: valid, readable, and different for different ids.

    In templates, the Airflow plugin `airflow_provider.plugin` offers it as ``macros.lakefs.branch_id``. Run ids are
    unique only within their DAG, so pass the DAG's id, too.

    Args:
        *ids: what the branch belongs to, such as a DAG and its run; at least one, and none of them empty.

    Raises:
        ValueError: an id is missing.

    Example:
        >>> branch_id("daily", "manual__2026-01-02T12:00:00+00:00")
        'daily-manual__2026-01-02T12-00-00-00-00-a6a0f26190b8da04'
    """
    texts = ["" if one is None else str(one) for one in ids]
    if not texts or "" in texts:
        raise ValueError(f"branch_id needs ids that are not empty, got {ids!r}")
    return readable_name("-".join(texts), *texts)


def group_branch(dag_id: str, run_id: str, group: str, backfill: str | None = None) -> str:
    """Return the name of the branch of a publish group in a DAG run.

    A run that Airflow processes again for a backfill publishes to another branch than before, so it has another one.

    Args:
        dag_id: the DAG's id.
        run_id: the run's id.
        group: the group's id.
        backfill: the key of the backfill that the run belongs to, None for an ordinary run.

    Example:
        >>> group_branch("daily", "manual__2026-01-02T12:00:00+00:00", "readings")
        'airflow-daily-manual__2026-01-02T12-00-00-00-00-readings-b820a9580c831c0e'
    """
    return GROUP_PREFIX + branch_id(dag_id, run_id, group, *([] if backfill is None else [backfill]))
