"""Requests and answers as handlers see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.actions.cancellation import Cancellation
from lakefs_ops.local.errors import Unauthenticated
from lakefs_ops.local.identity import REFUSED
from lakefs_ops.local.store import names
from lakefs_ops.local.store.addresses import Addresses

if TYPE_CHECKING:
    from lakefs_ops.local.app import Application
    from lakefs_ops.local.store.blobs import Incoming
    from lakefs_ops.local.store.lake import Lake, Repository


SNIFFED = {"X-Content-Type-Options": "nosniff"}
"""Keeps a browser from guessing another type."""

FRAMED = {"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "default-src 'none'"}
"""Keeps a browser from running what it shows."""

DEFAULT_AMOUNT = 100
"""Number of results on a page by default."""


@dataclass(slots=True)
class Request:
    """A checked request.

    Attributes:
        server: the running server.
        path: the path parameters.
        values: the typed values of the parameters that were given.
        body: the decoded JSON body, None without one.
        headers: the headers, names in lower case.
        user: the id of the caller, empty for an anonymous one.
        upload: the received file of an upload.
        upload_type: the media type of the upload.
        upload_problem: why the body of the upload cannot be read.
        cancellation: cancels the hooks of the operation.
    """

    server: Application
    path: Mapping[str, str]
    values: Mapping[str, Any]
    body: Any
    headers: Mapping[str, str]
    user: str
    upload: Incoming | None = None
    upload_type: str | None = None
    upload_problem: Exception | None = None
    cancellation: Cancellation = field(init=False)

    def __post_init__(self) -> None:
        self.cancellation = Cancellation(self.server.actions.cancellation)

    @property
    def lake(self) -> Lake:
        """The state of the server."""
        return self.server.lake

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a parameter."""
        return self.values.get(name, default)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of the body, empty without a body."""
        return self.body or {}

    @property
    def repository(self) -> Repository:
        """The repository of the path."""
        return self.lake.repository(self.path["repository"])

    @property
    def found_repository(self) -> Repository:
        """The repository of the path, for operations that do not validate its name first."""
        return self.lake.repository(self.path["repository"], checked=False)

    def check_repository_name(self, argument: str = "repository") -> None:
        """Validate the repository's name: lakeFS validates all names before it looks anything up."""
        names.check_repository(self.path["repository"], argument)

    def check_user(self) -> None:
        """Refuse an anonymous caller."""
        if not self.user:
            raise Unauthenticated(REFUSED)

    def branch(self, argument: str = "branch") -> str:
        """Return the branch of the path after validating its name and the repository's."""
        self.check_repository_name()
        names.check_branch(self.path["branch"], argument)
        return self.path["branch"]

    def addresses(self, repository: Repository) -> Addresses:
        """Return the physical addresses of a repository."""
        return Addresses(self.lake, repository, self.server.allow_import)

    def writable(self, *, force: bool | None = None) -> Repository:
        """Return the repository of the path for a change.

        Args:
            force: allow on a read-only repository; by default the field or the parameter ``force``.

        Raises:
            Forbidden: the repository is read-only.
        """
        if force is None:
            force = self.fields.get("force") or self.get("force", False)
        return self.lake.writable(self.path["repository"], force=force)


@dataclass(slots=True)
class Answer:
    """An answer.

    Attributes:
        status: the HTTP status.
        body: the bytes, whole or in pieces.
        headers: the headers.
    """

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Answer]
"""Answers an operation; raises `Refusal` for an error."""


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    """Return an answer with a JSON body."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return Answer(status, body, {"Content-Type": "application/json", **SNIFFED, **headers})


def as_text(text: str, status: int = 200) -> Answer:
    """Return an answer in plain text."""
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return Answer(status, text.encode(), headers | (SNIFFED if status >= 400 else {}))


def nothing(request: Request | None = None) -> Answer:
    """Return 204; also the handler of operations without a result."""
    return Answer(204)


def amount(request: Request) -> int:
    """Return the maximum number of results on a page: 100 by default, at most 1,000."""
    wanted: int = request.get("amount", DEFAULT_AMOUNT)
    return wanted if wanted > 0 else DEFAULT_AMOUNT


def page(results: Iterable[tuple[str, Any]], most: int) -> Answer:
    """Return one page of results.

    Args:
        results: pairs of an offset and a result; one more than the page holds if more follow.
        most: maximum number of results on the page.
    """
    taken: list[Any] = []
    last, more = "", False
    for offset, value in results:
        if len(taken) == most:
            more = True
            break
        taken.append(value)
        last = offset
    pagination = {
        "has_more": more, "next_offset": last if more else "", "results": len(taken), "max_per_page": 1000,
    }  # fmt: skip
    return as_json({"pagination": pagination, "results": taken})
