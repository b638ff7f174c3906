"""A request and an answer, as handlers see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.store import names
from lakefs_ops.local.store.addresses import Addresses

if TYPE_CHECKING:
    from lakefs_ops.local.store.blobs import Incoming
    from lakefs_ops.local.store.lake import Lake, Repository


SNIFFED = {"X-Content-Type-Options": "nosniff"}
"""Keeps a browser from guessing another type."""

FRAMED = {"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "default-src 'none'"}
"""Keeps a browser from running what it shows."""


@dataclass(slots=True)
class Request:
    """A checked request.

    Attributes:
        lake: the state.
        path: the names in its address.
        values: the typed values of its parameters, those that were given.
        body: its decoded JSON body, None without one.
        headers: its headers, names in lower case.
        user: who asks.
        upload: the received file of an upload.
        upload_type: the media type that came with it.
        server: what the handler may need of the running server.
    """

    lake: Lake
    path: Mapping[str, str]
    values: Mapping[str, Any]
    body: Any
    headers: Mapping[str, str]
    user: str
    server: Any
    upload: Incoming | None = None
    upload_type: str | None = None
    upload_problem: Exception | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a parameter."""
        return self.values.get(name, default)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The body's fields, none without a body."""
        return self.body or {}

    @property
    def repository(self) -> Repository:
        """The repository in the address."""
        return self.lake.repository(self.path["repository"])

    def check_repository_name(self, argument: str = "repository") -> None:
        """Judge the form of the repository's name: lakeFS judges all names before it looks for anything.

        Args:
            argument: how a refusal calls it.
        """
        names.check_repository(self.path["repository"], argument)

    @property
    def found_repository(self) -> Repository:
        """The repository in the address, where lakeFS does not look at the name's form."""
        return self.lake.repository(self.path["repository"], checked=False)

    def addresses(self, repository: Repository) -> Addresses:
        """The physical addresses of a repository."""
        return Addresses(self.lake, repository, self.server.allow_import)

    def writable(self, *, force: bool) -> Repository:
        """The repository in the address, which must not be read-only unless forced."""
        return self.lake.writable(self.path["repository"], force=force)


@dataclass(slots=True)
class Answer:
    """An answer.

    Attributes:
        status: the HTTP status.
        body: its bytes, or pieces of them.
        headers: its headers.
    """

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Answer]
"""Answers an operation; raises `Refusal` to refuse."""


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    """Return an answer with a JSON body."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return Answer(status, body, {"Content-Type": "application/json", **SNIFFED, **headers})


def as_text(text: str, status: int = 200) -> Answer:
    """Return an answer in plain text."""
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return Answer(status, text.encode(), headers | (SNIFFED if status >= 400 else {}))


def nothing() -> Answer:
    """Return 204."""
    return Answer(204)


def amount(request: Request) -> int:
    """Return how many results a page may hold: 100 unless asked otherwise, at most 1,000."""
    asked: int = request.get("amount", 100)
    return asked if asked > 0 else 100


def page(results: Iterable[tuple[str, Any]], most: int) -> Answer:
    """Return one page of results.

    Args:
        results: pairs of an offset and a result, at least one more than the page holds if there are more.
        most: how many the page holds.
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
