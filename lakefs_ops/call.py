"""One request as a value: what an operation asks for, before anything is sent.

A group's method builds a `Call` and hands it to a `Sender`; so a test can look at every operation without
a server, and the transport is the only place that knows HTTP.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import IO, Generic, Protocol, TypeVar
from urllib.parse import quote

from lakefs_ops.errors import InvalidArgument, NotALakeFS
from lakefs_ops.model import Model

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PAGE_SIZE = 1000
"""The largest page a server gives (lakeFS 1.84, parameter ``amount``); its own default is 100."""

WORTH_A_THREAD = 0.005
"""How long a consumer must be busy with a page, in seconds, for the next one to be fetched meanwhile."""

Content = bytes | IO[bytes] | Iterable[bytes]
Body = Content | None
QueryValue = str | int | bool | Iterable[str] | None

_NEGATIVE_MODIFIER = re.compile(r"[~^]-")
_REF_NOUNS = frozenset({"ref", "sourceRef", "leftRef", "rightRef", "commitId", "destinationBranch"})
_NAMING = frozenset(
    {
        "after", "branch", "commit", "commit_id", "default_branch", "dest_path", "destination_branch", "id", "location",
        "name", "path", "pattern", "prefix", "principalId", "ref", "source", "source_branch", "source_metarange",
        "src_path", "src_ref", "stop_at", "storage_namespace", "task_id", "username",
    }
)  # fmt: skip
"""What a message repeats of a query and a body."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request to the lakeFS API and the type of its answer.

    Attributes:
        operation: the operation's name in the lakeFS specification, such as ``getBranch``.
        method: the HTTP method.
        path: the address below ``/api/v1`` as in the specification, with names in braces.
        names: what to put into the braces: repository, branch ...
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
        return self.idempotent or self.reads

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.method in ("GET", "HEAD")

    @property
    def about(self) -> dict[str, str]:
        """What it is about, for messages: what the address names, and the query and the body."""
        about = dict(self.names)
        about |= {name: value for name, value in self.query if name in _NAMING}
        body = None
        if isinstance(self.body, bytes) and "Content-Type" not in self.headers:
            with suppress(ValueError, RecursionError):
                body = json.loads(self.body)
        if isinstance(body, dict):
            about |= {name: value for name, value in body.items() if name in _NAMING and isinstance(value, str)}
        return about

    def with_query(self, **values: QueryValue) -> Call[T_co]:
        """Return the same call with further query parameters."""
        return replace(self, query=self.query + query(**values))

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(f'{noun} {name!r}' for noun, name in self.about.items())})"


class Sender(Protocol):
    """What a group needs of the transport."""

    @property
    def endpoint(self) -> str:
        """The server's address, for messages."""
        ...

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


def reference(noun: str, name: str) -> str:
    """Return a ref that may be sent.

    Raises:
        InvalidArgument: it counts backwards (``main^-1``), at which lakeFS 1.84 drops the connection.
    """
    if isinstance(name, str) and _NEGATIVE_MODIFIER.search(name):
        raise InvalidArgument(f"{noun} {name!r} counts backwards; a number after ~ or ^ must not be negative")
    return name


def _segment(noun: str, name: str) -> str:
    """Quote one name for its place in the address.

    The server decodes names in an address twice (lakeFS 1.84, recorded), so a percent sign is quoted twice.

    Raises:
        InvalidArgument: the name is empty or no text, so it would address something else; or a ref counts
            backwards.
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"{noun} must be a text that is not empty, got {name!r}")
    if noun in _REF_NOUNS:
        reference(noun, name)
    _unicode(noun, name)
    quoted = quote(name, safe="~") if name.strip(".") else name.replace(".", "%2E")
    return quote(quoted, safe="") if "%" in name else quoted


def _unicode(noun: str, text: str) -> str:
    """Return the text, unless it holds halves of characters that UTF-8 cannot write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{noun} {text!r} is no Unicode text") from None
    return text


