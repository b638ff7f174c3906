"""The provider's metadata, which Airflow reads without importing the rest of the package."""

from __future__ import annotations

from typing import Any

CONNECTION_TYPE = "lakefs"
HOOK_NAME = "lakeFS"

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "port"],
    "relabeling": {"host": "Endpoint", "login": "Access key ID", "password": "Secret access key"},
    "placeholders": {
        "host": "https://lakefs.example.com",
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
    "token": {
        "label": "Token",
        "description": "Bearer token to use instead of the access key.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "lakefs-ops",
        "name": HOOK_NAME,
        "description": "Create, commit and merge lakeFS branches, each exactly once.",
        "integrations": [
            {"integration-name": HOOK_NAME, "external-doc-url": "https://docs.lakefs.io/", "tags": ["service"]}
        ],
        "hooks": [_modules("hooks.lakefs")],
        "operators": [
            _modules("operators.branches", "operators.commits", "operators.merges", "operators.objects"),
        ],
        "sensors": [_modules("sensors.commits", "sensors.objects")],
        "triggers": [_modules("triggers.lakefs")],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": "airflow_provider.hooks.lakefs.LakeFSHook",
                "hook-name": HOOK_NAME,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONN_FIELDS,
            }
        ],
        "extra-links": [
            "airflow_provider.links.LakeFSBranchLink",
            "airflow_provider.links.LakeFSCommitLink",
            "airflow_provider.links.LakeFSCompareLink",
            "airflow_provider.links.LakeFSObjectLink",
        ],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": HOOK_NAME, "python-modules": [f"airflow_provider.{name}" for name in names]}
