"""The Airflow plugin: ``macros.lakefs`` in the templates of all tasks, and a route for webhooks of lakeFS."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider.naming import branch_id


class _WebhookApps:
    """The applications for the API server, created there only: other processes do not read the attribute."""

    def __get__(self, instance: object, owner: type) -> list[dict[str, Any]]:
        from airflow_provider.webhooks import create_app, webhook_secret

        if (secret := webhook_secret()) is None:
            return []
        return [{"name": "lakefs", "url_prefix": "/lakefs", "app": create_app(secret)}]


class LakeFSPlugin(AirflowPlugin):
    """Macros for templates, and ``POST /lakefs/webhook`` in the API server (see `airflow_provider.webhooks`).

    Example:
        A branch for each run of a DAG::

            branch = "{{ macros.lakefs.branch_id(dag.dag_id, run_id) }}"
    """

    name = "lakefs"
    macros = [branch_id]  # noqa: RUF012
    fastapi_apps = _WebhookApps()
