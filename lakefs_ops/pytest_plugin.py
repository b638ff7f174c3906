"""Fixtures for test suites: a lakeFS to test on, without Docker and without a network.

Installed with the extra ``local``, any test may ask for them::

    def test_publish(lakefs, lakefs_repository):
        lakefs.client.objects.upload(lakefs_repository, "main", "a.txt", b"1")
        assert lakefs.client.commits.create(lakefs_repository, "main", message="one")

The server starts with the first test that asks, once a session, on a free port of the loopback interface. It fails on
demand, so that a test can see whether a pipeline survives that::

    def test_a_lost_reply(lakefs, lakefs_repository):
        lakefs.faults.add(Fault("commit", when="after", action="reset"))  # from lakefs_ops.local.faults
        ...

With ``LAKEFS_OPS_SERVER=URL``, ``LAKEFS_OPS_ACCESS_KEY_ID`` and ``LAKEFS_OPS_SECRET_ACCESS_KEY`` the same tests run on
that lakeFS. Its repositories are made below ``LAKEFS_OPS_STORAGE_NAMESPACE``, by default where the server proposes,
and deleted at the end; tests that ask for faults are skipped.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.local import LocalLakeFS
    from lakefs_ops.local.faults import Faults

EMBEDDED = pytest.StashKey["LocalLakeFS"]()


@dataclass(frozen=True, slots=True)
class LakeFS:
    """A lakeFS to test on.

    Attributes:
        endpoint: its address.
        access_key_id: the access key.
        secret_access_key: its secret.
        client: a client of it.
        server: the embedded server, None when ``LAKEFS_OPS_SERVER`` names another.
    """

    endpoint: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    client: LakeFSClient
    server: LocalLakeFS | None = field(default=None, repr=False)

    @property
    def faults(self) -> Faults:
        """What fails on demand, cleared after each test; a test that asks a real lakeFS for it is skipped."""
        if self.server is None:
            pytest.skip(f"faults on demand are of the embedded server, and LAKEFS_OPS_SERVER is {self.endpoint}")
        return self.server.faults


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Clear the faults of a test before its fixtures clean up."""
    server = item.config.stash.get(EMBEDDED, None)
    if server is not None:
        server.faults.clear()


@pytest.fixture(scope="session")
def lakefs(pytestconfig: pytest.Config) -> Iterator[LakeFS]:
    """A running lakeFS, shared by the session's tests; take `lakefs_repository` for a repository of your own."""
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.local import LocalLakeFS

    with ExitStack() as stack:
        server = None
        if endpoint := os.environ.get("LAKEFS_OPS_SERVER"):
            key, secret = (_needed(f"LAKEFS_OPS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
        else:
            server = stack.enter_context(LocalLakeFS())
            endpoint, key, secret = server.endpoint, server.access_key_id, server.secret_access_key
            pytestconfig.stash[EMBEDDED] = server
        client = stack.enter_context(LakeFSClient(endpoint, access_key_id=key, secret_access_key=secret))
        yield LakeFS(endpoint, key, secret, client, server)


def _needed(name: str) -> str:
    if not (value := os.environ.get(name)):
        raise pytest.UsageError(f"LAKEFS_OPS_SERVER is set, so {name} is needed too")
    return value


@pytest.fixture(scope="session")
def lakefs_repository_factory(lakefs: LakeFS) -> Iterator[Callable[[], str]]:
    """Makes repositories; each call returns the id of a fresh one."""
    numbers, session = itertools.count(1), uuid.uuid4().hex[:8]
    base = os.environ.get("LAKEFS_OPS_STORAGE_NAMESPACE") if lakefs.server is None else "local://"
    made: list[str] = []

    def make() -> str:
        name = f"test-{session}-{next(numbers)}"
        below = base or lakefs.client.server.storage().default_namespace_prefix or ""
        namespace = below + name if below.endswith("/") else f"{below}/{name}"
        made.append(lakefs.client.repositories.create(name=name, storage_namespace=namespace).id)
        return name

    yield make
    if lakefs.server is None:
        for name in made:
            lakefs.client.repositories.delete(name, force=True)


@pytest.fixture
def lakefs_repository(lakefs_repository_factory: Callable[[], str]) -> str:
    """The id of a fresh repository with the branch ``main``."""
    return lakefs_repository_factory()
