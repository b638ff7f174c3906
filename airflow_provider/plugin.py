"""The Airflow plugin: ``macros.lakefs`` in the templates of all tasks, a route for webhooks, and the documentation."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider.documentation import LOGO, PREFIX, create_app, href
from airflow_provider.naming import branch_id


class _Apps:
    """The applications for the API server, created there only: other processes do not read the attribute."""

    def __get__(self, instance: object, owner: type) -> list[dict[str, Any]]:
        from airflow_provider import webhooks

        # In this order, because the second prefix includes the first.
        apps = [{"name": "lakefs-docs", "url_prefix": PREFIX, "app": create_app()}]
        if (secret := webhooks.webhook_secret()) is not None:
            apps.append({"name": "lakefs", "url_prefix": "/lakefs", "app": webhooks.create_app(secret)})
        return apps


class LakeFSPlugin(AirflowPlugin):
    """Macros for templates, and in the API server ``POST /lakefs/webhook`` and the documentation.

    See `airflow_provider.webhooks` and `airflow_provider.documentation`.

    Example:
        A branch for each run of a DAG::

            branch = "{{ macros.lakefs.branch_id(dag.dag_id, run_id) }}"
    """

    name = "lakefs"
    macros = [branch_id]  # noqa: RUF012
    fastapi_apps = _Apps()
    external_views = [  # noqa: RUF012
        {"name": "lakeFS", "href": href(f"{PREFIX}/"), "category": "docs", "destination": "nav", "icon": href(LOGO)}
    ]
