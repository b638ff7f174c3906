"""Data tools on a branch: each is configured by `storage_options` alone."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lakefs_ops.client import LakeFSClient
from lakefs_ops.pytest_plugin import LakeFS


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


@pytest.fixture
def duck() -> Any:
    """A connection with the extension for S3, from its package: DuckDB would download it."""
    connection = duckdb.connect()
    spec = find_spec("duckdb_extension_httpfs")
    (extension,) = [
        path
        for path in Path(str(spec and spec.origin)).parent.rglob("httpfs.duckdb_extension")
        if f"v{duckdb.__version__}" in path.parts
    ]
    connection.execute(f"LOAD '{extension}'")
    yield connection
    connection.close()
