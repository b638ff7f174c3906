"""Fixtures for test suites: a lakeFS to test on, without Docker and without a network.

Installed with the extra ``local``, any test may ask for them::

    def test_publish(lakefs, lakefs_repository):
        lakefs.client.objects.upload(lakefs_repository, "main", "a.txt", b"1")
        assert lakefs.client.commits.create(lakefs_repository, "main", message="one")

The server starts with the first test that asks, once a session, on a free port of the loopback interface.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient


@dataclass(frozen=True, slots=True)
class LakeFS:
    """A lakeFS to test on.

    Attributes:
        endpoint: its address.
        access_key_id: the access key.
        secret_access_key: its secret.
        client: a client of it.
    """

    endpoint: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    client: LakeFSClient


@pytest.fixture(scope="session")
def lakefs() -> Iterator[LakeFS]:
    """A running lakeFS, shared by the session's tests; take `lakefs_repository` for a repository of your own."""
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.local import LocalLakeFS

    with (
        LocalLakeFS() as server,
        LakeFSClient(
            server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
        ) as client,
    ):
        yield LakeFS(server.endpoint, server.access_key_id, server.secret_access_key, client)


@pytest.fixture(scope="session")
def lakefs_repository_factory(lakefs: LakeFS) -> Callable[[], str]:
    """Makes repositories; each call returns the id of a fresh one."""
    numbers, session = itertools.count(1), uuid.uuid4().hex[:8]

    def make() -> str:
        name = f"test-{session}-{next(numbers)}"
        return lakefs.client.repositories.create(name=name, storage_namespace=f"local://{name}").id

    return make


@pytest.fixture
def lakefs_repository(lakefs_repository_factory: Callable[[], str]) -> str:
    """The id of a fresh repository with the branch ``main``."""
    return lakefs_repository_factory()
