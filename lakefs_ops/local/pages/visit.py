"""A request for a page, with access to the API's operations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from lakefs_ops.local.handlers import HANDLERS
from lakefs_ops.local.http import Answer, Request

if TYPE_CHECKING:
    from lakefs_ops.local.app import Application
    from lakefs_ops.local.store.lake import Lake, Repository

PAGE_ROWS = 100
"""Number of rows on a page."""


def address(*parts: str, **query: str | None) -> str:
    """Return the address of a page, without the empty parameters of the query.

    Example:
        >>> address("repositories", "lake", "objects", ref="main", path="a b")
        '/repositories/lake/objects?ref=main&path=a+b'
    """
    path = "".join("/" + quote(part, safe="", errors="replace") for part in parts)
    wanted = {key: value for key, value in query.items() if value}
    return f"{path}?{urlencode(wanted, errors='replace')}" if wanted else path


@dataclass(slots=True)
class Visit:
    """A request for a page.

    Attributes:
        server: the running server.
        names: the path parameters.
        query: the first value of each query parameter.
        headers: the headers, names in lower case.
        user: the id of the caller, empty without a session.
        form: the fields of a submitted form.
    """

    server: Application
    names: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    user: str = ""
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        """The state of the server."""
        return self.server.lake

    @property
    def repository(self) -> Repository:
        """The repository of the path."""
        return self.lake.repository(self.names["repository"])

    @property
    def ref(self) -> str:
        """The ref of the query, by default the default branch."""
        return self.query.get("ref") or self.repository.default_branch

    @property
    def after(self) -> str:
        """The offset of the list."""
        return self.query.get("after", "")

    def call(self, operation: str, names: Mapping[str, str] | None = None, **values: Any) -> Answer:
        """Call an operation of the API; raises its refusals."""
        path = {**self.names, **(names or {})}
        return HANDLERS[operation](Request(self.server, path, values, None, {}, self.user))

    def ask(self, operation: str, names: Mapping[str, str] | None = None, **values: Any) -> Any:
        """Return the decoded answer of an operation of the API."""
        body = self.call(operation, names, **values).body
        assert isinstance(body, bytes)
        return json.loads(body)

    def ask_list(self, operation: str, names: Mapping[str, str] | None = None, **values: Any) -> tuple[list[Any], str]:
        """Return one page of results, and the offset of the next one, empty on the last."""
        found = self.ask(operation, names, **{"amount": PAGE_ROWS, "after": self.after, **values})
        return found["results"], found["pagination"]["next_offset"]

    def here(self, *parts: str, **query: str | None) -> str:
        """Return the address of a page of the repository."""
        return address("repositories", self.names["repository"], *parts, **query)
