"""One request as a value: what an operation asks for, before anything is sent.

A group's method builds a `Call` and hands it to a `Sender`; so a test can look at every operation without
a server, and the transport is the only place that knows HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Generic, Protocol, TypeVar
from urllib.parse import quote

from lakefs_ops.errors import InvalidArgument
from lakefs_ops.model import Model

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PAGE_SIZE = 1000
"""The largest page a server gives (lakeFS 1.84, parameter ``amount``); its own default is 100."""

Body = bytes | IO[bytes] | Iterable[bytes] | None
QueryValue = str | int | bool | Iterable[str] | None

_NEGATIVE_MODIFIER = re.compile(r"[~^]-")
_REF_NOUNS = frozenset({"ref", "sourceRef", "leftRef", "rightRef", "commitId"})


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request to the lakeFS API and the type of its answer.

    Attributes:
        operation: the operation's name in the lakeFS specification, such as ``getBranch``.
        method: the HTTP method.
        path: the address below ``/api/v1`` as in the specification, with names in braces.
        names: what to put into the braces: repository, branch ...; error messages show them too.
        result: what a success is parsed into: a `Model`, ``str``, ``bytes`` or ``NoneType``.
        query: names and values of the query, in order, not yet quoted.
        body: bytes, an open binary file, or an iterator of bytes.
        headers: further headers.
        idempotent: whether sending it twice leaves the same state as sending it once; reads always are.
        authenticated: whether credentials go along.
    """

    operation: str
    method: str
    path: str
    names: Mapping[str, str]
    result: type[T_co]
    query: tuple[tuple[str, str], ...] = ()
    body: Body = None
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = False
    authenticated: bool = True

    @property
    def address(self) -> str:
        """The address below ``/api/v1``, quoted, without the query.

        Raises:
            InvalidArgument: a name that cannot be sent.
        """
        return self.path.format_map({noun: _segment(noun, name) for noun, name in self.names.items()})

    @property
    def repeatable(self) -> bool:
        """Whether the transport may send it again when no answer came."""
        return self.idempotent or self.method in ("GET", "HEAD")

    def with_query(self, **values: QueryValue) -> Call[T_co]:
        """Return the same call with further query parameters."""
        return replace(self, query=self.query + query(**values))

    def __str__(self) -> str:
        about = ", ".join(f"{noun} {name!r}" for noun, name in self.names.items())
        return f"{self.operation}({about})"


class Sender(Protocol):
    """What a group needs of the transport."""

    def send(self, call: Call[T]) -> T:
        """Send the call and return its typed answer."""
        ...

    def open(self, call: Call[bytes]) -> Stream:
        """Send the call and return the answer's body as a stream."""
        ...


class Stream(Protocol):
    """The body of an answer, read in pieces; a context manager."""

    headers: Mapping[str, str]

    def __enter__(self) -> Stream: ...
    def __exit__(self, *exc: object) -> None: ...
    def __iter__(self) -> Iterator[bytes]: ...

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, all that is left when negative."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


def _segment(noun: str, name: str) -> str:
    """Quote one name for its place in the address.

    The server decodes names in an address twice (lakeFS 1.84, recorded), so a percent sign is quoted twice.

    Raises:
        InvalidArgument: the name is empty or no text, so it would address something else; or a ref counts
            backwards (``main^-1``), at which lakeFS 1.84 drops the connection.
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"{noun} must be a text that is not empty, got {name!r}")
    if _NEGATIVE_MODIFIER.search(name) and noun in _REF_NOUNS:
        raise InvalidArgument(f"{noun} {name!r} counts backwards; a number after ~ or ^ must not be negative")
    quoted = quote(name, safe="~") if name.strip(".") else name.replace(".", "%2E")
    return quote(quoted, safe="") if "%" in name else quoted


def query(**values: QueryValue) -> tuple[tuple[str, str], ...]:
    """Turn arguments into query parameters: ``None`` is left out, lists are repeated, booleans are words.

    A trailing underscore (``from_``) belongs to Python, not to the name.
    """
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if value is None:
            continue
        name = name.rstrip("_")
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, str | int):
            pairs.append((name, str(value)))
        else:
            pairs.extend((name, item) for item in value)
    return tuple(pairs)


class Pagination(Model):
    """Where a page stands in its listing.

    Attributes:
        has_more: whether another page follows.
        next_offset: what to pass as ``after`` for it; empty on the last page.
        results: how many results this page holds.
        max_per_page: the largest page the server gives.
    """

    has_more: bool
    next_offset: str
    results: int
    max_per_page: int


class Page(Model, Generic[T]):
    """One page of a listing.

    Attributes:
        pagination: where the page stands.
        results: the page's results, in the server's order.
    """

    pagination: Pagination
    results: list[T]

    def __len__(self) -> int:
        return len(self.results)


class Listing(Generic[T]):
    """All results of a listing, fetched a page of 1,000 at a time while they are consumed.

    Iterating twice asks twice. A listing does not ask before it is iterated.

    Args:
        sender: sends the calls.
        call: the listing's call, without ``after`` and ``amount``.
        after: list only what sorts behind this.
        limit: give at most so many results; all when None.
        page_size: how many results a page holds, at most 1,000.

    Example:
        >>> for branch in client.branches.list("lake", prefix="run-"):  # doctest: +SKIP
        ...     print(branch.id, branch.commit_id)
    """

    def __init__(
        self,
        sender: Sender,
        call: Call[Page[T]],
        *,
        after: str | None = None,
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> None:
        if limit is not None and limit < 0:
            raise InvalidArgument(f"limit must not be negative, got {limit}")
        if not 1 <= page_size <= PAGE_SIZE:
            raise InvalidArgument(f"page_size must be from 1 to {PAGE_SIZE}, got {page_size}")
        self._sender, self._call = sender, call
        self._after, self._limit, self._page_size = after, limit, page_size

    def page(self, *, after: str | None = None, amount: int | None = None) -> Page[T]:
        """Fetch one page.

        Args:
            after: list only what sorts behind this; the listing's own start when None.
            amount: the page's size, the listing's own when None.
        """
        start = self._after if after is None else after
        return self._sender.send(self._call.with_query(after=start, amount=amount or self._page_size))

    def pages(self) -> Iterator[Page[T]]:
        """Go through the listing page by page; the last page may exceed nothing but ``limit``."""
        after, left = self._after, self._limit
        while left is None or left > 0:
            page = self.page(after=after, amount=self._page_size if left is None else min(left, self._page_size))
            yield page
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset
            if left is not None:
                left -= len(page.results)

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.results

    def first(self) -> T | None:
        """Return the first result, or None when there is none."""
        results = self.page(amount=1).results
        return results[0] if results else None

    def __repr__(self) -> str:
        return f"<Listing {self._call}>"
