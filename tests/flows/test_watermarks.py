"""The watermark of the commit conditions: always a commit, and nothing that it contains is new."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakefs_ops import errors
from lakefs_ops.flows.conditions import CommitMatches, MatchingCommits, NewCommit, load
from lakefs_ops.flows.polling import BranchPoller
from lakefs_ops.local.faults import Fault
from lakefs_ops.local.store.commits import commit_id

KINDS = [NewCommit, CommitMatches]


@pytest.fixture
def commit(lakefs, lakefs_repository):
    def commit(branch="main", **fields):
        return lakefs.client.commits.create(
            lakefs_repository,
            branch,
            message="one",
            allow_empty=True,
            **{"metadata": {"n": str(next(numbers))}} | fields,
        ).id

    numbers = iter(range(1000))
    return commit


@pytest.fixture
def waiting(lakefs_repository):
    """Creates a condition that waits for any new commit on main."""

    def waiting(kind, after=None, branch="main"):
        return kind(repository=lakefs_repository, branch=branch, after=after)

    return waiting


def reset(lakefs, repository, ref, branch="main"):
    lakefs.client.branches.hard_reset(repository, branch, ref=ref)


@pytest.mark.parametrize("text", ["None", "none", "null", " ", "\n", " None "])
@pytest.mark.parametrize("kind", KINDS)
def test_the_text_of_a_missing_value_is_refused(kind, text):
    with pytest.raises(errors.InvalidArgument, match=r"after: .* is not a commit, but a missing value written as text"):
        kind(repository="lake", branch="main", after=text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ref", ["a short id", "a branch", "a tag", "an expression"])
def test_a_ref_becomes_the_id_of_its_commit_at_the_first_poll(lakefs, lakefs_repository, commit, waiting, kind, ref):
    head = commit()
    lakefs.client.tags.create(lakefs_repository, id="v1", ref="main")
    after = {"a short id": head[:12], "a branch": "main", "a tag": "v1", "an expression": "main~0"}[ref]
    verdict = waiting(kind, after).poll(lakefs.client)
    assert (verdict.state, verdict.condition.after) == ("waiting", head)
    made = commit()
    verdict = load(verdict.condition.model_dump(mode="json")).poll(lakefs.client)
    assert (verdict.state, verdict.found) == ("met", {"commit_id": made})


@pytest.mark.parametrize("kind", [*KINDS, MatchingCommits])
@pytest.mark.parametrize("listed", [False, True])
def test_a_ref_is_resolved_before_the_branch_exists(lakefs, lakefs_repository, commit, waiting, kind, listed):
    """Otherwise it moves on, and takes the first commits of the branch with it."""
    head, poller = commit(), BranchPoller(lakefs.client, max_age=60)
    for _ in range(20 if listed else 0):
        poller.poll(waiting(NewCommit, head))
    verdict = poller.poll(waiting(kind, "main", "later"))
    assert (verdict.state, verdict.condition.after) == ("waiting", head)
    new = commit()
    lakefs.client.branches.create(lakefs_repository, name="later", source="main")
    verdict = verdict.condition.poll(lakefs.client)
    assert verdict.state == "met"
    assert new in str(verdict.found)


@pytest.mark.parametrize("kind", [*KINDS, MatchingCommits])
@pytest.mark.parametrize("branch", ["main", "later"])
@pytest.mark.parametrize("ref", ["no-such-ref", "f" * 64, "main~99", "main$"])
def test_an_unknown_watermark_is_an_error_even_before_the_branch_exists(lakefs, waiting, kind, branch, ref):
    with pytest.raises(errors.InvalidArgument, match="the repository has no such commit") as caught:
        waiting(kind, ref, branch).poll(lakefs.client)
    assert repr(ref) in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_repository_is_not_mistaken_for_an_unknown_watermark(lakefs, kind):
    with pytest.raises(errors.RepositoryNotFound):
        kind(repository="no-such-repository", branch="main", after="main").poll(lakefs.client)


@pytest.mark.parametrize("kind", KINDS)
def test_a_branch_that_is_moved_back_has_no_new_commit(lakefs, lakefs_repository, commit, waiting, kind):
    one, two, three = commit(), commit(), commit()
    condition = waiting(kind, three)
    for ref in (two, one, three, one):
        reset(lakefs, lakefs_repository, ref)
        verdict = condition.poll(lakefs.client)
        assert verdict.state == "waiting"
        condition = verdict.condition
        assert condition.after == three
    assert verdict.reason == f"'main' of '{lakefs_repository}' has moved back to {one}, which {three} contains"
    made = commit()
    verdict = condition.poll(lakefs.client)
    assert (verdict.state, verdict.found) == ("met", {"commit_id": made})


def test_only_commits_after_the_fork_are_new_when_the_branch_was_moved_back(lakefs, lakefs_repository, commit, waiting):
    """Between two polls: moved back, and a commit that does not match; the old matching commits stay old."""
    old = [commit(metadata={"wanted": "yes", "n": str(n)}) for n in range(5)]
    condition = CommitMatches(
        repository=lakefs_repository, branch="main", metadata={"wanted": "yes"}, after=commit(metadata={"n": "head"})
    )
    reset(lakefs, lakefs_repository, old[2])
    other = commit(metadata={"n": "other"})
    verdict = condition.poll(lakefs.client)
    assert (verdict.state, verdict.condition.after) == ("waiting", other)
    made = commit(metadata={"wanted": "yes", "n": "new"})
    assert verdict.condition.poll(lakefs.client).found == {"commit_id": made}
    assert condition.poll(lakefs.client).found == {"commit_id": made}


def test_the_watermark_may_come_in_by_a_merge(lakefs, lakefs_repository, commit, waiting):
    """The watermark is on a side branch, so the first-parent history of main never passes it."""
    client, repository = lakefs.client, lakefs_repository
    shared = commit(metadata={"wanted": "yes", "n": "shared"})
    client.branches.create(repository, name="side", source="main")
    client.objects.upload(repository, "side", "a", b"1")
    watermark = commit("side", metadata={"n": "side"})
    new = commit(metadata={"wanted": "yes", "n": "new"})
    client.refs.merge(repository, "side", "main")
    condition = CommitMatches(repository=repository, branch="main", metadata={"wanted": "yes"}, after=watermark)
    verdict = condition.poll(client)
    assert verdict.found == {"commit_id": new}
    again = condition.model_copy(update={"after": new}).poll(client)
    assert again.state == "waiting"
    assert shared not in (new, watermark)


@pytest.mark.parametrize("kind", KINDS)
def test_a_history_without_a_common_commit_is_new(lakefs, lakefs_repository, commit, waiting, kind):
    client = lakefs.client
    condition = waiting(kind, client.branches.get(lakefs_repository, "main").commit_id)
    record = {"committer": "me", "message": "elsewhere", "metadata": {}, "parents": ()}
    root = commit_id(**record, meta_range_id="", created=1)
    client.commits.create_record(
        lakefs_repository, commit_id=root, version=1, metarange_id="", creation_date=1, generation=1, **record
    )
    reset(lakefs, lakefs_repository, root)
    verdict = condition.poll(client)
    assert (verdict.state, verdict.found) == ("met", {"commit_id": root})


@pytest.mark.parametrize("moved", ["back", "aside"])
def test_a_listing_older_than_the_watermark_meets_nothing(lakefs, lakefs_repository, commit, waiting, moved):
    """The worker's poll is newer than the listing that other waiters share in the triggerer."""
    start = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    listed = commit()
    poller = BranchPoller(lakefs.client, max_age=60)
    for _ in range(20):
        poller.poll(waiting(NewCommit, listed))
    if moved == "aside":
        reset(lakefs, lakefs_repository, start)
    newer = commit()
    for _ in range(20):
        assert poller.poll(waiting(NewCommit, newer)).state == "waiting"
    lakefs.client.branches.create(lakefs_repository, name="later", source="main")
    verdict = poller.poll(waiting(NewCommit, branch="later"))
    assert verdict.condition.after == newer, "the branch is in no listing yet, but exists"


def test_callers_that_arrive_during_a_listing_share_its_failure(lakefs, lakefs_repository, waiting):
    """Or each of them would wait in turn for a server that hangs."""
    start = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    poller = BranchPoller(lakefs.client, max_age=60)
    condition = waiting(NewCommit, start)
    for _ in range(7):
        poller.poll(condition)
    lakefs.faults.add(Fault("listBranches", action="delay", seconds=0.5))
    lakefs.faults.add(Fault("listBranches", status=500))
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        polls = [pool.submit(poller.poll, condition) for _ in range(8)]
        failures = [poll.exception() for poll in polls]
    assert {type(failure) for failure in failures} == {errors.ServerError}
    assert time.monotonic() - began < 5
    assert lakefs.faults.calls["listBranches"] == 1
    assert poller.poll(condition).state == "waiting"
