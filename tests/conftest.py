"""Servers for the tests: one that can be stopped and started again, and faults in front of a real lakeFS."""

from __future__ import annotations

import asyncio
import http.client
import os
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lakefs_ops import Config, LakeFSClient
from lakefs_ops.flows import attempts
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS
from lakefs_ops.local.app import API
from lakefs_ops.local.faults import Faults, strike
from lakefs_ops.local.http import Answer
from lakefs_ops.local.specification import read_names
from lakefs_ops.pytest_plugin import EMBEDDED, LakeFS


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


class FaultProxy(LocalLakeFS):
    """The embedded server's faults in front of a real lakeFS, which answers everything else.

    A call goes on to lakeFS even if its client is gone, as behind a proxy that buffers requests.
    """

    def __init__(self, upstream: str, access_key_id: str, secret_access_key: str) -> None:
        super().__init__(access_key_id=access_key_id, secret_access_key=secret_access_key)
        self._upstream = upstream.removeprefix("http://")

    def start(self) -> FaultProxy:
        super().start()
        self._application._answer = self._forward
        return self

    async def _forward(self, scope: Any, receive: Any) -> tuple[Answer, bool]:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return Answer(499), False
            body, more = body + message.get("body", b""), message.get("more_body", False)
        path = scope["raw_path"].partition(b"?")[0].decode()
        if not path.startswith(f"{API}/"):  # the S3 gateway, whose signatures cover the host
            pool = self._application.pool
            return await asyncio.get_running_loop().run_in_executor(pool, self._send, scope, path, body, set()), False
        operation, parts = self._application._match(scope["method"], path.removeprefix(f"{API}/"))
        rules = self.faults.call(operation.name, read_names(path, parts)[0])
        if (answer := await strike(rules, "before")) is None:
            pool = self._application.pool
            answer = await asyncio.get_running_loop().run_in_executor(pool, self._send, scope, path, body)
            answer = await strike(rules, "after", answer)
        return answer, False

    def _send(self, scope: Any, path: str, body: bytes, dropped: Set[bytes] = frozenset({b"host"})) -> Answer:
        dropped = {*dropped, b"connection", b"expect", b"transfer-encoding", b"content-length"}
        headers = {key.decode(): value.decode("latin-1") for key, value in scope["headers"] if key not in dropped}
        headers["Content-Length"] = str(len(body))
        connection = http.client.HTTPConnection(self._upstream, timeout=600)
        try:
            query = scope["query_string"].decode()
            connection.request(scope["method"], f"{path}?{query}" if query else path, body, headers)
            response = connection.getresponse()
            names = ("connection", "transfer-encoding", "date", "server")
            kept = {name.title(): value for name, value in response.headers.items() if name.lower() not in names}
            return Answer(response.status, response.read(), kept)
        finally:
            connection.close()


@dataclass(frozen=True)
class ProxiedLakeFS(LakeFS):
    """A real lakeFS behind a proxy with faults."""

    proxy: FaultProxy | None = None

    @property
    def faults(self) -> Faults:
        return self.proxy.faults


@pytest.fixture(scope="session")
def lakefs(pytestconfig: pytest.Config) -> Iterator[LakeFS]:
    """The lakeFS of the tests, with faults also if ``LAKEFS_OPS_SERVER`` is set."""
    if endpoint := os.environ.get("LAKEFS_OPS_SERVER"):
        keys = [os.environ[f"LAKEFS_OPS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
        server = FaultProxy(endpoint, *keys)
    else:
        server = LocalLakeFS()
    with server:
        pytestconfig.stash[EMBEDDED] = server
        keys = [server.access_key_id, server.secret_access_key]
        with LakeFSClient(server.endpoint, access_key_id=keys[0], secret_access_key=keys[1]) as client:
            if isinstance(server, FaultProxy):
                yield ProxiedLakeFS(server.endpoint, *keys, client, proxy=server)
            else:
                yield LakeFS(server.endpoint, *keys, client, server)


@pytest.fixture
def settings_in_force(lakefs: LakeFS) -> Callable[[], None]:
    """Wait until new settings of a repository are in force: a real lakeFS caches them for up to 6 seconds."""
    return lambda: time.sleep(0 if lakefs.server else 6.5)


@pytest.fixture
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """For calls that take effect before their connection breaks, or never: the search has nothing to wait for."""
    monkeypatch.setattr(attempts, "SETTLE", 0.0)
