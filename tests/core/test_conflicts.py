"""Conflicts name their paths, and what needs no look sends none: against a real server."""

from typing import Any

import pytest

from lakefs_ops import errors
from lakefs_ops.api.branches import Branches
from lakefs_ops.api.pulls import Pulls
from lakefs_ops.api.refs import Refs
from lakefs_ops.call import Call
from lakefs_ops.pytest_plugin import LakeFS


class Counting:
    """Sends through a transport, and keeps the names of what it sent."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.sent: list[str] = []
        self.refused: str | None = None
        self.endpoint = transport.endpoint

    def send(self, call: Call[Any]) -> Any:
        self.sent.append(call.operation)
        if call.operation == self.refused:
            raise errors.ConnectionFailed("the line went dead", operation=call.operation, endpoint="")
        return self._transport.send(call)

    def open(self, call: Call[bytes]) -> Any:
        return self._transport.open(call)


@pytest.fixture
def sender(lakefs: LakeFS) -> Counting:
    return Counting(lakefs.client.transport)


def commit(lakefs: LakeFS, repository: str, branch: str, content: bytes, *paths: str) -> str:
    for path in paths:
        lakefs.client.objects.upload(repository, branch, path, content)
    return lakefs.client.commits.create(repository, branch, message=branch, metadata={"who": branch}).id


@pytest.fixture
def repository(lakefs: LakeFS, lakefs_repository: str) -> str:
    """A repository whose ``main`` and ``dev`` have both changed ``a`` and ``b``."""
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    commit(lakefs, lakefs_repository, "dev", b"1", "a", "b", "c")
    commit(lakefs, lakefs_repository, "main", b"2", "a", "b", "d")
    return lakefs_repository


def test_a_merge_names_the_paths(lakefs: LakeFS, sender: Counting, repository: str) -> None:
    with pytest.raises(errors.MergeConflict, match=r"both changed a, b; .*/compare\?ref=main&compare=dev") as caught:
        Refs(sender).merge(repository, "dev", "main")
    assert caught.value.paths == ("a", "b")
    assert str(caught.value).endswith(f" (request {caught.value.request_id})")
    assert (caught.value.status, caught.value.operation) == (409, "mergeIntoBranch")
    assert sender.sent == ["mergeIntoBranch", "diffRefs"]


def test_a_merge_that_goes_well_is_one_request(sender: Counting, repository: str) -> None:
    assert Refs(sender).merge(repository, "dev", "main", strategy="dest-wins").reference
    assert sender.sent == ["mergeIntoBranch"]


def test_a_pull_request_names_the_paths(lakefs: LakeFS, sender: Counting, repository: str) -> None:
    pull = lakefs.client.pulls.create(repository, title="t", source_branch="dev", destination_branch="main").id
    with pytest.raises(errors.MergeConflict, match="'dev' cannot be merged into 'main'") as caught:
        Pulls(sender).merge(repository, pull)
    assert caught.value.paths == ("a", "b")
    assert sender.sent == ["mergePullRequest", "getPullRequest", "diffRefs"]


def test_a_pull_request_that_goes_well_is_one_request(lakefs: LakeFS, sender: Counting, repository: str) -> None:
    lakefs.client.branches.create(repository, name="good", source="main")
    commit(lakefs, repository, "good", b"3", "e")
    pull = lakefs.client.pulls.create(repository, title="t", source_branch="good", destination_branch="main").id
    assert Pulls(sender).merge(repository, pull).reference
    assert sender.sent == ["mergePullRequest"]


@pytest.mark.parametrize("refused", ["diffRefs", "getPullRequest"])
def test_a_conflict_stays_one_when_the_look_fails(
    lakefs: LakeFS, sender: Counting, repository: str, refused: str
) -> None:
    sender.refused = refused
    pull = lakefs.client.pulls.create(repository, title="t", source_branch="dev", destination_branch="main").id
    with pytest.raises(errors.MergeConflict, match="409") as caught:
        Pulls(sender).merge(repository, pull)
    assert caught.value.paths == ()
    assert sender.sent[-1] == refused


def test_conflicts_of_reverts_and_picks_have_no_paths(lakefs: LakeFS, sender: Counting, repository: str) -> None:
    theirs = lakefs.client.branches.get(repository, "dev").commit_id
    ours = lakefs.client.branches.get(repository, "main").commit_id
    with pytest.raises(errors.MergeConflict) as caught:
        Branches(sender).cherry_pick(repository, "main", ref=theirs)
    assert caught.value.paths == ()
    commit(lakefs, repository, "main", b"4", "a")
    with pytest.raises(errors.MergeConflict) as caught:
        Branches(sender).revert(repository, "main", ref=ours)
    assert caught.value.paths == ()
    assert sender.sent == ["getCommit", "cherryPick", "revertBranch"]


def test_a_picked_commit_stays_as_it_was(lakefs: LakeFS, repository: str) -> None:
    lakefs.client.branches.create(repository, name="clean", source="main~1")
    picked = lakefs.client.branches.cherry_pick(repository, "clean", ref="dev")
    original = lakefs.client.commits.get(repository, "dev")
    assert picked.metadata is not None
    assert picked.metadata["cherry-pick-origin"] == original.id
    assert (original.metadata, picked.metadata["who"]) == ({"who": "dev"}, "dev")
    assert lakefs.client.commits.get(repository, original.id) == original
