"""A request for a page, and what the page may ask of the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from lakefs_ops.local.handlers import HANDLERS
from lakefs_ops.local.http import Answer, Request

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake, Repository

PAGE = 100
"""How many rows a page shows."""


def address(*parts: str, **query: str | None) -> str:
    """Return the address of a page of this server, empty parts of the query left out.

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
        names: the names in the address.
        query: the first value of each parameter.
        headers: its headers, names in lower case.
        user: who asks; empty for nobody.
        form: the fields of a form that was sent.
    """

    server: Any
    names: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    user: str = ""
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        """The state."""
        lake: Lake = self.server.lake
        return lake

    @property
    def repository(self) -> Repository:
        """The repository in the address."""
        return self.lake.repository(self.names["repository"])

    @property
    def ref(self) -> str:
        """The ref in the query, the default branch without one."""
        return self.query.get("ref") or self.repository.default_branch

    @property
    def after(self) -> str:
        """Behind what the list begins."""
        return self.query.get("after", "")

    def call(self, operation: str, names: Mapping[str, str] | None = None, **values: Any) -> Answer:
        """Let the API answer an operation; its refusals are raised."""
        path = {**self.names, **(names or {})}
        return HANDLERS[operation](Request(self.lake, path, values, None, {}, self.user, self.server))

    def ask(self, operation: str, names: Mapping[str, str] | None = None, **values: Any) -> Any:
        """Return the value that an operation of the API answers with."""
        body = self.call(operation, names, **values).body
        assert isinstance(body, bytes)
        return json.loads(body)

    def ask_list(self, operation: str, names: Mapping[str, str] | None = None, **values: Any) -> tuple[list[Any], str]:
        """Return one page of results, and behind what the next one begins, empty for the last."""
        found = self.ask(operation, names, **{"amount": PAGE, "after": self.after, **values})
        return found["results"], found["pagination"]["next_offset"]

    def here(self, *parts: str, **query: str | None) -> str:
        """Return the address of a page of the repository."""
        return address("repositories", self.names["repository"], *parts, **query)