def query(**values: QueryValue) -> tuple[tuple[str, str], ...]:
    """Turn arguments into query parameters: ``None`` is left out, lists are repeated, booleans are words.

    A trailing underscore (``from_``) belongs to Python, not to the name.

    Raises:
        InvalidArgument: a text that is no Unicode.
    """
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if value is None:
            continue
        name = name.rstrip("_")
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, str | int):
            pairs.append((name, _unicode(name, str(value))))
        else:
            pairs.extend((name, _unicode(name, item)) for item in value)
    return tuple(pairs)


def headers(values: Mapping[str, str | None]) -> dict[str, str]:
    """Turn arguments into headers: ``None`` is left out, and what is not Latin-1 goes as UTF-8.

    Raises:
        InvalidArgument: a value holds a line break or another control character, or is no Unicode.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if _CONTROL.search(_unicode(name, value)):
            raise InvalidArgument(f"{name} must not hold line breaks or other control characters")
    return {name: value.encode().decode("latin-1") for name, value in given.items()}


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

    Iterating twice asks twice. A listing does not ask before it is iterated. To a consumer who takes his time the
    next page comes ahead: from the second page on, a thread fetches it while he is busy with one. The thread ends
    with its one request, and what it fails with is raised where the page is wanted.

    Args:
        sender: sends the calls.
        call: the listing's call, without ``after`` and ``amount``.
        after: list only what sorts behind this.
        limit: give at most so many results; all when None.
        page_size: how many results a page holds, at most 1,000.

    Example:
        >>> for branch in client.branches.list("lake", prefix="run-"):  # doctest: +SKIP
        ...     print(branch.id, branch.commit_id)
        >>> for page in client.objects.list("lake", "main").pages():  # doctest: +SKIP
        ...     print(len(page), page.pagination.next_offset)
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
        size = self._page_size if amount is None else amount
        return self._sender.send(self._call.with_query(after=start, amount=size))

    def pages(self) -> Iterator[Page[T]]:
        """Go through the listing page by page, up to ``limit``."""
        after, left, busy = self._after, self._limit, 0.0
        fetch = self._fetch(after, left) if left != 0 else None
        while fetch is not None:
            page = fetch()
            left = None if left is None else max(0, left - len(page.results))
            fetch = None
            if page.pagination.has_more and left != 0:
                after = self._following(page, after)
                fetch = self._fetch(after, left)
                if busy > WORTH_A_THREAD:
                    fetch = _Ahead(fetch).result
            began = time.monotonic()
            yield page
            busy = time.monotonic() - began

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.results

    def first(self) -> T | None:
        """Return the first result, or None when there is none."""
        results = self.page(amount=1).results
        return results[0] if results else None

    def _fetch(self, after: str | None, left: int | None) -> Callable[[], Page[T]]:
        amount = self._page_size if left is None else min(left, self._page_size)
        return lambda: self.page(after=after, amount=amount)

    def _following(self, page: Page[T], after: str | None) -> str:
        """Return where the next page begins; a server that stands still would keep us for ever."""
        offset = page.pagination.next_offset
        if not offset or offset == after:
            endpoint = self._sender.endpoint
            text = (
                f"{self._call}: {endpoint} does not answer as a lakeFS: it says that more follows, but only behind"
                f" {offset!r} again; check the endpoint"
            )
            raise NotALakeFS(text, operation=self._call.operation, endpoint=endpoint)
        return offset

    def __repr__(self) -> str:
        return f"<Listing {self._call}>"


class _Ahead(Generic[T]):
    """A page that is fetched while another is consumed."""

    def __init__(self, fetch: Callable[[], T]) -> None:
        self._fetch = fetch
        self._done: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="lakefs-ops page ahead", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        try:
            self._done.append(self._fetch())
        except BaseException as error:
            self._error = error

    def result(self) -> T:
        self._thread.join()
        if self._error is not None:
            raise self._error
        # After a fork the child has the listing but not the thread, so it asks itself.
        return self._done[0] if self._done else self._fetch()
