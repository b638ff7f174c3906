"""A server that can be stopped and started again, for the tests of everything that waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lakefs_ops import Config, LakeFSClient
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS


@dataclass
class RestartableLakeFS:
    """An embedded lakeFS that keeps its data and port; it has the repository ``lake``."""

    data: Path
    port: int = 0
    secret_access_key: str = SECRET_ACCESS_KEY
    server: LocalLakeFS | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, secret_access_key: str = SECRET_ACCESS_KEY) -> None:
        self.secret_access_key = secret_access_key
        self.server = LocalLakeFS(data=self.data, port=self.port, secret_access_key=secret_access_key).start()
        self.port = int(self.server.endpoint.rpartition(":")[2])

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()

    def client(self, **options: Any) -> LakeFSClient:
        keys = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": self.secret_access_key}
        return LakeFSClient(config=Config(endpoint=self.endpoint, **keys, **options))

    def commit(self, branch: str = "main") -> str:
        with self.client() as client:
            client.objects.upload("lake", branch, "new.csv", b"1")
            return client.commits.create("lake", branch, message="new", allow_empty=True).id


@pytest.fixture
def restartable(tmp_path: Path) -> Iterator[RestartableLakeFS]:
    lakefs = RestartableLakeFS(tmp_path / "lakefs")
    lakefs.start()
    with lakefs.client() as client:
        client.repositories.create(name="lake", storage_namespace="local://lake")
    yield lakefs
    lakefs.stop()
