"""What Airflow reads to discover this provider."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "lakefs-ops",
        "name": "lakeFS",
        "description": "Branches, commits and merges of data with lakeFS.",
    }
