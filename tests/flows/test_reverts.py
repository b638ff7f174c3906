"""Reverts of commits and ranges, and cherry-picks, for hosts."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.flows import reverts
from lakefs_ops.flows.attempts import ORIGIN
from lakefs_ops.flows.reverts import WORK_PREFIX
from lakefs_ops.flows.step import Step


@pytest.fixture
def client(lakefs) -> LakeFSClient:
    return lakefs.client


@pytest.fixture
def step(client: LakeFSClient, lakefs_repository: str) -> Step:
    return Step(client, lakefs_repository, "dag/run/undo")


@pytest.fixture
def commit(client: LakeFSClient, lakefs_repository: str) -> Callable[..., str]:
    def commit(message: str, branch: str = "main", **objects: str) -> str:
        for name, content in objects.items():
            client.objects.upload(lakefs_repository, branch, name, content.encode())
        return client.commits.create(lakefs_repository, branch, message=message).id

    return commit


def log(step: Step, ref: str = "main", **options) -> list[str]:
    return [commit.message for commit in step.client.refs.log(step.repository, ref, **options)]


def content(step: Step, ref: str = "main") -> dict[str, str]:
    return {
        entry.path: step.client.objects.get(step.repository, ref, entry.path).decode()
        for entry in step.client.objects.list(step.repository, ref)
    }


def work_branches(step: Step) -> list[str]:
    found = step.client.branches.list(step.repository, show_hidden=True)
    return [ref.id for ref in found if ref.id.startswith(WORK_PREFIX)]


@pytest.fixture
def history(step: Step, commit: Callable[..., str]) -> dict[str, str]:
    """One, two, a merge of dev, and four, on main."""
    commits = {"one": commit("one", a="1"), "two": commit("two", a="2", b="2")}
    step.client.branches.create(step.repository, name="dev", source="main")
    commit("dev", branch="dev", c="3")
    commits["merge"] = step.client.refs.merge(step.repository, "dev", "main", message="merge").reference
    commits["four"] = commit("four", d="4")
    return commits


def test_a_merge_goes_back_to_the_branch_before_it(step: Step, history: dict[str, str]) -> None:
    commit_id = step.revert("main", history["merge"], message="undo")
    assert (log(step)[0], content(step)) == ("undo", {"a": "2", "b": "2", "d": "4"})
    found = step.client.commits.get(step.repository, "main")
    assert (found.id, found.metadata[ORIGIN]) == (commit_id, history["merge"])


def test_a_range_is_reverted_in_one_step(step: Step, history: dict[str, str]) -> None:
    before = log(step, first_parent=True)
    commit_id = step.revert("main", history["four"], since=history["one"], metadata={"by": "us"})
    assert content(step) == {"a": "1"}
    assert log(step, first_parent=True) == [f"Revert 3 commits: {history['one']}..{history['four']}", *before]
    assert step.client.commits.get(step.repository, "main").id == commit_id
    assert step.client.commits.get(step.repository, "main").metadata["by"] == "us"
    assert work_branches(step) == []
    # Retried, and cleared: the commit is in force.
    again = replace(step, retried=True)
    assert again.revert("main", history["four"], since=history["one"]) == commit_id
    cleared = replace(step, key="dag/run/undo#1", earlier_keys=(step.key,))
    assert cleared.revert("main", history["four"], since=history["one"]) == commit_id
    # Its effect was undone since, so a cleared task acts again.
    step.client.branches.revert(step.repository, "main", ref=commit_id, parent_number=1)
    assert cleared.revert("main", history["four"], since=history["one"]) != commit_id
    assert content(step) == {"a": "1"}


def test_a_range_with_a_conflict_changes_nothing(step: Step, history: dict[str, str], commit) -> None:
    commit("five", a="5")
    before = log(step)
    with pytest.raises(errors.MergeConflict, match=r"the same objects as commit .*'two'.* nothing was reverted on"):
        step.revert("main", history["four"], since=history["one"])
    assert (log(step), work_branches(step)) == (before, [])


def test_a_range_that_dies_continues_where_it_ended(
    step: Step, history: dict[str, str], mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Step, "merge", mocker.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            step.revert("main", history["four"], since=history["one"])
    (work,) = work_branches(step)
    done = log(step, work)
    retried = replace(step, retried=True)
    monkeypatch.setattr("lakefs_ops.flows.step.ABANDONED_AFTER", -2.0)  # no wait for the claim of the dead attempt
    merged = retried.revert("main", history["four"], since=history["one"])
    assert step.client.commits.get(step.repository, merged).parents[1] != merged
    assert log(step, merged)[1 : len(done) + 1] == done
    assert (content(step), work_branches(step)) == ({"a": "1"}, [])


def test_a_range_that_died_on_one_branch_does_not_reach_another(
    step: Step, history: dict[str, str], mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a dead attempt left belongs to its own branch, also for a caller with the same key."""
    step.client.branches.create(step.repository, name="release", source=history["merge"])
    with monkeypatch.context() as patch:
        patch.setattr(Step, "merge", mocker.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            step.revert("main", history["merge"], since=history["one"])
    monkeypatch.setattr("lakefs_ops.flows.step.ABANDONED_AFTER", -2.0)
    replace(step, retried=True).revert("release", history["merge"], since=history["one"])
    assert content(step, "release") == {"a": "1"}
    replace(step, retried=True).revert("main", history["merge"], since=history["one"])
    assert (content(step), work_branches(step)) == ({"a": "1", "d": "4"}, [])


def test_nothing_to_revert_is_a_choice(step: Step, history: dict[str, str]) -> None:
    replace(step, key="other").revert("main", history["four"], since=history["two"])
    head = step.client.branches.get(step.repository, "main").commit_id
    for ref, since in ((history["four"], None), (history["four"], history["two"])):
        with pytest.raises(errors.NoChanges):
            step.revert("main", ref, since=since)
        with pytest.raises(errors.NothingToDo):
            step.revert("main", ref, since=since, if_nothing="skip")
        assert step.revert("main", ref, since=since, if_nothing="succeed") == head
    assert work_branches(step) == []


def test_refs_that_move_and_ranges_that_are_none_are_refused(step: Step, history: dict[str, str]) -> None:
    step.client.tags.create(step.repository, id="v1", ref=history["two"])
    for ref in ("main", "main~1", "dev"):
        with pytest.raises(errors.InvalidArgument, match="ref must be a commit id or a tag"):
            step.revert("main", ref)
    with pytest.raises(errors.InvalidArgument, match="since must be a commit id or a tag"):
        step.revert("main", history["four"], since="main~2")
    for since in (history["four"], step.client.commits.get(step.repository, "dev").id):
        with pytest.raises(errors.InvalidArgument, match="is not in the first-parent history before"):
            step.revert("main", history["four"], since=since)
    for wrong in ({"parent_number": 1}, {"force": True}):
        with pytest.raises(errors.InvalidArgument, match="are for a single commit, not for a range"):
            step.revert("main", history["four"], since="v1", **wrong)
    step.revert("main", history["four"][:20], since="v1")
    assert content(step) == {"a": "2", "b": "2"}


def test_a_long_range_is_refused(step: Step, history: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverts, "MAX_RANGE", 2)
    with pytest.raises(errors.InvalidArgument, match=r"is not in the first-parent history .* within 2 commits"):
        step.revert("main", history["four"], since=history["one"])


def test_a_picked_commit_is_picked_once_for_a_cleared_task(step: Step, history: dict[str, str], commit) -> None:
    step.client.branches.create(step.repository, name="release", source=history["one"])
    commit_id = step.cherry_pick("release", history["merge"], message="pick")
    assert content(step, "release") == {"a": "1", "c": "3"}
    cleared = replace(step, key="dag/run/undo#1", earlier_keys=(step.key,))
    assert cleared.cherry_pick("release", history["merge"]) == commit_id
    # The ref is another commit now.
    assert cleared.cherry_pick("release", "main") != commit_id
    assert content(step, "release") == {"a": "1", "c": "3", "d": "4"}
