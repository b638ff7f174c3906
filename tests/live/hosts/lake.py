"""A lakeFS that can be down."""

from __future__ import annotations

import time
from pathlib import Path

from hosts import free_port
from lakefs_ops import LakeFSClient
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS


class Lake:
    """An embedded lakeFS that can be down for a while, and may import from the folder ``raw``."""

    def __init__(self, folder: Path) -> None:
        self.data, self.raw, self.port = folder / "data", folder / "raw", free_port()
        self.raw.mkdir()
        self.server = self._start()
        self.client = LakeFSClient(
            f"http://127.0.0.1:{self.port}", access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY
        )
        self.client.repositories.create(name="lake", storage_namespace="local://lake")

    def down(self, seconds: float) -> None:
        self.server.stop()
        time.sleep(seconds)
        self.server = self._start()

    def _start(self) -> LocalLakeFS:
        return LocalLakeFS(data=self.data, port=self.port, allow_import=[self.raw]).start()

    def commit(self, path: str) -> str:
        self.client.objects.upload("lake", "main", path, b"1")
        return self.client.commits.create("lake", "main", message=path).id

    def merges(self) -> list[str]:
        """Return the ids of all merges on main."""
        return [commit.id for commit in self.client.refs.log("lake", "main", first_parent=True) if commit.parents[1:]]

    def paths(self) -> set[str]:
        return {entry.path for entry in self.client.objects.list("lake", "main")}

    def branches(self) -> set[str]:
        """Return the names of all branches but main."""
        return {branch.id for branch in self.client.branches.list("lake")} - {"main"}

    def close(self) -> None:
        self.client.close()
        self.server.stop()
