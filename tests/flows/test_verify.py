"""A merge that lost objects is detected; the embedded server has no such bug, so the tests imitate it."""

import pytest

from lakefs_ops import errors
from lakefs_ops.flows import publish, verify


@pytest.fixture
def sides(lakefs, lakefs_repository, write):
    client = lakefs.client
    write("main", z="old")
    client.commits.create(lakefs_repository, "main", message="base")
    client.branches.create(lakefs_repository, name="dev", source="main")
    write("dev", m="added", n="new")
    source = client.commits.create(lakefs_repository, "dev", message="copy")
    client.objects.delete(lakefs_repository, "main", "z")
    destination = client.commits.create(lakefs_repository, "main", message="delete")
    return source, destination


def test_a_whole_merge_passes(lakefs, lakefs_repository, sides):
    merged = lakefs.client.refs.merge(lakefs_repository, "dev", "main").reference
    verify.verify_merge(lakefs.client, lakefs_repository, merged, source=sides[0].id)


def test_a_lost_object_is_named(lakefs, lakefs_repository, sides, write):
    client = lakefs.client
    source, destination = sides
    write("main", n="new")
    lossy = client.commits.create(lakefs_repository, "main", message="as the bug leaves it: m is missing")
    lost = verify.lost_in_merge(
        client, lakefs_repository, source=source.id, destination=destination.id, merged=lossy.id
    )
    assert lost == ("m",)
    with pytest.raises(verify.MergeIncomplete, match="lost changes of its two sides at: m") as caught:
        verify.verify_merge(client, lakefs_repository, lossy.id, source=source.id)
    assert caught.value.paths == ("m",)
    assert isinstance(caught.value, errors.LakeFSError)


def test_a_merge_is_complete_or_reported_as_incomplete(lakefs, lakefs_repository, write):
    """A real lakeFS 1.84 loses the object here, the embedded server does not."""
    client = lakefs.client
    write("main", z="same")
    client.commits.create(lakefs_repository, "main", message="base")
    client.branches.create(lakefs_repository, name="dev", source="main")
    write("dev", m="same")
    source = client.commits.create(lakefs_repository, "dev", message="copy")
    client.objects.delete(lakefs_repository, "main", "z")
    client.commits.create(lakefs_repository, "main", message="delete")
    merged = client.refs.merge(lakefs_repository, "dev", "main").reference
    try:
        verify.verify_merge(client, lakefs_repository, merged, source=source.id)
        lost = ()
    except verify.MergeIncomplete as incomplete:
        lost = incomplete.paths
    held = {entry.path for entry in client.objects.list(lakefs_repository, merged)}
    assert {"m"} - held == set(lost)


@pytest.mark.parametrize(("strategy", "winner"), [("source-wins", b"dev"), ("dest-wins", b"main")])
def test_a_strategy_decides_the_side_of_conflicts(lakefs, lakefs_repository, sides, write, strategy, winner):
    client = lakefs.client
    write("dev", c="dev")
    write("main", c="main")
    source = client.commits.create(lakefs_repository, "dev", message="c")
    client.commits.create(lakefs_repository, "main", message="c")
    merged = client.refs.merge(lakefs_repository, "dev", "main", strategy=strategy).reference
    assert client.objects.get(lakefs_repository, "main", "c") == winner
    verify.verify_merge(client, lakefs_repository, merged, source=source.id, strategy=strategy)
    other = "dest-wins" if strategy == "source-wins" else "source-wins"
    with pytest.raises(verify.MergeIncomplete, match="two sides at: c"):
        verify.verify_merge(client, lakefs_repository, merged, source=source.id, strategy=other)


def test_publish_verifies_small_merges_unless_disabled(client, proxy, lakefs_repository):
    diffs = {}
    for verify_it in (None, False, True):
        with publish.WriteAuditPublish(client, lakefs_repository, key=f"k{verify_it}", verify=verify_it) as run:
            client.objects.upload(lakefs_repository, run.branch, f"o{verify_it}", b"1")
            run.audit()
            proxy.requests.clear()
        diffs[verify_it] = sum("/diff/" in line for line in proxy.requests)
    assert diffs[False] == 2, "before the merge and before the deletion: does the branch have anything new?"
    assert diffs[None] == diffs[True] > diffs[False]


def test_large_merges_into_a_changed_branch_are_not_verified_by_default(
    client, proxy, lakefs, lakefs_repository, write, monkeypatch
):
    monkeypatch.setattr(publish, "VERIFIED_CHANGES", 1)
    with publish.WriteAuditPublish(client, lakefs_repository, key="k") as run:
        for path in ("a", "b"):
            client.objects.upload(lakefs_repository, run.branch, path, b"1")
        write("main", c="1")
        lakefs.client.commits.create(lakefs_repository, "main", message="another writer")
        run.audit()
        proxy.requests.clear()
    assert sum("/diff/" in line for line in proxy.requests) == 4, "two of them count the changes"


def test_a_merge_into_an_unchanged_branch_equals_its_source(client, proxy, lakefs, lakefs_repository, dev, write):
    before = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    source = lakefs.client.branches.get(lakefs_repository, "dev").commit_id
    merged = lakefs.client.refs.merge(lakefs_repository, "dev", "main").reference
    write("main", b="not of the source")
    lakefs.client.objects.delete(lakefs_repository, "main", "a")
    lossy = lakefs.client.commits.create(lakefs_repository, "main", message="as a bug could leave it").id
    for commit, lost in ((merged, ()), (lossy, ("a", "b"))):
        proxy.requests.clear()
        assert lost == verify.lost_in_merge(
            client, lakefs_repository, source=source, destination=before, merged=commit, limit=0
        )
        assert len(proxy.requests) == 2


def test_a_comparison_that_fails_has_the_merge_commit(lakefs, lakefs_repository):
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    with pytest.raises(errors.RefNotFound) as raised:
        verify.verify_merge(lakefs.client, lakefs_repository, head, source="missing")
    assert raised.value.published == head
