"""Partition keys and paths, both ways, and the partitions that commits changed."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakefs_ops import errors
from lakefs_ops.flows.partitions import ChangedPartition, PathTemplate, changed_partitions, partition_versions

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.text(
    st.sampled_from("a/%._-~{}\\\n é2F"), min_size=1, max_size=6
)
TEMPLATES = ["daily/{a}.parquet", "{a}", "a={a}/b={b}/", "{a}_{b}-{c}.csv", "{{{a}--{b}}}/{a}", "x/{b}~{a}.{c}/part-0"]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TEMPLATES), st.lists(KEYS, min_size=3, max_size=3), st.lists(KEYS, min_size=3, max_size=3))
def test_each_set_of_keys_has_its_own_path_and_returns_from_it(text, some, others):
    template = PathTemplate(text)
    some, others = (dict(zip(template.fields, keys, strict=False)) for keys in (some, others))
    path = template.path(some)
    assert template.keys(path) == some
    assert path.startswith(template.prefix)
    assert (template.path(others) == path) == (others == some)
    assert not {".", ".."} & set(path.split("/"))
    assert re.search(r"[\x00-\x1f\x7f]", path) is None
    assert path.count("/") == template.path(dict.fromkeys(template.fields, "k")).count("/")
    assert (template.keys(f"{path}/more") == some) == template.is_folder


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TEMPLATES), st.text(st.sampled_from("aab_-~.{}/%2Fé\n="), max_size=12))
def test_a_path_with_keys_is_the_path_of_these_keys(text, path):
    template = PathTemplate(text)
    for candidate in (path, f"daily/{path}.parquet", f"a={path}/b={path}/x"):
        if (keys := template.keys(candidate)) is not None:
            assert candidate.startswith(template.path(keys))


def test_readable_paths_for_usual_keys():
    assert PathTemplate("daily/{date}.parquet").path("2015-01-31 10:00 ü") == "daily/2015-01-31 10:00 ü.parquet"
    assert PathTemplate("{region}_{date}.csv").path({"region": "eu_west", "date": "a_b"}) == "eu%5Fwest_a_b.csv"
    assert PathTemplate("{a}/x").path("../..%") == "..%2F..%25/x"
    assert PathTemplate("{a}/x").path("..") == "%2E%2E/x"


def test_paths_of_no_partition():
    template = PathTemplate("daily/{date}.parquet")
    for path in ("daily/.parquet", "daily/2015/01.parquet", "daily/a.csv", "old/daily/a.parquet", "daily/%61.parquet"):
        assert template.keys(path) is None, path
    assert PathTemplate("daily/{date}/").keys("daily/2015-01/part-0/a.parquet") == {"date": "2015-01"}
    assert PathTemplate("daily/{date}/").keys("daily/2015-01") is None
    assert PathTemplate("{a}").keys("%ff") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("daily/all.parquet", "it needs at least one field"),
        (None, "it must be text"),
        ("{date", "expected '}'"),
        ("{}", "a field must be a name in braces"),
        ("{date:%Y}", "a field must be a name in braces, not 'date' with a format"),
        ("{a}{b}", "two fields in one folder or file name need a separator"),
        ("{a}2{b}", "need a separator that does not start with a digit"),
    ],
)
def test_templates_that_are_refused(text, reason):
    with pytest.raises(errors.InvalidArgument, match=re.escape(reason)):
        PathTemplate(text)


@pytest.mark.parametrize("keys", [{}, {"a": "1"}, {"a": "1", "b": ""}, {"a": "1", "b": "2", "c": "3"}, "1"])
def test_keys_that_are_refused(keys):
    with pytest.raises(errors.InvalidArgument, match="needs a key for each of a, b"):
        PathTemplate("{a}/{b}").path(keys)


@pytest.fixture
def change(lakefs, lakefs_repository):
    def change(*deleted, **written):
        for path, content in written.items():
            lakefs.client.objects.upload(lakefs_repository, "main", path.replace("__", "/"), content)
        for path in deleted:
            lakefs.client.objects.delete(lakefs_repository, "main", path)
        return lakefs.client.commits.create(lakefs_repository, "main", message="change").id

    return change


def test_changed_partitions_of_a_commit_a_range_and_a_revert(lakefs, lakefs_repository, change):
    def changed(left, right, template="d/{day}"):
        found = changed_partitions(lakefs.client, lakefs_repository, PathTemplate(template), left, right)
        return {partition.keys["day"]: partition.removed for partition in found}

    first = change(d__1=b"1", d__2=b"2", other=b"x", f__1__a=b"a", f__1__b=b"b", f__2__a=b"a")
    second = change("d/1", "f/1/a", "f/2/a", d__3=b"3", d__2=b"changed")
    assert changed(f"{first}~1", first) == {"1": False, "2": False}
    assert changed(first, second) == {"1": True, "2": False, "3": False}
    assert changed(first, second, "f/{day}/") == {"1": False, "2": True}
    lakefs.client.branches.revert(lakefs_repository, "main", ref=second, parent_number=1)
    assert changed(second, "main") == {"1": False, "2": False, "3": True}
    assert changed(first, "main") == {}
    assert changed(None, "main") == {"1": False, "2": False}
    partitions = changed_partitions(lakefs.client, lakefs_repository, PathTemplate("d/{day}"), first, second)
    assert partitions[0] == ChangedPartition({"day": "1"}, removed=True)


def test_versions_of_partitions_change_with_their_content_alone(lakefs, lakefs_repository, change):
    def versions(ref="main", template="d/{day}"):
        return partition_versions(lakefs.client, lakefs_repository, PathTemplate(template), ref)

    first = change(d__1=b"1", d__2=b"2", f__1__a=b"a", f__1__b=b"b", f__2__a=b"a")
    before, folders = versions(), versions(template="f/{day}/")
    assert list(before) == ["d/1", "d/2"]
    assert before["d/1"] == lakefs.client.objects.stat(lakefs_repository, "main", "d/1").checksum
    assert list(folders) == ["f/1/", "f/2/"]
    lakefs.client.objects.upload(lakefs_repository, "main", "d/3", b"not committed")
    assert versions() == before
    change("f/1/a", d__1=b"changed", f__2__a=b"a")
    assert {path for path, version in versions().items() if version != before.get(path)} == {"d/1", "d/3"}
    assert versions(template="f/{day}/")["f/1/"] != folders["f/1/"]
    assert versions(template="f/{day}/")["f/2/"] == folders["f/2/"]
    assert versions(first) == before
