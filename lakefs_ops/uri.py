"""``lakefs://repository/ref/path`` URIs, and links to the lakeFS web UI."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlencode

from lakefs_ops.errors import InvalidArgument

SCHEME = "lakefs://"

COMMIT_ID = re.compile("[0-9a-f]{64}")
"""A full commit id."""


def _text(noun: str, value: str) -> str:
    """Return the value if it is a string."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{noun} must be a string, got {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class LakeFSURI:
    """A lakeFS URI.

    Attributes:
        repository: the repository's ID.
        ref: a branch, tag, commit ID or ref expression; empty for the repository itself.
        path: an object's path or a prefix; empty for the ref itself.

    Example:
        >>> LakeFSURI.parse("lakefs://lake/main/daily/2015-01.csv").path
        'daily/2015-01.csv'
    """

    repository: str
    ref: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            _text(name, getattr(self, name))
        if not self.repository:
            raise InvalidArgument("a lakeFS URI needs a repository: lakefs://repository/ref/path")
        if self.path and not self.ref:
            raise InvalidArgument(f"a lakeFS URI with a path needs a ref: lakefs://{self.repository}/REF/{self.path}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``lakefs://repository[/ref[/path]]``.

        Raises:
            InvalidArgument: the text has another scheme, or no repository.
        """
        if not _text("a lakeFS URI", text).startswith(SCHEME):
            raise InvalidArgument(f"not a lakeFS URI: {text!r}; write {SCHEME}repository/ref/path")
        repository, _, rest = text.removeprefix(SCHEME).partition("/")
        ref, _, path = rest.partition("/")
        return cls(repository, ref, path)

    def __str__(self) -> str:
        return SCHEME + "/".join(part for part in (self.repository, self.ref, self.path) if part)


@dataclass(frozen=True, slots=True)
class Links:
    """URLs of the pages of the lakeFS web UI.

    Attributes:
        base: the server's address without ``/api/v1``.

    Raises:
        InvalidArgument: a name is not a string.
    """

    base: str

    def _page(self, repository: str, *parts: str, **query: str) -> str:
        for value in (repository, *parts, *query.values()):
            _text("a name in a link", value)
        names = (quote(part, safe="") for part in (repository, *parts))
        address = "/".join([self.base, "repositories", *names])
        return f"{address}?{urlencode(query)}" if query else address

    def repository(self, repository: str) -> str:
        """Return the URL of a repository's page."""
        return self._page(repository, "objects")

    def objects(self, repository: str, ref: str, path: str = "") -> str:
        """Return the URL of the page of an object or a prefix at a ref."""
        return self._page(repository, "objects", ref=ref, **({"path": path} if path else {}))

    def commit(self, repository: str, commit_id: str) -> str:
        """Return the URL of a commit's page."""
        return self._page(repository, "commits", commit_id)

    def commits(self, repository: str, ref: str) -> str:
        """Return the URL of the page with a ref's log."""
        return self._page(repository, "commits", ref=ref)

    def compare(self, repository: str, base: str, compare: str) -> str:
        """Return the URL of the page with the changes that merging ``compare`` into ``base`` would make."""
        return self._page(repository, "compare", ref=base, compare=compare)

    def uncommitted(self, repository: str, branch: str) -> str:
        """Return the URL of the page with a branch's uncommitted changes."""
        return self._page(repository, "changes", ref=branch)

    def branches(self, repository: str) -> str:
        """Return the URL of the page with a repository's branches."""
        return self._page(repository, "branches")

    def action_run(self, repository: str, run_id: str) -> str:
        """Return the URL of an action run's page."""
        return self._page(repository, "actions", run_id)

    def pull(self, repository: str, pull_request: str) -> str:
        """Return the URL of a pull request's page."""
        return self._page(repository, "pulls", pull_request)
