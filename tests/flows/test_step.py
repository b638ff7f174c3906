"""Each verb of a step takes effect once: with lost requests, lost replies, retries and races."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from lakefs_ops import errors
from lakefs_ops.flows.attempts import KEY, OutcomeUnknown
from lakefs_ops.flows.step import Step

COMMIT = "POST /api/v1/repositories/{r}/branches/main/commits"
MERGE = "POST /api/v1/repositories/{r}/refs/dev/merge/main"


def log(lakefs, repository, ref="main"):
    return [commit.message for commit in lakefs.client.refs.log(repository, ref)]


def commit(client, repository, key="dag/run/task", retried=False, **more):
    return Step(client, repository, key, retried).commit("main", message="land", **more)


def merge(client, repository, key="dag/run/merge", retried=False, **more):
    return Step(client, repository, key, retried).merge("dev", "main", message="publish", **more)


def test_a_commit_is_one_request(client, proxy, lakefs, lakefs_repository, write):
    write(a="1")
    made = commit(client, lakefs_repository)
    assert len(proxy.requests) == 1
    head = lakefs.client.commits.get(lakefs_repository, "main")
    assert head.metadata[KEY] == "dag/run/task"
    assert head.id == made


def test_a_merge_is_one_request(client, proxy, lakefs, lakefs_repository, dev):
    made = merge(client, lakefs_repository)
    assert len(proxy.requests) == 1
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == made


@pytest.mark.parametrize("what", ["reply", "request"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_commit_whose_messages_are_lost(client, proxy, lakefs, lakefs_repository, write, what, times):
    write(a="1")
    proxy.lose(COMMIT.format(r=lakefs_repository), what, times)
    made = commit(client, lakefs_repository)
    assert log(lakefs, lakefs_repository) == ["land", "Repository created"]
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == made


@pytest.mark.parametrize("what", ["reply", "request"])
def test_a_merge_whose_messages_are_lost(client, proxy, lakefs, lakefs_repository, dev, what):
    proxy.lose(MERGE.format(r=lakefs_repository), what)
    made = merge(client, lakefs_repository)
    assert log(lakefs, lakefs_repository) == ["publish", "work", "Repository created"]
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == made


def test_a_retried_task_finds_its_commit_and_leaves_what_others_staged(client, lakefs, lakefs_repository, write):
    write(a="1")
    first = commit(client, lakefs_repository)
    write(b="2")
    again = commit(client, lakefs_repository, retried=True)
    assert again == first
    assert [change.path for change in lakefs.client.branches.diff(lakefs_repository, "main")] == ["b"]


def test_a_retried_merge_is_found(client, lakefs, lakefs_repository, dev):
    first = merge(client, lakefs_repository)
    assert merge(client, lakefs_repository, retried=True) == first
    assert merge(client, lakefs_repository) == first, "no changes, and the key is known"


def test_a_lost_reply_of_an_empty_commit_is_found(client, proxy, lakefs, lakefs_repository):
    proxy.lose(COMMIT.format(r=lakefs_repository))
    commit(client, lakefs_repository, allow_empty=True)
    assert log(lakefs, lakefs_repository) == ["land", "Repository created"]


def test_no_changes_without_an_earlier_attempt_names_the_newest_commit(client, lakefs_repository, write):
    write(a="1")
    commit(client, lakefs_repository, key="another")
    with pytest.raises(errors.NoChanges, match=r"nothing to commit on 'main' .*'land' by .* step 'another'"):
        commit(client, lakefs_repository)


def test_a_conflict_names_its_paths_and_changes_nothing(client, lakefs, lakefs_repository, dev, write):
    write("main", a="other")
    before = commit(client, lakefs_repository)
    with pytest.raises(errors.MergeConflict, match=r"both changed a;.*/compare\?ref=main&compare=dev") as caught:
        merge(client, lakefs_repository)
    assert caught.value.paths == ("a",)
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == before
    merge(client, lakefs_repository, strategy="source-wins")
    assert lakefs.client.objects.get(lakefs_repository, "main", "a") == b"1"


def test_two_callers_with_one_key_make_one_commit(client, lakefs, lakefs_repository, write):
    write(a="1")
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: commit(client, lakefs_repository), range(8)))
    assert len(made) == 1
    assert log(lakefs, lakefs_repository) == ["land", "Repository created"]


def test_two_exclusive_callers_make_one_empty_commit(client, lakefs, lakefs_repository):
    step = Step(client, lakefs_repository, "dag/run/task", exclusive=True)
    with ThreadPoolExecutor(2) as pool:
        made = set(pool.map(lambda _: step.commit("main", message="land", allow_empty=True), range(2)))
    assert len(made) == 1
    assert log(lakefs, lakefs_repository) == ["land", "Repository created"]


def test_racing_merges_of_different_keys_all_land(client, lakefs, lakefs_repository, write):
    names = [f"dev{n}" for n in range(6)]
    for name in names:
        lakefs.client.branches.create(lakefs_repository, name=name, source="main")
        write(name, **{name: "1"})
        lakefs.client.commits.create(lakefs_repository, name, message=name)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: Step(client, lakefs_repository, n).merge(n, "main"), names))
    assert sorted(o.path for o in lakefs.client.objects.list(lakefs_repository, "main")) == names
    merges = [c for c in lakefs.client.refs.log(lakefs_repository, "main") if len(c.parents) == 2]
    assert sorted((c.metadata or {})[KEY] for c in merges) == names


def test_a_revert_whose_reply_is_lost(client, proxy, lakefs, lakefs_repository, write):
    write(base="0")
    commit(client, lakefs_repository, key="base")
    write(a="1")
    made = commit(client, lakefs_repository)
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches/main/revert")
    undo = Step(client, lakefs_repository, "undo")
    undone = undo.revert("main", made)
    assert log(lakefs, lakefs_repository) == [f"Revert {made}", "land", "land", "Repository created"]
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == undone
    assert undo.revert("main", made) == undone
    assert len(log(lakefs, lakefs_repository)) == 4


@pytest.fixture
def to_undo(lakefs, lakefs_repository, write):
    """A commit on main; no revert of it empties the branch."""
    write(base="0")
    commit(lakefs.client, lakefs_repository, key="base")
    write(a="1")
    return commit(lakefs.client, lakefs_repository, key="to undo")


def test_a_revert_reads_the_commit_it_created(client, proxy, lakefs, lakefs_repository, to_undo):
    undone = Step(client, lakefs_repository, "undo").revert("main", to_undo)
    assert len(proxy.requests) == 2
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == undone


def test_a_revert_returns_its_own_commit_even_if_another_one_follows_at_once(
    client, lakefs, lakefs_repository, write, to_undo, mocker
):
    revert = client.branches.revert

    def revert_and_let_another_writer_commit(*args, **more):
        revert(*args, **more)
        write(b="2")
        commit(lakefs.client, lakefs_repository, key="another")

    mocker.patch.object(client.branches, "revert", revert_and_let_another_writer_commit)
    undone = Step(client, lakefs_repository, "undo").revert("main", to_undo)
    assert lakefs.client.commits.get(lakefs_repository, undone).message == f"Revert {to_undo}"


def test_a_revert_whose_commit_another_writer_removed_is_unknown(client, lakefs, lakefs_repository, to_undo, mocker):
    revert = client.branches.revert

    def revert_and_let_another_writer_reset(*args, **more):
        revert(*args, **more)
        lakefs.client.branches.hard_reset(lakefs_repository, "main", ref=to_undo)

    mocker.patch.object(client.branches, "revert", revert_and_let_another_writer_reset)
    with pytest.raises(OutcomeUnknown, match=r"step 'undo' took effect on 'main' .* its commit is not in the branch"):
        Step(client, lakefs_repository, "undo").revert("main", to_undo)


def test_a_cherry_pick_whose_reply_is_lost_keeps_the_metadata(client, proxy, lakefs, lakefs_repository, dev):
    made = lakefs.client.refs.log(lakefs_repository, "dev").first()
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches/main/cherry-pick")
    pick = Step(client, lakefs_repository, "pick").cherry_pick("main", "dev", metadata={"why": "hot"})
    picked = lakefs.client.commits.get(lakefs_repository, pick)
    assert log(lakefs, lakefs_repository) == ["work", "Repository created"]
    assert picked.metadata["cherry-pick-origin"] == made.id
    assert picked.metadata["why"] == "hot"


def pick(client, repository, **more):
    return Step(client, repository, "pick", **more).cherry_pick("main", "dev")


def undo(client, repository, **more):
    return Step(client, repository, "undo", **more).revert("main", "main")


def propose(client, repository, **more):
    return Step(client, repository, "pull", **more).pull_request("dev", "main", title="t")


@pytest.mark.parametrize(
    ("verb", "begins", "refused"),
    [
        (commit, "branches/main/commits", True),
        (merge, "refs/dev/merge/main", True),
        (pick, "branches/main/cherry-pick", False),
        (undo, "branches/main/revert", False),
        (propose, "pulls", False),
    ],
)
def test_a_gateway_that_gives_up_while_the_server_goes_on(
    client, proxy, lakefs, lakefs_repository, write, dev, verb, begins, refused
):
    """A call that the server would carry out twice is not sent again while it may be at work."""
    write(b="2")
    if verb is not commit:
        commit(lakefs.client, lakefs_repository, key="before")
    before = len(log(lakefs, lakefs_repository))
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/{begins}", "gateway")
    if refused:
        verb(client, lakefs_repository)
        proxy.settle()
    else:
        with pytest.raises(OutcomeUnknown, match=r"504.*could double it: try again later with the same key"):
            verb(client, lakefs_repository)
        proxy.settle()
        verb(client, lakefs_repository, retried=True)
    assert len(list(lakefs.client.pulls.list(lakefs_repository))) == (verb is propose)
    own = {commit: 1, merge: 2, pick: 1, undo: 1, propose: 0}[verb]
    assert len(log(lakefs, lakefs_repository)) == before + own


@pytest.mark.parametrize(
    ("verb", "begins"), [(pick, "branches/main/cherry-pick"), (undo, "branches/main/revert"), (propose, "pulls")]
)
def test_a_call_that_goes_on_for_a_moment_after_its_connection_broke(
    client, proxy, lakefs, lakefs_repository, write, dev, verb, begins
):
    write(b="2")
    commit(lakefs.client, lakefs_repository, key="before")
    before = len(log(lakefs, lakefs_repository))
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/{begins}", "late")
    verb(client, lakefs_repository)
    proxy.settle()
    assert len(list(lakefs.client.pulls.list(lakefs_repository))) == (verb is propose)
    assert len(log(lakefs, lakefs_repository)) == before + (verb is not propose)


def test_a_start_of_an_import_cannot_be_exclusive(client, proxy, lakefs_repository):
    with pytest.raises(errors.InvalidArgument, match="use import_"):
        Step(client, lakefs_repository, "key", exclusive=True).start_import("main", [], message="import")
    assert proxy.requests == []


def test_an_empty_key_is_refused(client, lakefs_repository):
    with pytest.raises(errors.InvalidArgument, match="key must identify the logical step"):
        commit(client, lakefs_repository, key="")


def test_nothing_listens_there_says_so_after_the_budget(lakefs_repository):
    from lakefs_ops import Config, LakeFSClient, Retries

    config = Config(endpoint="127.0.0.1:1", retries=Retries(count=1, first_wait=0.01))
    with LakeFSClient(config=config) as client, pytest.raises(errors.ConnectionFailed, match="nothing listening"):
        commit(client, lakefs_repository)
