"""The Airflow plugin, which adds ``macros.lakefs`` to the templates of all tasks."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_provider.naming import branch_id


class LakeFSPlugin(AirflowPlugin):
    """Macros for templates.

    Example:
        A branch for each run of a DAG::

            branch = "{{ macros.lakefs.branch_id(dag.dag_id, run_id) }}"
    """

    name = "lakefs"
    macros = [branch_id]  # noqa: RUF012
