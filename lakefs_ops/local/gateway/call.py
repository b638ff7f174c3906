"""A call of the gateway as its operations see it, and what they answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakefs_ops.local.gateway import errors
from lakefs_ops.local.gateway.bodies import Buffer
from lakefs_ops.local.gateway.errors import S3Error
from lakefs_ops.local.gateway.routing import Place
from lakefs_ops.local.gateway.xml import Node, document
from lakefs_ops.local.http import Answer
from lakefs_ops.local.store.addresses import Addresses
from lakefs_ops.local.store.branches import Branches

if TYPE_CHECKING:
    from lakefs_ops.local.app import Application
    from lakefs_ops.local.store.blobs import Incoming
    from lakefs_ops.local.store.lake import Lake, Repository


@dataclass(slots=True)
class Call:
    """A request that passed authentication.

    Attributes:
        server: the running server.
        operation: the operation, see `routing.OPERATIONS`.
        at: what the request is about.
        query: the first value of each parameter.
        headers: the headers, names in lower case.
        scheme: ``http`` or ``https``.
        found: the repository, None for the server itself.
        file: the received body of an object or a part.
        text: the received XML body.
    """

    server: Application
    operation: str
    at: Place
    query: Mapping[str, str]
    headers: Mapping[str, str]
    scheme: str
    found: Repository | None = None
    file: Incoming | None = None
    text: Buffer | None = None

    @property
    def lake(self) -> Lake:
        """The state of the server."""
        return self.server.lake

    @property
    def repository(self) -> Repository:
        """The repository."""
        assert self.found is not None
        return self.found

    @property
    def branches(self) -> Branches:
        """The branches of the repository."""
        return Branches(self.lake, self.repository)

    def addresses(self, repository: Repository | None = None) -> Addresses:
        """Return the physical addresses of a repository, by default of the call's."""
        return Addresses(self.lake, repository or self.repository, self.server.allow_import)

    def check_read_only(self) -> None:
        """Raise S3Error if the repository is read-only; the gateway cannot force a change."""
        if self.repository.read_only:
            raise S3Error(errors.READ_ONLY)


Handler = Callable[[Call], Answer]
"""Answers an operation; raises `S3Error` for an error."""


def as_xml(root: Node, *, namespace: str = "") -> Answer:
    """Return an answer with an XML body."""
    return Answer(200, document(root, namespace=namespace))


def timestamp(seconds: int) -> str:
    """Return a moment as S3 writes it in XML."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "1970-01-01T00:00:00.000Z"
