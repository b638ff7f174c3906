"""Each verb takes effect once: with lost requests, lost replies, retries and races."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from lakefs_ops import errors
from lakefs_ops.flows import once
from lakefs_ops.flows.attempts import OutcomeUnknown

COMMIT = "POST /api/v1/repositories/{r}/branches/main/commits"
MERGE = "POST /api/v1/repositories/{r}/refs/dev/merge/main"


def log(lakefs, repository, ref="main"):
    return [commit.message for commit in lakefs.client.refs.log(repository, ref)]


def commit(client, repository, key="dag/run/task", **more):
    return once.commit_once(client, repository, "main", key=key, message="land", **more)


def merge(client, repository, key="dag/run/merge", **more):
    return once.merge_once(client, repository, "dev", "main", key=key, message="publish", **more)


@pytest.fixture
def dev(lakefs, lakefs_repository, write):
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    write("dev", a="1")
    lakefs.client.commits.create(lakefs_repository, "dev", message="work")


def test_a_commit_is_one_request(client, proxy, lakefs, lakefs_repository, write):
    write(a="1")
    made = commit(client, lakefs_repository)
    assert len(proxy.requests) == 1
    assert made.metadata[once.KEY] == "dag/run/task"
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == made.id


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
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == made.id


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
    assert again.id == first.id
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
    before = commit(client, lakefs_repository).id
    with pytest.raises(errors.MergeConflict, match=r"both changed a;.*/compare\?ref=main&compare=dev") as caught:
        merge(client, lakefs_repository)
    assert caught.value.paths == ("a",)
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == before
    merge(client, lakefs_repository, strategy="source-wins")
    assert lakefs.client.objects.get(lakefs_repository, "main", "a") == b"1"


def test_two_callers_with_one_key_make_one_commit(client, lakefs, lakefs_repository, write):
    write(a="1")
    with ThreadPoolExecutor(8) as pool:
        made = {c.id for c in pool.map(lambda _: commit(client, lakefs_repository), range(8))}
    assert len(made) == 1
    assert log(lakefs, lakefs_repository) == ["land", "Repository created"]


def test_racing_merges_of_different_keys_all_land(client, lakefs, lakefs_repository, write):
    names = [f"dev{n}" for n in range(6)]
    for name in names:
        lakefs.client.branches.create(lakefs_repository, name=name, source="main")
        write(name, **{name: "1"})
        lakefs.client.commits.create(lakefs_repository, name, message=name)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: once.merge_once(client, lakefs_repository, n, "main", key=n), names))
    assert sorted(o.path for o in lakefs.client.objects.list(lakefs_repository, "main")) == names
    merges = [c for c in lakefs.client.refs.log(lakefs_repository, "main") if len(c.parents) == 2]
    assert sorted((c.metadata or {})[once.KEY] for c in merges) == names


def test_a_revert_whose_reply_is_lost(client, proxy, lakefs, lakefs_repository, write):
    write(base="0")
    commit(client, lakefs_repository, key="base")
    write(a="1")
    made = commit(client, lakefs_repository)
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches/main/revert")
    once.revert_once(client, lakefs_repository, "main", made.id, key="undo")
    assert log(lakefs, lakefs_repository) == [f"Revert {made.id}", "land", "land", "Repository created"]
    once.revert_once(client, lakefs_repository, "main", made.id, key="undo")
    assert len(log(lakefs, lakefs_repository)) == 4


def test_a_cherry_pick_whose_reply_is_lost_keeps_the_metadata(client, proxy, lakefs, lakefs_repository, dev):
    made = lakefs.client.refs.log(lakefs_repository, "dev").first()
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches/main/cherry-pick")
    picked = once.cherry_pick_once(client, lakefs_repository, "main", "dev", key="pick", metadata={"why": "hot"})
    assert log(lakefs, lakefs_repository) == ["work", "Repository created"]
    assert picked.metadata["cherry-pick-origin"] == made.id
    assert picked.metadata["why"] == "hot"


def pick(client, repository, **more):
    return once.cherry_pick_once(client, repository, "main", "dev", key="pick", **more)


def undo(client, repository, **more):
    return once.revert_once(client, repository, "main", "main", key="undo", **more)


def propose(client, repository, **more):
    return once.pull_request_once(
        client, repository, source_branch="dev", destination_branch="main", title="t", key="pull", **more
    )


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
        with pytest.raises(OutcomeUnknown, match=r"504.*could double it: try again later"):
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


def test_a_branch_is_made_once(client, proxy, lakefs_repository):
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches")
    first = once.ensure_branch(client, lakefs_repository, "run", source="main")
    assert once.ensure_branch(client, lakefs_repository, "run", source="main") == first


def test_a_branch_of_others_is_a_conflict_that_says_whose(client, lakefs_repository, dev):
    with pytest.raises(errors.AlreadyExists, match=r"'dev' exists .*'work' by quickstart"):
        once.ensure_branch(client, lakefs_repository, "dev", source="main", retried=True, key="dag/run")


def test_a_retried_run_finds_the_branch_it_committed_on(client, lakefs_repository, write):
    once.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run")
    write("run", a="1")
    made = once.commit_once(client, lakefs_repository, "run", key="dag/run/land", message="land")
    assert once.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run", retried=True) == made.id
    with pytest.raises(errors.AlreadyExists):
        once.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run")


def test_a_retried_run_keeps_its_snapshot_when_the_source_moved(client, lakefs_repository, write):
    first = once.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run")
    write(a="1")
    commit(client, lakefs_repository)
    assert once.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run", retried=True) == first


def test_tags_and_repositories_are_made_once(client, proxy, lakefs, lakefs_repository, write):
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/tags")
    first = once.ensure_tag(client, lakefs_repository, "v1", ref="main")
    assert once.ensure_tag(client, lakefs_repository, "v1", ref="main") == first
    write(a="1")
    commit(client, lakefs_repository)
    with pytest.raises(errors.AlreadyExists, match="tag 'v1' exists and names commit"):
        once.ensure_tag(client, lakefs_repository, "v1", ref="main")
    name = f"{lakefs_repository}-two"
    namespace = f"{client.repositories.get(lakefs_repository).storage_namespace}-two"
    proxy.lose("POST /api/v1/repositories ")
    assert once.ensure_repository(client, name, storage_namespace=namespace).id == name
    with pytest.raises(errors.AlreadyExists, match="keeps its data in"):
        once.ensure_repository(client, name, storage_namespace=f"{namespace}-elsewhere")


def test_a_branch_is_deleted_once(client, proxy, lakefs_repository, dev):
    proxy.lose(f"DELETE /api/v1/repositories/{lakefs_repository}/branches/dev")
    assert once.delete_branch_if_exists(client, lakefs_repository, "dev")
    assert not once.delete_branch_if_exists(client, lakefs_repository, "dev")


def test_an_empty_key_is_refused(client, lakefs_repository):
    with pytest.raises(errors.InvalidArgument, match="key must name the logical step"):
        commit(client, lakefs_repository, key="")


def test_nothing_listens_there_says_so_after_the_budget(lakefs_repository):
    from lakefs_ops import Config, LakeFSClient, Retries

    config = Config(endpoint="127.0.0.1:1", retries=Retries(count=1, first_wait=0.01))
    with LakeFSClient(config=config) as client, pytest.raises(errors.ConnectionFailed, match="nothing listening"):
        commit(client, lakefs_repository)
