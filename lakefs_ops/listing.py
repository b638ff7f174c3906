"""Listings: iterators over all pages of a list operation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Generic, TypeVar

from lakefs_ops.call import Call, Sender
from lakefs_ops.errors import InvalidArgument, NotALakeFS
from lakefs_ops.model import Model

T = TypeVar("T")

PAGE_SIZE = 1000
"""Largest page that lakeFS 1.84 returns (parameter ``amount``); its default is 100."""

BUSY_CONSUMER = 0.005
"""Seconds that a consumer must spend on a page before the next one is prefetched in a thread."""


class Pagination(Model):
    """The position of a page in its listing.

    Attributes:
        has_more: whether another page follows.
        next_offset: the value of ``after`` for the next page; empty on the last page.
        results: number of results on this page.
        max_per_page: maximum number of results per page.
    """

    has_more: bool
    next_offset: str
    results: int
    max_per_page: int


class Page(Model, Generic[T]):
    """One page of a listing.

    Attributes:
        pagination: the position of the page in its listing.
        results: the page's results, in the server's order.
    """

    pagination: Pagination
    results: list[T]

    def __len__(self) -> int:
        return len(self.results)


class Listing(Generic[T]):
    """All results of a listing, fetched in pages of 1,000 while they are consumed.

    No request is sent before the first iteration, and each iteration fetches the pages again. For slow consumers, a
    thread prefetches the next page from the second page on. The thread ends with its request, and an error is raised
    when the consumer needs that page.

    Args:
        sender: the sender of the calls.
        call: the listing's call, without ``after`` and ``amount``.
        after: only results that sort after this.
        limit: maximum number of results; no limit if None.
        page_size: number of results per page, at most 1,000.

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
            after: only results that sort after this; the listing's ``after`` if None.
            amount: number of results on the page; the listing's ``page_size`` if None.
        """
        start = self._after if after is None else after
        size = self._page_size if amount is None else amount
        return self._sender.send(self._call.with_query(after=start, amount=size))

    def pages(self) -> Iterator[Page[T]]:
        """Iterate over the pages, up to ``limit`` results."""
        after, left, busy = self._after, self._limit, 0.0
        fetch = self._fetch(after, left) if left != 0 else None
        while fetch is not None:
            page = fetch()
            left = None if left is None else max(0, left - len(page.results))
            fetch = None
            if page.pagination.has_more and left != 0:
                after = self._following(page, after)
                fetch = self._fetch(after, left)
                if busy > BUSY_CONSUMER:
                    fetch = _Prefetch(fetch).result
            began = time.monotonic()
            yield page
            busy = time.monotonic() - began

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.results

    def first(self) -> T | None:
        """Return the first result, or None if the listing is empty."""
        results = self.page(amount=1).results
        return results[0] if results else None

    def _fetch(self, after: str | None, left: int | None) -> Callable[[], Page[T]]:
        amount = self._page_size if left is None else min(left, self._page_size)
        return lambda: self.page(after=after, amount=amount)

    def _following(self, page: Page[T], after: str | None) -> str:
        """Return the offset of the next page; guards against a server that repeats the same offset."""
        offset = page.pagination.next_offset
        if not offset or offset == after:
            endpoint = self._sender.endpoint
            text = (
                f"{self._call}: {endpoint} does not respond like lakeFS: it reports that more follows, but repeats"
                f" the offset {offset!r}; check the endpoint"
            )
            raise NotALakeFS(text, operation=self._call.operation, endpoint=endpoint)
        return offset

    def __repr__(self) -> str:
        return f"<Listing {self._call}>"


class _Prefetch(Generic[T]):
    """A page that a thread fetches while another page is consumed."""

    def __init__(self, fetch: Callable[[], T]) -> None:
        self._fetch = fetch
        self._done: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="lakefs-ops prefetch", daemon=True
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
        # A forked child inherits the listing but not the thread, so it fetches the page itself.
        return self._done[0] if self._done else self._fetch()
