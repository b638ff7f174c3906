"""Listings: page by page, cut, resumed, fetched ahead, and for every list operation of the specification."""

import gc
import json
import os
import threading
import time
from typing import Any
from urllib.parse import parse_qsl

import pytest

from lakefs_ops import errors
from lakefs_ops import listing as listing_module
from lakefs_ops.call import Call
from lakefs_ops.listing import PAGE_SIZE, Listing, Page, Pagination

pytestmark = pytest.mark.usefixtures("no_threads_left")


class Shelf:
    """A sender with numbered results; it remembers what it was asked, and by which thread."""

    def __init__(self, count: int, largest: int = PAGE_SIZE) -> None:
        self.count, self.largest = count, largest
        self.asked: list[tuple[str | None, int]] = []
        self.threads: list[threading.Thread] = []
        self.fail_after: str | None = None
        self.gate = threading.Event()
        self.gate.set()

    def send(self, call: Call[Any]) -> Any:
        query = dict(call.query)
        after, amount = query.get("after"), int(query["amount"])
        self.asked.append((after, amount))
        self.threads.append(threading.current_thread())
        if self.threads[-1] is not threading.main_thread():
            assert self.gate.wait(5)
        if after is not None and after == self.fail_after:
            raise errors.Unavailable("not now", status=503)
        first = int(after) + 1 if after else 0
        results = list(range(first, min(self.count, first + min(amount, self.largest))))
        more = bool(results) and results[-1] + 1 < self.count
        return Page[int](
            pagination=Pagination(
                has_more=more,
                next_offset=str(results[-1]) if more else "",
                results=len(results),
                max_per_page=self.largest,
            ),
            results=results,
        )

    open = send
    endpoint = ""

    def listing(self, **how: Any) -> Listing[int]:
        return Listing(self, Call("listTags", "GET", "/tags", {}, Page[int]), **how)


def test_all_results_come_a_thousand_at_a_time() -> None:
    shelf = Shelf(2500)
    assert list(shelf.listing()) == list(range(2500))
    assert shelf.asked == [(None, 1000), ("999", 1000), ("1999", 1000)]


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 3000])
def test_any_number_of_results(count: int) -> None:
    shelf = Shelf(count)
    assert list(shelf.listing()) == list(range(count))
    assert len(shelf.asked) == max(1, -(-count // 1000))


@pytest.mark.parametrize("limit", [0, 1, 999, 1000, 1001, 2000, 2400, 9999])
def test_a_limit_asks_for_no_more_than_it_gives(limit: int) -> None:
    shelf = Shelf(2500)
    assert list(shelf.listing(limit=limit)) == list(range(min(limit, 2500)))
    assert sum(amount for _, amount in shelf.asked) == min(limit, 3000)


def test_a_server_with_smaller_pages_is_gone_through_as_well() -> None:
    shelf = Shelf(50, largest=7)
    assert list(shelf.listing(limit=40)) == list(range(40))
    assert shelf.asked[-1] == ("34", 5)


def test_it_resumes_behind_any_result() -> None:
    assert list(Shelf(2500).listing(after="1990", limit=20)) == list(range(1991, 2011))


def test_pages_have_the_size_asked_for() -> None:
    shelf = Shelf(25)
    assert [len(page) for page in shelf.listing(page_size=10).pages()] == [10, 10, 5]
    assert [len(page) for page in shelf.listing(page_size=10, limit=15).pages()] == [10, 5]


def test_one_page_and_the_first_result() -> None:
    shelf = Shelf(25)
    page = shelf.listing(after="4").page(amount=3)
    assert page.results == [5, 6, 7]
    assert page.pagination.next_offset == "7"
    assert shelf.listing(after="4").page(after="9", amount=2).results == [10, 11]
    assert shelf.listing(after="4").first() == 5
    assert Shelf(0).listing().first() is None
    assert [amount for _, amount in shelf.asked] == [3, 2, 1]


def test_nothing_is_asked_before_it_is_read_and_twice_asks_twice() -> None:
    shelf = Shelf(3)
    listing = shelf.listing()
    iter(listing)
    assert shelf.asked == []
    assert list(listing) == list(listing)
    assert len(shelf.asked) == 2


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"page_size": 0}, {"page_size": 1001}])
def test_sizes_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(errors.InvalidArgument, match=next(iter(wrong))):
        Shelf(1).listing(**wrong)


@pytest.mark.parametrize("offset", ["", "5"])
def test_a_server_that_stands_still_does_not_keep_us_for_ever(offset: str) -> None:
    class Stubborn:
        endpoint = "http://lake"

        def send(self, call: Call[Any]) -> Any:
            pagination = Pagination(has_more=True, next_offset=offset, results=1, max_per_page=1000)
            return Page[int](pagination=pagination, results=[1])

        open = send

    listing = Listing(Stubborn(), Call("listTags", "GET", "/tags", {}, Page[int]))
    with pytest.raises(errors.NotALakeFS, match=r"listTags\(\): http://lake .* more follows"):
        list(listing)


