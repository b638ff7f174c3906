"""Each verb of a step takes effect once: with lost requests, lost replies, retries and races."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from lakefs_ops import LakeFSClient, Retries, Timeouts, errors
from lakefs_ops.api.imports import ImportLocation
from lakefs_ops.flows.attempts import KEY, OutcomeUnknown
from lakefs_ops.flows.history import is_undone
from lakefs_ops.flows.publish import WriteAuditPublish
from lakefs_ops.flows.step import Step
from lakefs_ops.flows.waiting import WaitTimedOut
from lakefs_ops.listing import Listing
from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.faults import Fault

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


@pytest.mark.usefixtures("no_settling")
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
    step = Step(client, lakefs_repository, "dag/run/task")
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
    assert sorted(c.metadata[KEY] for c in merges) == names


@pytest.mark.usefixtures("no_settling")
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
    undone = Step(client, lakefs_repository, "undo", exclusive=False).revert("main", to_undo)
    assert len(proxy.requests) == 3  # the commit to undo is read first
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


@pytest.mark.usefixtures("no_settling")
def test_a_cherry_pick_whose_reply_is_lost_keeps_the_metadata(client, proxy, lakefs, lakefs_repository, dev):
    made = lakefs.client.refs.log(lakefs_repository, "dev").first()
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches/main/cherry-pick")
    pick = Step(client, lakefs_repository, "pick").cherry_pick("main", "dev", metadata={"why": "hot"})
    picked = lakefs.client.commits.get(lakefs_repository, pick)
    assert log(lakefs, lakefs_repository) == ["work", "Repository created"]
    assert picked.metadata["cherry-pick-origin"] == made.id
    assert picked.metadata["why"] == "hot"


def test_a_retry_picks_from_each_branch_of_a_loop(client, lakefs, lakefs_repository):
    """The branches have moved since the first attempt, which was killed after the first branch."""
    for branch in ("one", "two"):
        client.branches.create(lakefs_repository, name=branch, source="main")
        client.objects.upload(lakefs_repository, branch, f"{branch}.txt", b"1")
        client.commits.create(lakefs_repository, branch, message=branch)
    first = Step(client, lakefs_repository, "pick").cherry_pick("main", "one")
    for branch in ("one", "two"):
        client.objects.upload(lakefs_repository, branch, "later.txt", b"1")
        client.commits.create(lakefs_repository, branch, message=f"later on {branch}")
    retry = Step(client, lakefs_repository, "pick", retried=True)
    assert retry.cherry_pick("main", "one") == first
    retry.cherry_pick("main", "two")
    assert log(lakefs, lakefs_repository) == ["later on two", "one", "Repository created"]


def pick(client, repository, **more):
    return Step(client, repository, "pick", **more).cherry_pick("main", "dev")


def undo(client, repository, **more):
    newest = next(commit for commit in client.refs.log(repository, "main") if commit.message == "land")
    return Step(client, repository, "undo", **more).revert("main", newest.id)


def propose(client, repository, key="pull", **more):
    return Step(client, repository, key, **more).pull_request("dev", "main", title="t")


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


@pytest.mark.usefixtures("no_settling")
@pytest.mark.parametrize(("verb", "operation"), [(commit, "commit"), (merge, "mergeIntoBranch")])
def test_a_call_that_timed_out_is_not_sent_again(lakefs, lakefs_repository, write, dev, verb, operation):
    """lakeFS may be running its hooks, and a repeated call would run them again."""
    write(b="2")
    if verb is merge:
        commit(lakefs.client, lakefs_repository, key="before")
    config = replace(lakefs.client.config, timeouts=Timeouts(read=0.2), retries=Retries())
    lost = lakefs.faults.add(Fault(operation, action="delay", seconds=20, times=None))
    advice = r"raise the timeout.*could run its hooks again: try again later"
    with LakeFSClient(config=config) as client, pytest.raises(OutcomeUnknown, match=advice):
        verb(client, lakefs_repository)
    assert lost.struck == 1


@pytest.mark.parametrize(
    ("verb", "begins"), [(pick, "branches/main/cherry-pick"), (undo, "branches/main/revert"), (propose, "pulls")]
)
def test_an_unknown_outcome_is_told_also_when_no_attempt_is_left(
    client, proxy, lakefs, lakefs_repository, write, dev, verb, begins
):
    """Then the claim is kept, and a retry waits for the effect."""
    write(b="2")
    commit(lakefs.client, lakefs_repository, key="before")
    before = len(log(lakefs, lakefs_repository))
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/{begins}", "gateway")
    with LakeFSClient(config=replace(client.config, retries=Retries(count=0))) as single:
        with pytest.raises(OutcomeUnknown, match="could double it"):
            verb(single, lakefs_repository)
        going_on = threading.Timer(1.0, proxy.settle)
        going_on.start()
        verb(single, lakefs_repository, retried=True)
        going_on.join()
    assert len(list(lakefs.client.pulls.list(lakefs_repository))) == (verb is propose)
    assert len(log(lakefs, lakefs_repository)) == before + (verb is not propose)


@pytest.mark.parametrize(
    ("verb", "begins"), [(pick, "branches/main/cherry-pick"), (undo, "branches/main/revert"), (propose, "pulls")]
)
@pytest.mark.parametrize(("what", "delay"), [("late", 0.5), ("late", 2.0), ("late 503", 0.5)])
def test_a_call_that_goes_on_for_a_moment_after_its_connection_broke(
    client, proxy, lakefs, lakefs_repository, write, dev, verb, begins, what, delay
):
    proxy.delay = delay
    write(b="2")
    commit(lakefs.client, lakefs_repository, key="before")
    before = len(log(lakefs, lakefs_repository))
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/{begins}", what)
    verb(client, lakefs_repository)
    proxy.settle()
    assert len(list(lakefs.client.pulls.list(lakefs_repository))) == (verb is propose)
    assert len(log(lakefs, lakefs_repository)) == before + (verb is not propose)


def test_a_start_of_an_import_claims_nothing(client, proxy, lakefs_repository):
    """A claim could not be held until the import ends; and a store that imports nothing says so at once."""
    with suppress(errors.NotSupported, errors.BadRequest):  # the store of the embedded server imports nothing
        Step(client, lakefs_repository, "key").start_import("main", [], message="import")
    (sent,) = proxy.requests
    assert sent.startswith(f"POST /api/v1/repositories/{lakefs_repository}/branches/main/import")


def test_a_lost_request_of_a_later_commit_with_the_same_key(client, proxy, lakefs, lakefs_repository, write):
    """The commit of the first call is not the effect of the second."""
    write(a="1")
    first = commit(client, lakefs_repository)
    write(b="2")
    proxy.lose(COMMIT.format(r=lakefs_repository), "request")
    assert commit(client, lakefs_repository) != first
    assert list(lakefs.client.branches.diff(lakefs_repository, "main")) == []


@pytest.mark.usefixtures("no_settling")
@pytest.mark.parametrize("what", ["request", "reply"])
def test_a_lost_message_of_a_later_empty_commit_with_the_same_key(client, proxy, lakefs, lakefs_repository, what):
    step = Step(client, lakefs_repository, "key", exclusive=False)
    first = step.commit("main", message="land", allow_empty=True)
    proxy.lose(COMMIT.format(r=lakefs_repository), what)
    assert step.commit("main", message="land", allow_empty=True) != first
    assert len(log(lakefs, lakefs_repository)) == 3


@pytest.mark.parametrize("retried", [False, True])
@pytest.mark.parametrize("verb", ["commit", "revert", "cherry_pick"])
def test_each_effect_of_a_key_takes_place(client, lakefs, lakefs_repository, write, dev, verb, retried):
    if verb == "commit":
        Step(client, lakefs_repository, "key").commit("dev", message="part 0", allow_empty=True)
    branch = "main" if verb == "revert" else "dev"
    commits = []
    for part in range(3):
        lakefs.client.objects.upload(lakefs_repository, "main", f"{part}.csv", b"1")
        commits.append(lakefs.client.commits.create(lakefs_repository, "main", message=f"part {part}").id)
    step = Step(client, lakefs_repository, "key", retried=retried)
    for part, commit_id in enumerate(reversed(commits)):
        match verb:
            case "commit":
                lakefs.client.objects.upload(lakefs_repository, "dev", f"{part}.csv", b"1")
                step.commit("dev", message=f"part {part}")
            case "revert":
                step.revert("main", commit_id)
            case "cherry_pick":
                step.cherry_pick("dev", commit_id)
    found = [entry.path for entry in lakefs.client.objects.list(lakefs_repository, branch) if entry.path[0].isdigit()]
    assert found == ([] if verb == "revert" else ["0.csv", "1.csv", "2.csv"])
    assert list(lakefs.client.branches.diff(lakefs_repository, branch)) == []


def test_empty_commits_of_one_key_all_take_place(client, lakefs, lakefs_repository):
    step = Step(client, lakefs_repository, "key")
    commits = set()
    for part in range(3):
        lakefs.client.objects.upload(lakefs_repository, "main", f"{part}.csv", b"1")
        commits.add(step.commit("main", message="land", allow_empty=True))
    assert len(commits) == 3
    assert list(lakefs.client.branches.diff(lakefs_repository, "main")) == []


def test_a_new_import_with_the_key_of_an_earlier_run_takes_place(tmp_path):
    """A DAG run is deleted, and run again under the same id when the source has more objects."""
    with LocalLakeFS(allow_import=[tmp_path]) as server:
        keys = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
        with LakeFSClient(server.endpoint, **keys) as client:
            client.repositories.create(name="lake", storage_namespace="local://lake")
            source = ImportLocation(type="common_prefix", path=f"local://{tmp_path}/", destination="raw/")
            for name in ("a.csv", "b.csv"):
                (tmp_path / name).write_text(name)
                Step(client, "lake", "key").import_("main", [source], message="import", timeout=20, poll_interval=0.1)
            assert [entry.path for entry in client.objects.list("lake", "main")] == ["raw/a.csv", "raw/b.csv"]


def test_a_retry_imports_each_source_of_a_loop(tmp_path):
    """The first attempt was killed after the first source."""
    with LocalLakeFS(allow_import=[tmp_path]) as server:
        keys = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
        with LakeFSClient(server.endpoint, **keys) as client:
            client.repositories.create(name="lake", storage_namespace="local://lake")

            def import_(name, *, retried):
                (tmp_path / name).write_text(name)
                source = ImportLocation(type="object", path=f"local://{tmp_path}/{name}", destination=name)
                step = Step(client, "lake", "key", retried=retried)
                return step.import_("main", [source], message="import", timeout=20, settle=0.1, poll_interval=0.1)

            first = import_("a.csv", retried=False)
            assert import_("a.csv", retried=True) == first
            import_("b.csv", retried=True)
            assert [entry.path for entry in client.objects.list("lake", "main")] == ["a.csv", "b.csv"]


def test_an_import_that_may_still_be_running_keeps_its_claim(tmp_path):
    """So another caller waits for its commit, instead of starting the import again."""
    (tmp_path / "a.csv").write_text("1")
    source = ImportLocation(type="common_prefix", path=f"local://{tmp_path}/", destination="raw/")
    with LocalLakeFS(allow_import=[tmp_path]) as server:
        keys = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
        with LakeFSClient(server.endpoint, retries=Retries(count=0), **keys) as client:
            client.repositories.create(name="lake", storage_namespace="local://lake")
            step = Step(client, "lake", "key")
            server.faults.add(Fault("importStatus", status=503, times=None))
            with pytest.raises(WaitTimedOut):
                step.import_("main", [source], message="import", timeout=1, poll_interval=0.1)
            server.faults.clear()
            found = step.import_("main", [source], message="import", timeout=20, poll_interval=0.1)
            assert found == client.branches.get("lake", "main").commit_id
            assert [commit.message for commit in client.refs.log("lake", "main")][:-1] == ["import"]


def revert_on_main(lakefs, repository, commit_id, parent_number=0):
    lakefs.client.branches.revert(repository, "main", ref=commit_id, parent_number=parent_number)


def test_a_merge_that_was_reverted_is_not_taken_for_the_effect(client, lakefs, lakefs_repository, dev, write):
    write(base="0")
    lakefs.client.commits.create(lakefs_repository, "main", message="base")
    first = merge(client, lakefs_repository)
    revert_on_main(lakefs, lakefs_repository, first, parent_number=1)
    for retried in (True, False):
        with pytest.raises(errors.Undone, match=r"took effect on 'main' .* a later commit undid") as caught:
            merge(client, lakefs_repository, retried=retried)
        assert caught.value.commit_id == first
    write("dev", b="2")
    lakefs.client.commits.create(lakefs_repository, "dev", message="more")
    assert merge(client, lakefs_repository, retried=True) != first
    assert [o.path for o in lakefs.client.objects.list(lakefs_repository, "main")] == ["b", "base"]


def commit_on(lakefs, repository, branch="main", *, delete=(), **objects):
    for path in delete:
        lakefs.client.objects.delete(repository, branch, path)
    for path, content in objects.items():
        lakefs.client.objects.upload(repository, branch, path, content.encode())
    return lakefs.client.commits.create(repository, branch, message="change").id


@pytest.fixture
def merged_twice(client, lakefs, lakefs_repository):
    """A merge of two commits on ``dev`` into ``main``, which had ``base`` and ``old``; returns the three ids."""
    commit_on(lakefs, lakefs_repository, base="0", old="0")
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    first = commit_on(lakefs, lakefs_repository, "dev", a="1", base="1")
    second = commit_on(lakefs, lakefs_repository, "dev", delete=["old"], b="1", c="1")
    return first, second, merge(client, lakefs_repository)


@pytest.mark.parametrize("which", ["changed", "added and deleted", "all, and one written again", "one, by a merge"])
def test_a_merge_that_was_partly_reverted_is_not_taken_for_the_effect(
    client, lakefs, lakefs_repository, merged_twice, which
):
    first, second, merged = merged_twice
    if which == "changed":
        revert_on_main(lakefs, lakefs_repository, first)
    elif which == "added and deleted":
        revert_on_main(lakefs, lakefs_repository, second)
    elif which == "one, by a merge":
        lakefs.client.branches.create(lakefs_repository, name="fix", source="main")
        commit_on(lakefs, lakefs_repository, "fix", delete=["b"])
        lakefs.client.refs.merge(lakefs_repository, "fix", "main")
    else:
        revert_on_main(lakefs, lakefs_repository, merged, parent_number=1)
        commit_on(lakefs, lakefs_repository, a="2", b="2", base="2", c="2")
    commit_on(lakefs, lakefs_repository, other="1")
    for retried in (True, False):
        with pytest.raises(errors.Undone, match="undid at least a part of its changes") as caught:
            merge(client, lakefs_repository, retried=retried)
        assert caught.value.commit_id == merged
    lakefs.client.branches.delete(lakefs_repository, "dev")
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    commit_on(lakefs, lakefs_repository, "dev", a="1", b="1", c="1", base="1")
    assert merge(client, lakefs_repository, retried=True) != merged


@pytest.mark.parametrize(
    "change",
    [
        {"a": "2"},
        {"base": "0"},  # the bytes from before the merge, but written again
        {"old": "0"},
        {"delete": ["a", "b", "c"], "d": "1"},  # files replaced by others
        {"delete": ["b"], "a": "2"},
        {"delete": ["base"]},
        {"other": "1"},
    ],
)
def test_an_ordinary_change_of_merged_objects_undoes_nothing(client, lakefs, lakefs_repository, merged_twice, change):
    if set(change) == {"delete", "a"}:
        time.sleep(1.1)  # the date of a commit and the time of an object have seconds
    commit_on(lakefs, lakefs_repository, **change)
    commit_on(lakefs, lakefs_repository, other="2")
    assert merge(client, lakefs_repository, retried=True) == merged_twice[2]


def test_the_search_for_undone_changes_skips_the_pages_in_between(client, proxy, lakefs, lakefs_repository, write):
    """Thirty objects in the merge and thirty after it, in pages of two, of which one object is in both."""
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    commit_on(lakefs, lakefs_repository, "dev", **{f"m{n:02}x": "1" for n in range(30)})
    merged = merge(client, lakefs_repository)
    commit_on(lakefs, lakefs_repository, m29x="2", **{f"a{n:02}": "1" for n in range(15)})
    commit_on(lakefs, lakefs_repository, **{f"z{n:02}": "1" for n in range(15)})
    commit = lakefs.client.commits.get(lakefs_repository, merged)
    page = Listing.page
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Listing, "page", lambda self, *, after=None, amount=2: page(self, after=after, amount=amount))
        proxy.requests.clear()
        assert not is_undone(client, lakefs_repository, commit, "main")
    assert len(proxy.requests) <= 6


def test_a_retried_merge_takes_new_content_of_its_source(client, lakefs, lakefs_repository, dev, write):
    first = merge(client, lakefs_repository)
    write("dev", a="other bytes")
    lakefs.client.commits.create(lakefs_repository, "dev", message="again")
    second = merge(client, lakefs_repository, retried=True)
    assert second != first
    assert lakefs.client.objects.get(lakefs_repository, "main", "a") == b"other bytes"
    assert merge(client, lakefs_repository, retried=True) == second


def test_a_retried_merge_stands_although_others_replaced_its_objects(client, lakefs, lakefs_repository, dev, write):
    first = merge(client, lakefs_repository)
    write(a="newer")
    lakefs.client.commits.create(lakefs_repository, "main", message="replace")
    assert merge(client, lakefs_repository, retried=True) == first
    lakefs.client.branches.delete(lakefs_repository, "dev")
    assert merge(client, lakefs_repository, retried=True) == first


@pytest.mark.parametrize("retried", [True, False])
def test_a_commit_that_was_reverted_is_not_taken_for_the_effect(client, lakefs, lakefs_repository, write, retried):
    write(base="0")
    commit(client, lakefs_repository, key="base")
    write(a="1")
    revert_on_main(lakefs, lakefs_repository, commit(client, lakefs_repository))
    with pytest.raises(errors.Undone):
        commit(client, lakefs_repository, retried=retried)


def test_an_effect_is_found_behind_any_number_of_commits(client, lakefs, lakefs_repository, write, monkeypatch):
    monkeypatch.setattr(
        "lakefs_ops.listing.Listing.__init__.__kwdefaults__", {"after": None, "limit": None, "page_size": 3}
    )
    write(a="1")
    first = commit(client, lakefs_repository)
    for number in range(10):
        write(other=str(number))
        commit(lakefs.client, lakefs_repository, key=f"other {number}")
    write(b="staged by others")
    assert commit(client, lakefs_repository, retried=True) == first


def test_a_search_that_does_not_reach_the_first_commit_is_unknown(client, lakefs_repository, write, monkeypatch):
    monkeypatch.setattr("lakefs_ops.flows.attempts.LOG_LIMIT", 2)
    for number in range(3):
        write(a=str(number))
        commit(client, lakefs_repository, key=f"other {number}")
    with pytest.raises(OutcomeUnknown, match="older ones were not searched"):
        commit(client, lakefs_repository, retried=True)


def squash(client, repository, **more):
    return Step(client, repository, "squash", **more).merge("dev", "main", squash_merge=True)


def empty(client, repository, **more):
    return Step(client, repository, "empty", **more).commit("main", message="land", allow_empty=True)


@pytest.mark.parametrize("verb", [pick, undo, squash, empty, propose])
def test_two_callers_at_once_take_effect_once_without_a_parameter(client, lakefs, lakefs_repository, write, dev, verb):
    write(b="2")
    commit(lakefs.client, lakefs_repository, key="before")
    before = len(log(lakefs, lakefs_repository))
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(lambda _: verb(client, lakefs_repository), range(2)))) == 1
    pulls = len(list(lakefs.client.pulls.list(lakefs_repository)))
    assert (len(log(lakefs, lakefs_repository)) - before, pulls) == ((0, 1) if verb is propose else (1, 0))


def test_the_effect_of_an_earlier_step_counts_while_nothing_has_changed(client, lakefs, lakefs_repository, write, dev):
    first, again = Step(client, lakefs_repository, "a"), Step(client, lakefs_repository, "a#1", earlier_keys=("a",))
    proposed = propose(client, lakefs_repository, key="a")
    assert propose(client, lakefs_repository, key="a#1", earlier_keys=("a",)) == proposed
    merged = first.merge("dev", "main")
    assert again.merge("dev", "main", if_nothing="skip") == merged
    lakefs.client.pulls.update(lakefs_repository, proposed, status="closed")
    assert propose(client, lakefs_repository, key="a#1", earlier_keys=("a",)) != proposed
    write(b="2")
    committed = first.commit("main", message="land")
    assert again.commit("main", message="land", if_nothing="succeed") == committed
    lakefs.client.branches.revert(lakefs_repository, "main", ref=committed, parent_number=0)
    with pytest.raises(errors.Undone, match=r"step 'a' took effect on 'main'.*a later commit"):
        again.commit("main", message="land", if_nothing="succeed")
    write(b="3")
    assert again.commit("main", message="land") != committed


def test_a_pull_request_is_found_by_a_key_with_line_breaks(client, lakefs, lakefs_repository, dev):
    first = Step(client, lakefs_repository, "two\nlines\u2028").pull_request("dev", "main", title="t")
    again = Step(client, lakefs_repository, "two\nlines\u2028", retried=True).pull_request("dev", "main", title="t")
    assert again == first
    assert len(list(lakefs.client.pulls.list(lakefs_repository))) == 1


def test_a_misspelled_choice_is_refused_before_anything_is_sent(client, lakefs, lakefs_repository, write):
    step, before = Step(client, lakefs_repository, "key"), lakefs.faults.calls.total()
    calls = {
        "commit": lambda **wrong: step.commit("main", message="land", **wrong),
        "merge": lambda **wrong: step.merge("dev", "main", **wrong),
        "revert": lambda **wrong: step.revert("main", "main", **wrong),
        "cherry-pick": lambda **wrong: step.cherry_pick("main", "dev", **wrong),
        "publish": lambda **wrong: WriteAuditPublish(client, lakefs_repository, key="k", **wrong),
    }
    for call in calls.values():
        with pytest.raises(errors.InvalidArgument, match="if_nothing must be one of 'fail', 'skip', 'succeed'"):
            call(if_nothing="succed")
    for name in ("merge", "publish"):
        with pytest.raises(errors.InvalidArgument, match="strategy must be one of None, 'source-wins'"):
            calls[name](strategy="ours")
    with pytest.raises(
        errors.InvalidArgument, match="clean_up must be 'success', 'never' or a timedelta, got 'always'"
    ):
        calls["publish"](clean_up="always")
    assert lakefs.faults.calls.total() == before


def test_nothing_to_do_is_a_choice(client, lakefs, lakefs_repository, write, dev):
    step = Step(client, lakefs_repository, "key")
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    with pytest.raises(errors.NothingToDo, match="nothing to commit"):
        step.commit("main", message="land", if_nothing="skip")
    assert step.commit("main", message="land", if_nothing="succeed") == head
    merged = lakefs.client.refs.merge(lakefs_repository, "dev", "main").reference
    write(b="2")
    commit(lakefs.client, lakefs_repository, key="unrelated")
    with pytest.raises(errors.NothingToDo):
        step.merge("dev", "main", if_nothing="skip")
    with pytest.raises(errors.NoChanges) as caught:
        step.merge("dev", "main")
    assert not isinstance(caught.value, errors.NothingToDo)
    assert step.merge("dev", "main", if_nothing="succeed") == merged


def test_a_revert_without_effect_advises_a_hard_reset(client, lakefs, lakefs_repository, write, to_undo):
    Step(client, lakefs_repository, "undo").revert("main", to_undo)
    with pytest.raises(errors.NoChanges, match="hard_reset"):
        Step(client, lakefs_repository, "undo again").revert("main", to_undo)


def test_an_empty_key_is_refused(client, lakefs_repository):
    with pytest.raises(errors.InvalidArgument, match="key must identify the logical step"):
        commit(client, lakefs_repository, key="")


def test_nothing_listens_there_says_so_after_the_budget(lakefs_repository):
    from lakefs_ops import Config, LakeFSClient, Retries

    config = Config(endpoint="127.0.0.1:1", retries=Retries(count=1, first_wait=0.01))
    with LakeFSClient(config=config) as client, pytest.raises(errors.ConnectionFailed, match="nothing listening"):
        commit(client, lakefs_repository)
