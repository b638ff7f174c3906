"""Verbs that remove something, and settings, also when replies are lost."""

import time
from contextlib import suppress

import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.flows.attempts import OutcomeUnknown
from lakefs_ops.flows.removals import delete_repository_if_exists, delete_tag_if_exists, reset_branch
from lakefs_ops.flows.settings import ensure_branch_protection, ensure_retention
from lakefs_ops.transfer import DeleteFailed, delete_objects
from lakefs_ops.transfer import deletes as deletes_module


def changes(client: LakeFSClient, repository: str) -> list[str]:
    return [change.path for change in client.branches.diff(repository, "main")]


@pytest.mark.parametrize(
    ("part", "left"),
    [({}, []), ({"path": "a"}, ["ab", "b/1"]), ({"prefix": "a"}, ["b/1"]), ({"path": "c"}, ["a", "ab", "b/1"])],
)
def test_a_branch_is_reset(client: LakeFSClient, lakefs_repository: str, part, left) -> None:
    for path in ("a", "ab", "b/1"):
        client.objects.upload(lakefs_repository, "main", path, b"1")
    reset_branch(client, lakefs_repository, "main", **part)
    assert changes(client, lakefs_repository) == left


@pytest.mark.parametrize("part", [{"path": "a", "prefix": "b"}, {"path": ""}, {"prefix": ""}])
def test_an_unclear_reset_is_refused(client: LakeFSClient, lakefs_repository: str, part) -> None:
    with pytest.raises(errors.InvalidArgument):
        reset_branch(client, lakefs_repository, "main", **part)


@pytest.mark.usefixtures("no_settling")
def test_a_reset_whose_reply_is_lost_does_not_discard_what_comes_later(
    client: LakeFSClient, proxy, lakefs_repository: str
) -> None:
    client.objects.upload(lakefs_repository, "main", "a", b"1")
    proxy.lose("PUT")
    reset_branch(client, lakefs_repository, "main")
    assert changes(client, lakefs_repository) == []
    assert sum(line.startswith("PUT") for line in proxy.requests) == 1


@pytest.mark.parametrize("what", ["reply", "request"])
def test_a_lost_reset_is_not_repeated_over_what_others_wrote_since(
    client: LakeFSClient, proxy, lakefs_repository: str, mocker, what
) -> None:
    client.objects.upload(lakefs_repository, "main", "a", b"1")
    mocker.patch("time.sleep", side_effect=lambda _: client.objects.upload(lakefs_repository, "main", "a", b"2"))
    proxy.lose("PUT", what)
    with pytest.raises(OutcomeUnknown, match="'a' is an uncommitted change that others may have written since"):
        reset_branch(client, lakefs_repository, "main")
    assert client.objects.get(lakefs_repository, "main", "a") == b"2"


def test_a_lost_reset_is_not_repeated_over_a_deletion_of_others(
    client: LakeFSClient, proxy, lakefs_repository: str, mocker
) -> None:
    client.objects.upload(lakefs_repository, "main", "a", b"1")
    client.commits.create(lakefs_repository, "main", message="one")
    client.objects.upload(lakefs_repository, "main", "a", b"2")
    mocker.patch("time.sleep", side_effect=lambda _: client.objects.delete(lakefs_repository, "main", "a"))
    proxy.lose("PUT")
    with pytest.raises(OutcomeUnknown):
        reset_branch(client, lakefs_repository, "main")
    assert changes(client, lakefs_repository) == ["a"]


@pytest.mark.usefixtures("no_settling")
def test_a_lost_reset_is_repeated_if_the_changes_are_old(client: LakeFSClient, proxy, lakefs_repository: str) -> None:
    new = client.objects.upload(lakefs_repository, "main", "a", b"1")
    client.objects.stage(
        lakefs_repository, "main", "a", physical_address=new.physical_address, checksum=new.checksum, size_bytes=1,
        mtime=new.mtime - 60,
    )  # fmt: skip
    proxy.lose("PUT", "request")
    reset_branch(client, lakefs_repository, "main")
    assert changes(client, lakefs_repository) == []


def test_a_tag_is_deleted_once(client: LakeFSClient, proxy, lakefs_repository: str) -> None:
    first = client.tags.create(lakefs_repository, id="v1", ref="main").commit_id
    proxy.lose("DELETE")
    assert delete_tag_if_exists(client, lakefs_repository, "v1", ref="main")
    assert not delete_tag_if_exists(client, lakefs_repository, "v1")
    client.objects.upload(lakefs_repository, "main", "a", b"1")
    client.commits.create(lakefs_repository, "main", message="one")
    client.tags.create(lakefs_repository, id="v1", ref=first)
    with pytest.raises(errors.PreconditionFailed, match=f"points to commit {first}, not to"):
        delete_tag_if_exists(client, lakefs_repository, "v1", ref="main")
    assert client.tags.get(lakefs_repository, "v1").commit_id == first


