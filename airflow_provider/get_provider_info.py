"""The provider's metadata, which Airflow reads without importing the rest of the package."""

from __future__ import annotations

from typing import Any

CONNECTION_TYPE = "lakefs"
AWS_CONNECTION_TYPE = "aws"
HOOK_NAME = "lakeFS"

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    # The Test button of Airflow 3.3 sends port 0 for a connection without one, and refuses, because 0 is not stored.
    "hidden-fields": ["schema"],
    "relabeling": {"host": "Endpoint", "login": "Access key ID", "password": "Secret access key"},
    "placeholders": {
        "host": "https://lakefs.example.com",
        "port": "443; the Test button needs a port",
        "login": "the access key ID",
        "password": "the secret access key",
    },
}

CONN_FIELDS: dict[str, Any] = {
    "verify_ssl": {
        "label": "Verify TLS",
        "description": "Verify the server's TLS certificate.",
        "schema": {"type": ["boolean", "null"], "default": True},
    },
    "ca_bundle": {
        "label": "CA bundle",
        "description": "Path of a CA bundle to verify the certificate with; the system's by default.",
        "schema": {"type": ["string", "null"]},
    },
    "client_certificate": {
        "label": "Client certificate",
        "description": "Path of a client certificate (PEM), with its key or next to it.",
        "schema": {"type": ["string", "null"]},
    },
    "client_key": {
        "label": "Client key",
        "description": "Path of the client certificate's key, if the certificate's file does not have it.",
        "schema": {"type": ["string", "null"]},
    },
    "proxy": {
        "label": "Proxy",
        "description": "URL of a proxy; by default HTTPS_PROXY and HTTP_PROXY of the worker, and none if it is 'none'.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "connect_timeout": {
        "label": "Connect timeout (s)",
        "description": "Seconds to wait until a connection is established; 10 by default.",
        "schema": {"type": ["number", "null"]},
    },
    "read_timeout": {
        "label": "Read timeout (s)",
        "description": "Seconds to wait for a response; 300 by default, because large commits and merges take minutes.",
        "schema": {"type": ["number", "null"]},
    },
    "total_timeout": {
        "label": "Total timeout (s)",
        "description": "Seconds for one call with all its retries; 900 by default, or three times the read timeout.",
        "schema": {"type": ["number", "null"]},
    },
    "retries": {
        "label": "Retries",
        "description": "How often a call that is safe to repeat is sent again; 4 by default.",
        "schema": {"type": ["integer", "null"]},
    },
    "retry_budget": {
        "label": "Retry budget (s)",
        "description": "Seconds that one call may wait between its retries altogether; 30 by default.",
        "schema": {"type": ["number", "null"]},
    },
    "pool_size": {
        "label": "Connections",
        "description": "How many connections one client may open; 32 by default.",
        "schema": {"type": ["integer", "null"]},
    },
    "exchange_token": {
        "label": "Exchange for a token",
        "description": "Exchange the access key for a token, instead of sending the key with each call.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "token": {
        "label": "Token",
        "description": "Bearer token to use instead of the access key.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "audit_secret_key": {
        "label": "Audit key",
        "description": "Secret with which publish groups sign what their audits have passed; none by default.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
}

CONFIG: dict[str, Any] = {
    "lakefs": {
        "description": "Webhooks of lakeFS, which become asset events.",
        "options": {
            "webhook_secret": {
                "description": "Shared secret of POST /lakefs/webhook, at least 16 characters; off by default.",
                "version_added": None,
                "type": "string",
                "sensitive": True,
                "example": None,
                "default": None,
            },
            "webhook_conn_id": {
                "description": "The connection with which the API server reads the commits.",
                "version_added": None,
                "type": "string",
                "example": None,
                "default": "lakefs_default",
            },
            "poll_interval": {
                "description": "Seconds between two polls for commits whose webhook was lost; 0 for no polls.",
                "version_added": None,
                "type": "float",
                "example": None,
                "default": "600",
            },
        },
    }
}

SENSORS = ("actions", "branches", "commits", "imports", "merges", "objects", "pulls", "tags")


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "lakefs-ops",
        "name": HOOK_NAME,
        "description": "Create, commit and merge lakeFS branches, each exactly once.",
        "integrations": [
            {
                "integration-name": HOOK_NAME,
                "external-doc-url": "https://docs.lakefs.io/",
                "logo": "/lakefs/docs/images/logo.svg",
                "tags": ["service"],
            }
        ],
        "filesystems": ["airflow_provider.fs.lakefs"],
        "hooks": [_modules("hooks.lakefs")],
        "operators": [
            _modules(
                "operators.actions",
                "operators.backfills",
                "operators.branches",
                "operators.commits",
                "operators.diffs",
                "operators.imports",
                "operators.merges",
                "operators.objects",
                "operators.partitions",
                "operators.pull_requests",
                "operators.repositories",
                "operators.reverts",
                "operators.sweep",
                "operators.tags",
                "operators.transfers",
            ),
        ],
        "sensors": [_modules(*(f"sensors.{name}" for name in SENSORS))],
        "triggers": [_modules("triggers.commits", "triggers.imports", "triggers.lakefs")],
        "asset-uris": [
            {
                "schemes": ["lakefs"],
                "handler": "airflow_provider.assets.lakefs.sanitize_uri",
                "factory": "airflow_provider.assets.lakefs.create_asset",
                "to_openlineage_converter": "airflow_provider.assets.lakefs.convert_asset_to_openlineage",
            }
        ],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": "airflow_provider.hooks.lakefs.LakeFSHook",
                "hook-name": HOOK_NAME,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONN_FIELDS,
            }
        ],
        "config": CONFIG,
        "notifications": ["airflow_provider.notifications.lakefs.LakeFSNotifier"],
        "plugins": [{"name": "lakefs", "plugin-class": "airflow_provider.plugin.LakeFSPlugin"}],
        "extra-links": [
            "airflow_provider.links.LakeFSActionRunLink",
            "airflow_provider.links.LakeFSBranchLink",
            "airflow_provider.links.LakeFSCommitLink",
            "airflow_provider.links.LakeFSCompareLink",
            "airflow_provider.links.LakeFSLink",
            "airflow_provider.links.LakeFSObjectLink",
            "airflow_provider.links.LakeFSPullRequestLink",
            "airflow_provider.links.LakeFSRepositoryLink",
        ],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": HOOK_NAME, "python-modules": [f"airflow_provider.{name}" for name in names]}