# fetching ahead ----------------------------------------------------------------------------------------


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are fetched ahead for the quickest consumer."""
    monkeypatch.setattr(listing_module, "BUSY_CONSUMER", 0.0)


def test_a_quick_consumer_costs_no_thread_and_a_slow_one_gets_the_next_page_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A consumer of 10 ms is quick or slow by the measure, not by what else the machine does.
    for measure, ahead in ((60.0, 0), (0.005, 3)):
        monkeypatch.setattr(listing_module, "BUSY_CONSUMER", measure)
        shelf = Shelf(50)
        for _ in shelf.listing(page_size=10).pages():
            time.sleep(0.01)
        assert sum(thread is not threading.main_thread() for thread in shelf.threads) == ahead


@pytest.mark.usefixtures("eager")
def test_the_third_page_is_fetched_while_the_second_is_consumed() -> None:
    shelf = Shelf(50)
    pages = shelf.listing(page_size=10).pages()
    next(pages)
    assert len(shelf.asked) == 1, "who stops at the first page costs the server one page"
    next(pages)
    for thread in shelf.threads + threading.enumerate():
        if "lakefs-ops prefetch" in thread.name:
            thread.join(5)
    assert len(shelf.asked) == 3
    assert [t is threading.current_thread() for t in shelf.threads] == [True, True, False]
    pages.close()


@pytest.mark.usefixtures("eager")
def test_at_most_one_page_is_ahead() -> None:
    shelf = Shelf(100)
    ahead = []
    for n, _ in enumerate(shelf.listing(page_size=10).pages(), start=1):
        while threading.active_count() > 1 and any("lakefs-ops prefetch" in t.name for t in threading.enumerate()):
            pass
        ahead.append(len(shelf.asked) - n)
    assert ahead == [0, 1, 1, 1, 1, 1, 1, 1, 1, 0]


@pytest.mark.usefixtures("eager")
def test_a_page_that_is_on_its_way_is_waited_for_and_not_asked_for_again() -> None:
    shelf = Shelf(50)
    pages = shelf.listing(page_size=10).pages()
    next(pages)
    shelf.gate.clear()
    next(pages)
    threading.Timer(0.05, shelf.gate.set).start()
    assert next(pages).results == list(range(20, 30))
    assert [after for after, _ in shelf.asked].count("19") == 1
    pages.close()


@pytest.mark.usefixtures("eager")
def test_nothing_is_fetched_beyond_a_limit() -> None:
    shelf = Shelf(100)
    assert len(list(shelf.listing(page_size=10, limit=30))) == 30
    assert len(shelf.asked) == 3


@pytest.mark.usefixtures("eager")
def test_an_error_ahead_arrives_where_its_page_is_wanted() -> None:
    shelf = Shelf(50)
    shelf.fail_after = "19"
    seen = []
    with pytest.raises(errors.Unavailable, match="not now"):
        for result in shelf.listing(page_size=10):
            seen.append(result)
    assert seen == list(range(20)), "what was fetched before is consumed first"


@pytest.mark.usefixtures("eager")
def test_who_walks_away_leaves_a_thread_no_longer_than_its_request() -> None:
    shelf = Shelf(50)
    iterator = iter(shelf.listing(page_size=10))
    for _ in range(10):
        next(iterator)
    shelf.gate.clear()
    next(iterator)
    del iterator
    gc.collect()
    shelf.gate.set()


@pytest.mark.usefixtures("eager")
def test_many_threads_may_go_through_one_listing() -> None:
    listing = Shelf(500).listing(page_size=50)
    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(list(listing))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(500))] * 8


@pytest.mark.usefixtures("eager")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_goes_on_with_a_listing_of_its_parent() -> None:
    shelf = Shelf(50)
    pages = shelf.listing(page_size=10).pages()
    next(pages)
    shelf.gate.clear()
    next(pages)  # the third is on its way now, and stays there until the fork is made
    child = os.fork()
    if child == 0:
        shelf.gate.set()
        seen = [result for page in pages for result in page.results]
        os._exit(0 if seen == list(range(20, 50)) else 1)
    shelf.gate.set()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert [result for page in pages for result in page.results] == list(range(20, 50))


# every list operation, over HTTP -----------------------------------------------------------------------


@pytest.mark.usefixtures("eager")
def test_every_listing_of_the_specification_pages(
    listing: str, spec: Any, methods_of: dict[str, list[Any]], player: Any, client: Any
) -> None:
    """A small server pages through 25 results of the operation's own kind."""
    (method,) = methods_of[listing]
    page = spec.operations[listing]["responses"]["200"]["application/json"]
    kind = spec.properties(page)["results"]["schema"]["items"]
    key = next(iter(spec.properties(kind)))
    entries = [spec.sample(kind) | {key: f"{n:03}"} for n in range(25)]

    def answer(asked: Any) -> tuple[int, dict[str, str], bytes]:
        query = dict(parse_qsl(asked.target.partition("?")[2], keep_blank_values=True))
        first = int(query["after"]) + 1 if query.get("after") else 0
        found = entries[first : first + min(int(query["amount"]), 10)]
        more = first + len(found) < len(entries)
        pagination = {
            "has_more": more,
            "next_offset": found[-1][key] if more else "",
            "results": len(found),
            "max_per_page": 10,
        }
        body = json.dumps({"pagination": pagination, "results": found}).encode()
        return 200, {"content-type": "application/json"}, body

    player.always = answer
    names = {
        n: "name" for n, p in method.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty
    }
    ask = getattr(getattr(client, method.group), method.name)
    assert [getattr(entry, key) for entry in ask(**names)] == [f"{n:03}" for n in range(25)]
    assert [getattr(entry, key) for entry in ask(**names, after="003", limit=12)] == [f"{n:03}" for n in range(4, 16)]
    assert ask(**names).page(amount=2).pagination.next_offset == "001"
