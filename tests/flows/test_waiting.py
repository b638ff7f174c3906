"""Conditions and the loop that waits for them."""

import threading

import pytest

from lakefs_ops import Config, LakeFSClient, Retries, errors
from lakefs_ops.flows import conditions
from lakefs_ops.flows.waiting import WaitTimedOut, wait


def test_the_first_look_only_remembers(lakefs, lakefs_repository, write):
    condition = conditions.NewCommit(repository=lakefs_repository, branch="main")
    verdict = condition.look(lakefs.client)
    assert verdict.state == "waiting"
    write(a="1")
    made = lakefs.client.commits.create(lakefs_repository, "main", message="one")
    assert condition.after is None, "conditions are frozen"
    verdict = verdict.condition.look(lakefs.client)
    assert (verdict.state, verdict.found) == ("met", {"commit_id": made.id})


def test_a_missing_branch_is_waited_for(lakefs, lakefs_repository):
    condition = conditions.NewCommit(repository=lakefs_repository, branch="later")
    assert condition.look(lakefs.client).reason == f"branch 'later' of '{lakefs_repository}' does not exist yet"


def test_a_missing_repository_is_an_error(lakefs):
    with pytest.raises(errors.RepositoryNotFound, match="check the repository's name"):
        conditions.NewCommit(repository="no-such-repository", branch="main").look(lakefs.client)


def test_an_object_is_waited_for(lakefs, lakefs_repository, write):
    condition = conditions.ObjectExists(repository=lakefs_repository, ref="main", path="a")
    assert condition.look(lakefs.client).state == "waiting"
    write(a="12")
    verdict = condition.look(lakefs.client)
    assert (verdict.state, verdict.found["size_bytes"]) == ("met", 2)


@pytest.mark.parametrize(
    "condition",
    [
        conditions.NewCommit(repository="lake", branch="main", after="abc"),
        conditions.ObjectExists(repository="lake", ref="main", path="a/b"),
    ],
)
def test_conditions_travel_as_json(condition):
    assert conditions.load(condition.model_dump(mode="json")) == condition


def test_what_is_no_condition_is_refused():
    with pytest.raises(errors.InvalidArgument, match="not a condition"):
        conditions.load({"kind": "new_commit", "repository": "lake"})


def test_wait_returns_when_it_is_met(lakefs, lakefs_repository, write):
    seen = []

    def commit_later(verdict):
        seen.append(verdict.reason)
        if len(seen) == 1:
            write(a="1")
            lakefs.client.commits.create(lakefs_repository, "main", message="one")

    condition = conditions.NewCommit(repository=lakefs_repository, branch="main")
    verdict = wait(condition, lakefs.client, timeout=30, interval=0.01, on_look=commit_later)
    assert verdict.found == {"commit_id": lakefs.client.branches.get(lakefs_repository, "main").commit_id}


def test_wait_gives_up_and_says_what_it_saw(lakefs, lakefs_repository):
    condition = conditions.NewCommit(repository=lakefs_repository, branch="main")
    with pytest.raises(WaitTimedOut, match=r"gave up after 0.05 s: no commit on 'main'") as caught:
        wait(condition, lakefs.client, timeout=0.05, interval=0.01)
    assert isinstance(caught.value, TimeoutError)


def test_wait_tolerates_some_failures_in_a_row(lakefs_repository):
    condition = conditions.NewCommit(repository=lakefs_repository, branch="main")
    config = Config(endpoint="127.0.0.1:1", retries=Retries(count=0))
    with LakeFSClient(config=config) as nowhere, pytest.raises(errors.ConnectionFailed):
        wait(condition, nowhere, timeout=30, interval=0.001, tolerated=2)


def test_wait_can_be_stopped_by_its_progress_callback(lakefs, lakefs_repository):
    stop = threading.Event()

    def on_look(verdict):
        stop.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait(
            conditions.NewCommit(repository=lakefs_repository, branch="main"), lakefs.client, timeout=9, on_look=on_look
        )
    assert stop.is_set()
