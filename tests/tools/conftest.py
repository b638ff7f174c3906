"""Data tools on a branch: each is configured by `storage_options` alone."""

from __future__ import annotations

from typing import Any

import pytest

from lakefs_ops import pytest_plugin
from lakefs_ops.client import LakeFSClient
from lakefs_ops.pytest_plugin import LakeFS

# The proxy that injects faults into a real lakeFS knows only the API.
lakefs = pytest_plugin.lakefs


@pytest.fixture(autouse=True)
def no_aws_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The tools find no settings of their own, such as keys in the home directory or an instance's role."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(lakefs: LakeFS) -> LakeFSClient:
    return lakefs.client


@pytest.fixture
def branch(client: LakeFSClient, lakefs_repository: str) -> str:
    client.branches.create(lakefs_repository, name="dev", source="main")
    return "dev"
