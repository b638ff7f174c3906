"""Pytest fixtures with a lakeFS server, which needs neither Docker nor a network.

They need the extra ``local``::

    def test_publish(lakefs, lakefs_repository):
        lakefs.client.objects.upload(lakefs_repository, "main", "a.txt", b"1")
        assert lakefs.client.commits.create(lakefs_repository, "main", message="one")

The server starts once per session, with the first test that uses it, on a free port of the loopback interface. Tests
can inject faults to check that a pipeline survives them::

    def test_a_lost_reply(lakefs, lakefs_repository):
        lakefs.faults.add(Fault("commit", when="after", action="reset"))  # from lakefs_ops.local.faults
        ...

With the ini option ``lakefs_presign = true``, the server offers presigned addresses, as lakeFS does on an object store.

With ``LAKEFS_OPS_SERVER=URL``, ``LAKEFS_OPS_ACCESS_KEY_ID`` and ``LAKEFS_OPS_SECRET_ACCESS_KEY``, the same tests run
against that server. Repositories are created below ``LAKEFS_OPS_STORAGE_NAMESPACE``, or else below the server's default
namespace prefix, and deleted at the end. Tests that inject faults are skipped.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
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
    """The lakeFS server of the tests.

    Attributes:
        endpoint: the server's address.
        access_key_id: the access key ID.
        secret_access_key: its secret.
        client: a client of the server.
        server: the embedded server; None if ``LAKEFS_OPS_SERVER`` is set.
    """

    endpoint: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    client: LakeFSClient
    server: LocalLakeFS | None = field(default=None, repr=False)

    @property
    def faults(self) -> Faults:
        """Faults to inject, cleared after each test; a test that uses them on another server is skipped."""
        if self.server is None:
            pytest.skip(f"faults need the embedded server, but LAKEFS_OPS_SERVER is {self.endpoint}")
        return self.server.faults


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini options."""
    parser.addini(
        "lakefs_presign", "whether the embedded lakeFS offers presigned addresses", type="bool", default=False
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Clear the faults of a test before its fixtures are torn down."""
    server = item.config.stash.get(EMBEDDED, None)
    if server is not None:
        server.faults.clear()


@pytest.fixture(scope="session")
def lakefs(pytestconfig: pytest.Config) -> Iterator[LakeFS]:
    """A running lakeFS server, shared by the tests of the session; see `lakefs_repository` for a fresh repository."""
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.local import LocalLakeFS

    with ExitStack() as stack:
        server = None
        if endpoint := os.environ.get("LAKEFS_OPS_SERVER"):
            key, secret = (_require_env(f"LAKEFS_OPS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
        else:
            server = stack.enter_context(LocalLakeFS(presign=bool(pytestconfig.getini("lakefs_presign"))))
            endpoint, key, secret = server.endpoint, server.access_key_id, server.secret_access_key
            pytestconfig.stash[EMBEDDED] = server
        client = stack.enter_context(LakeFSClient(endpoint, access_key_id=key, secret_access_key=secret))
        yield LakeFS(endpoint, key, secret, client, server)


def _require_env(name: str) -> str:
    if not (value := os.environ.get(name)):
        raise pytest.UsageError(f"LAKEFS_OPS_SERVER is set, so {name} must be set too")
    return value


@pytest.fixture(scope="session")
def lakefs_repository_factory(lakefs: LakeFS) -> Iterator[Callable[[], str]]:
    """A function that creates a repository and returns its ID."""
    from lakefs_ops.errors import RepositoryNotFound

    numbers, session = itertools.count(1), uuid.uuid4().hex[:8]
    base = os.environ.get("LAKEFS_OPS_STORAGE_NAMESPACE") if lakefs.server is None else "local://"
    created: list[str] = []

    def create() -> str:
        name = f"test-{session}-{next(numbers)}"
        prefix = base or lakefs.client.server.storage().default_namespace_prefix or ""
        namespace = prefix + name if prefix.endswith("/") else f"{prefix}/{name}"
        created.append(lakefs.client.repositories.create(name=name, storage_namespace=namespace).id)
        return name

    yield create
    if lakefs.server is None:
        for name in created:
            with suppress(RepositoryNotFound):  # a test may have deleted it
                lakefs.client.repositories.delete(name, force=True)


@pytest.fixture
def lakefs_repository(lakefs_repository_factory: Callable[[], str]) -> str:
    """The ID of a fresh repository with the branch ``main``."""
    return lakefs_repository_factory()