def test_a_tag_that_was_created_again_is_kept(client: LakeFSClient, proxy, lakefs_repository: str, mocker) -> None:
    first = client.tags.create(lakefs_repository, id="v1", ref="main").commit_id
    client.objects.upload(lakefs_repository, "main", "a", b"1")
    client.commits.create(lakefs_repository, "main", message="one")
    proxy.lose("DELETE")
    mocker.patch("time.sleep", side_effect=lambda _: client.tags.create(lakefs_repository, id="v1", ref="main"))
    with pytest.raises(OutcomeUnknown, match=r"tag 'v1' of .* was deleted and created again"):
        delete_tag_if_exists(client, lakefs_repository, "v1")
    assert client.tags.get(lakefs_repository, "v1").commit_id != first


def test_a_repository_is_deleted_once(client: LakeFSClient, proxy, lakefs_repository: str) -> None:
    proxy.lose("DELETE")
    assert delete_repository_if_exists(client, lakefs_repository)
    assert not delete_repository_if_exists(client, lakefs_repository)


def test_a_repository_that_was_created_again_is_kept(
    client: LakeFSClient, proxy, lakefs_repository: str, mocker
) -> None:
    again = client.repositories.get(lakefs_repository).storage_namespace + "-again"

    def create_again(_seconds: float) -> None:
        mocker.stopall()
        for _ in range(12):  # a real lakeFS has the deleted one in its cache for some seconds
            with suppress(errors.AlreadyExists):
                client.repositories.create(name=lakefs_repository, storage_namespace=again)
                return
            time.sleep(1)

    proxy.lose("DELETE")
    mocker.patch("time.sleep", side_effect=create_again)
    with pytest.raises(OutcomeUnknown, match=r"was deleted and created again"):
        delete_repository_if_exists(client, lakefs_repository)
    (kept,) = client.repositories.list(prefix=lakefs_repository, limit=1)
    assert kept.storage_namespace == again


def test_a_repository_that_only_the_cache_of_the_server_still_has(
    client: LakeFSClient, lakefs_repository: str, mocker
) -> None:
    mocker.patch.object(client.repositories, "get", return_value=client.repositories.get(lakefs_repository))
    client.repositories.delete(lakefs_repository)
    assert not delete_repository_if_exists(client, lakefs_repository)


def test_settings_are_written_if_they_differ(client: LakeFSClient, proxy, lakefs_repository: str) -> None:
    proxy.lose("PUT")
    for _ in range(2):
        ensure_branch_protection(client, lakefs_repository, ["release-*", "main", "main"])
        ensure_retention(client, lakefs_repository, default_days=7, branch_days={"main": 30})
    # The lost one, its repeat, and one for the retention.
    assert sum(line.startswith("PUT") for line in proxy.requests) == 3
    rules = client.repositories.get_branch_protection_rules(lakefs_repository).rules
    assert sorted(rule.pattern for rule in rules) == ["main", "release-*"]
    ensure_branch_protection(client, lakefs_repository, [])
    ensure_retention(client, lakefs_repository, default_days=8)
    assert client.repositories.get_branch_protection_rules(lakefs_repository).rules == []
    assert client.garbage_collection.get_rules(lakefs_repository).default_retention_days == 8
    with pytest.raises(errors.RepositoryNotFound):
        ensure_retention(client, "no-such-repository", default_days=8)


def test_any_number_of_objects_is_deleted(
    client: LakeFSClient, lakefs_repository: str, monkeypatch: pytest.MonkeyPatch, settings_in_force
) -> None:
    monkeypatch.setattr(deletes_module, "MAX_DELETES", 2)
    for path in "abcde":
        client.objects.upload(lakefs_repository, "main", path, b"1")
    assert delete_objects(client, lakefs_repository, "main", iter("abacx")) == 4
    assert [entry.path for entry in client.objects.list(lakefs_repository, "main")] == ["d", "e"]
    assert delete_objects(client, lakefs_repository, "main", []) == 0
    for wrong in ("d", ["d", ""]):
        with pytest.raises(errors.InvalidArgument):
            delete_objects(client, lakefs_repository, "main", wrong)
    with pytest.raises(errors.BranchNotFound):
        delete_objects(client, lakefs_repository, "no-such-branch", ["d"])
    client.commits.create(lakefs_repository, "main", message="one")
    ensure_branch_protection(client, lakefs_repository, ["main"])
    settings_in_force()
    with pytest.raises(DeleteFailed, match=r"2 objects on branch 'main' .*; 0 were deleted, the rest was not tried"):
        delete_objects(client, lakefs_repository, "main", ["d", "e", "f"])
    assert [entry.path for entry in client.objects.list(lakefs_repository, "main")] == ["d", "e"]
