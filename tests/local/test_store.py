"""What the store promises: ids as lakeFS makes them, and work in the size of the change, not of the repository."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lakefs_ops.local.store.commits import commit_id
from lakefs_ops.local.store.lake import Lake, Repository
from lakefs_ops.local.store.merging import diff
from lakefs_ops.local.store.trees import Entry
from lakefs_ops.local.store.versions import Versions

# A repository of a lakeFS 1.84: its first commit, empty ones far away in time, content with metadata, a merge, a pick.
FIRST = "f16f2e960a779f805ee2f958ab37c8e691a6ebb7e325206c73cdbd74857f81b9"
BEFORE_1970 = "74afe3d8da72dee8573b3264fb59142ee7cb8c8d34d5dc6e72cb5170cdbda5e7"
FAR = "b4612b2e926c7faa08a39692923ac394ba137cc2e8fe206163fdb8d68b444158"
CONTENT = "7538fef5559e6277fb37c164e6bf0d0a9e15c4718281ae3e79dc57064a04f8f9"
EMPTY = "00fb7eff1a97c500eb3ca8d2ef5464131d6b6a5f9512e41eba97843522213b66"
ONE_OBJECT = "54a885c44c4021a75fc41f81ab1aa2dc96ba263c245293a83338f01d37e246b9"
MARKS = {"Z": "🌍", "a": "1", "b": "", "ä": "x y"}
GOLDEN: dict[str, tuple[str, str, str, int, dict[str, str], tuple[str, ...]]] = {
    FIRST: ("", "Repository created", "", 1795413878, {}, ()),
    BEFORE_1970: ("quickstart", "", EMPTY, -5, {}, (FIRST,)),
    FAR: ("quickstart", "far", EMPTY, 253402300800, {}, (BEFORE_1970,)),
    CONTENT: ("quickstart", "Räume, \n 雪 🌍", ONE_OBJECT, 1400000000, MARKS, (FIRST,)),
    "8cc4fe959acd3fcbc9f23070c44de4ec24748a54999fad4da56ab1531b24e5f5": (
        "quickstart", "m", ONE_OBJECT, 1795413878, {"k": "v", ".lakefs.merge.strategy": "default"}, (FAR, CONTENT),
    ),
    "dcf4f5b6fac404b61b3b5244cdf0ef5ae3d27dcb6b15dd4df300bc1af9d9d940": (
        "quickstart", "Räume, \n 雪 🌍", ONE_OBJECT, 1795413878,
        {"cherry-pick-origin": CONTENT, "cherry-pick-committer": "quickstart", **MARKS}, (FAR,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("id", GOLDEN)
def test_commits_have_the_ids_that_lakefs_gives_them(id: str) -> None:
    committer, message, tree, created, metadata, parents = GOLDEN[id]
    given: dict[str, Any] = {"committer": committer, "message": message, "meta_range_id": tree}
    assert commit_id(**given, created=created, metadata=metadata, parents=parents) == id


OBJECTS = 20_000


def entry(content: int) -> Entry:
    return Entry(f"data/{content}", f"{content:032x}", content, 1_700_000_000, {}, "text/plain")


def path(number: int) -> str:
    return f"data/{number:06}.csv"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    yield lake
    lake.close()


@pytest.fixture(scope="module")
def repository(lake: Lake) -> Repository:
    known = lake.create_repository("large", "local://large", default_branch="main", read_only=False, bare=False)
    versions = Versions(lake, known, "test")
    content: dict[str, Entry | None] = {path(number): entry(number) for number in range(OBJECTS)}
    versions.replace("main", lambda tree: lake.trees.apply(tree, content), message="all", metadata={})
    return known


@contextmanager
def work(lake: Lake) -> Iterator[Counter[str]]:
    """Count the ranges and meta-ranges that are written, and the ranges that are read, though none is in memory."""
    lake.trees._ranges.clear()
    done: Counter[str] = Counter()

    def count(statement: str) -> None:
        for what, start in (
            ("ranges written", "INSERT OR IGNORE INTO ranges"),
            ("meta-ranges written", "INSERT OR IGNORE INTO meta_ranges"),
            ("ranges read", "SELECT data FROM ranges"),
        ):
            done[what] += statement.startswith(start)

    lake.database.connection.set_trace_callback(count)
    try:
        yield done
    finally:
        lake.database.connection.set_trace_callback(None)


def changed(versions: Versions, branch: str, number: int, content: int) -> str:
    versions.branches.stage(branch, path(number), entry(content))
    return versions.commit(branch, message=f"object {number}", metadata={}).id


def test_a_commit_reads_and_writes_the_range_it_touches(lake: Lake, repository: Repository) -> None:
    versions = Versions(lake, repository, "test")
    assert len(lake.trees.ranges(versions.branches.head("main").meta_range_id)) > 10
    with work(lake) as done:
        changed(versions, "main", OBJECTS // 2, 1)
    assert done == {"ranges written": 1, "meta-ranges written": 1, "ranges read": 1}


def test_a_merge_reads_and_writes_what_both_sides_changed(lake: Lake, repository: Repository) -> None:
    versions = Versions(lake, repository, "test")
    versions.branches.create("side", "main", hidden=False)
    changed(versions, "side", 10, 2)
    changed(versions, "main", OBJECTS - 10, 3)
    with work(lake) as done:
        merged = versions.merge("side", "main")
    assert done == {"ranges written": 0, "meta-ranges written": 1, "ranges read": 0}  # each range is one side's alone
    assert lake.trees.get(merged.meta_range_id, path(10)) == entry(2)
    assert lake.trees.get(merged.meta_range_id, path(OBJECTS - 10)) == entry(3)


def test_a_merge_of_changes_in_one_range_reads_that_one(lake: Lake, repository: Repository) -> None:
    versions = Versions(lake, repository, "test")
    versions.branches.create("near", "main", hidden=False)
    changed(versions, "near", 1000, 4)
    changed(versions, "main", 1001, 5)
    with work(lake) as done:
        merged = versions.merge("near", "main")
    assert done == {"ranges written": 1, "meta-ranges written": 1, "ranges read": 3}  # the base's and both sides'
    assert lake.trees.get(merged.meta_range_id, path(1000)) == entry(4)
    assert lake.trees.get(merged.meta_range_id, path(1001)) == entry(5)


def test_a_diff_reads_the_ranges_that_differ(lake: Lake, repository: Repository) -> None:
    versions = Versions(lake, repository, "test")
    before = versions.branches.head("main").meta_range_id
    changed(versions, "main", 15_000, 6)
    after = versions.branches.head("main").meta_range_id
    with work(lake) as done:
        found = list(diff(lake.trees, before, after))
    assert [(change.path, change.left, change.right) for change in found] == [(path(15_000), entry(15_000), entry(6))]
    assert done == {"ranges written": 0, "meta-ranges written": 0, "ranges read": 2}


def test_equal_content_is_kept_once(lake: Lake, repository: Repository) -> None:
    versions = Versions(lake, repository, "test")
    tree = versions.branches.head("main").meta_range_id
    changed(versions, "main", 7, 8)
    kept = lake.database.row("SELECT count(*) FROM ranges")
    changed(versions, "main", 7, 7)
    assert versions.branches.head("main").meta_range_id == tree
    assert lake.database.row("SELECT count(*) FROM ranges") == kept


def test_a_path_is_found_in_one_range(lake: Lake, repository: Repository) -> None:
    versions = Versions(lake, repository, "test")
    tree = versions.branches.head("main").meta_range_id
    with work(lake) as done:
        assert lake.trees.get(tree, path(12_345)) == entry(12_345)
        assert lake.trees.get(tree, path(12_345) + "x") is None
    assert done["ranges read"] <= 2


def test_a_page_of_a_listing_reads_its_own_ranges(lake: Lake, repository: Repository) -> None:
    versions = Versions(lake, repository, "test")
    tree = versions.branches.head("main").meta_range_id
    with work(lake) as done:
        walk = lake.trees.walk(tree, path(4000))
        found = [next(walk)[0] for _ in range(1000)]
    assert found == [path(number) for number in range(4000, 5000)]
    average = OBJECTS / len(lake.trees.ranges(tree))
    assert done["ranges read"] <= 1000 / average * 3 + 2
