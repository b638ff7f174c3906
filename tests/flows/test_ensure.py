"""The verbs without a key may be repeated: they accept what exists as wanted, and nothing else."""

import pytest

from lakefs_ops import errors
from lakefs_ops.flows import ensure
from lakefs_ops.flows.attempts import OutcomeUnknown
from lakefs_ops.flows.step import Step
from lakefs_ops.local.faults import Fault


def test_a_branch_is_made_once(client, proxy, lakefs_repository):
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches")
    first = ensure.ensure_branch(client, lakefs_repository, "run", source="main")
    assert ensure.ensure_branch(client, lakefs_repository, "run", source="main") == first


def test_a_branch_of_others_is_a_conflict_that_says_whose(client, lakefs_repository, dev):
    with pytest.raises(errors.AlreadyExists, match=r"'dev' exists .*'work' by quickstart"):
        ensure.ensure_branch(client, lakefs_repository, "dev", source="main", retried=True, key="dag/run")


def test_a_retried_run_finds_the_branch_it_committed_on(client, lakefs_repository, write):
    ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run")
    write("run", a="1")
    made = Step(client, lakefs_repository, "dag/run/land").commit("run", message="land")
    assert ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run", retried=True) == made
    with pytest.raises(errors.AlreadyExists):
        ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run")


def test_a_retried_run_keeps_its_snapshot_when_the_source_moved(client, lakefs, lakefs_repository, write):
    first = ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run")
    write(a="1")
    lakefs.client.commits.create(lakefs_repository, "main", message="land")
    assert ensure.ensure_branch(client, lakefs_repository, "run", source="main", key="dag/run", retried=True) == first


def test_tags_and_repositories_are_made_once(client, proxy, lakefs, lakefs_repository, write):
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/tags")
    first = ensure.ensure_tag(client, lakefs_repository, "v1", ref="main")
    assert ensure.ensure_tag(client, lakefs_repository, "v1", ref="main") == first
    write(a="1")
    lakefs.client.commits.create(lakefs_repository, "main", message="land")
    with pytest.raises(errors.AlreadyExists, match=r"tag 'v1' exists .* points to commit"):
        ensure.ensure_tag(client, lakefs_repository, "v1", ref="main")
    name = f"{lakefs_repository}-two"
    namespace = f"{client.repositories.get(lakefs_repository).storage_namespace}-two"
    proxy.lose("POST /api/v1/repositories ")
    assert ensure.ensure_repository(client, name, storage_namespace=namespace).id == name
    with pytest.raises(errors.AlreadyExists, match="stores its data in"):
        ensure.ensure_repository(client, name, storage_namespace=f"{namespace}-elsewhere")


def test_a_branch_is_deleted_once(client, proxy, lakefs_repository, dev):
    proxy.lose(f"DELETE /api/v1/repositories/{lakefs_repository}/branches/dev")
    assert ensure.delete_branch_if_exists(client, lakefs_repository, "dev", discard=True)
    assert not ensure.delete_branch_if_exists(client, lakefs_repository, "dev", discard=True)


@pytest.mark.parametrize(
    ("staged", "text"), [(True, "1 uncommitted changes, and 0"), (False, "0 uncommitted changes, and 1")]
)
def test_unpublished_work_is_deleted_only_on_demand(client, lakefs, lakefs_repository, write, dev, staged, text):
    if staged:
        lakefs.client.refs.merge(lakefs_repository, "dev", "main")
        write("dev", late="1")
    with pytest.raises(errors.UnpublishedChanges, match=rf"branch 'dev' .* is kept: {text} .*discard=True") as caught:
        ensure.delete_branch_if_exists(client, lakefs_repository, "dev")
    assert (caught.value.branch, caught.value.uncommitted, caught.value.unmerged) == ("dev", staged, not staged)
    assert ensure.delete_branch_if_exists(client, lakefs_repository, "dev", discard=True)


def test_a_published_branch_is_deleted(client, lakefs, lakefs_repository, dev):
    lakefs.client.refs.merge(lakefs_repository, "dev", "main", squash_merge=True)
    assert ensure.delete_branch_if_exists(client, lakefs_repository, "dev", into="main")


def test_a_branch_that_others_created_again_is_not_deleted(client, lakefs, lakefs_repository, write, dev, mocker):
    delete = client.branches.delete

    def delete_and_let_others_create_it_again(*args, **more):
        delete(*args, **more)
        lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
        raise errors.ConnectionFailed("lost", operation="deleteBranch", endpoint="", sent=True)

    mocker.patch.object(client.branches, "delete", delete_and_let_others_create_it_again)
    with pytest.raises(OutcomeUnknown, match="deleted and created again"):
        ensure.delete_branch_if_exists(client, lakefs_repository, "dev", discard=True)
    assert lakefs.client.branches.get(lakefs_repository, "dev")


def own(client, repository, key="dag/run-1", **more):
    return ensure.ensure_branch(client, repository, "shared", source="main", key=key, **more)


def test_the_branch_of_another_run_is_never_taken(client, lakefs, lakefs_repository, write):
    """Neither by a first attempt nor by a retry, empty or not, and prefixes are not identity."""
    head = own(client, lakefs_repository)
    for key in ("dag/run-10", "dag/run", "dag/run-2", "dag"):
        for retried in (False, True):
            with pytest.raises(errors.AlreadyExists, match="was not created by this run"):
                own(client, lakefs_repository, key=key, retried=retried)
    write("shared", staged="by run-1")
    assert own(client, lakefs_repository, retried=True) == head
    with pytest.raises(errors.AlreadyExists):
        own(client, lakefs_repository)


@pytest.mark.parametrize("retried", [False, True])
def test_a_branch_made_by_hand_is_never_taken(client, lakefs, lakefs_repository, retried):
    lakefs.client.branches.create(lakefs_repository, name="shared", source="main")
    with pytest.raises(errors.AlreadyExists):
        own(client, lakefs_repository, retried=retried)


@pytest.mark.parametrize("what", ["request", "reply"])
@pytest.mark.parametrize("path", ["branches", "commits"])
def test_a_run_finds_its_branch_after_a_lost_message(client, proxy, lakefs_repository, what, path):
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/{path} ", what)
    assert own(client, lakefs_repository) == own(client, lakefs_repository, retried=True)


def test_a_run_finds_its_branch_after_it_was_published(client, lakefs, lakefs_repository, write):
    own(client, lakefs_repository)
    write("shared", a="1")
    made = Step(client, lakefs_repository, "dag/run-1/land").commit("shared", message="land")
    lakefs.client.refs.merge(lakefs_repository, "shared", "main")
    assert own(client, lakefs_repository, retried=True) == made


def test_a_run_that_may_not_record_commits_creates_its_branch_at_the_source(
    client, lakefs, lakefs_repository, write, mocker
):
    refused = errors.PermissionDenied("no", status=403, reason="", operation="CreateCommitRecord", endpoint="")
    mocker.patch.object(client.commits, "create_record", side_effect=refused)
    assert own(client, lakefs_repository) == lakefs.client.branches.get(lakefs_repository, "main").commit_id
    with pytest.raises(errors.AlreadyExists):
        own(client, lakefs_repository, retried=True)
    write("shared", a="1")
    made = Step(client, lakefs_repository, "dag/run-1/land").commit("shared", message="land")
    assert own(client, lakefs_repository, retried=True) == made
    with pytest.raises(errors.AlreadyExists):
        own(client, lakefs_repository, key="dag/run", retried=True)


def test_a_branch_with_uncommitted_changes_is_not_as_wanted(client, lakefs_repository, write):
    ensure.ensure_branch(client, lakefs_repository, "run", source="main")
    write("run", foreign="1")
    with pytest.raises(errors.AlreadyExists):
        ensure.ensure_branch(client, lakefs_repository, "run", source="main")


def test_a_repository_is_compared_without_a_slash_at_the_end_and_with_its_branch(client, lakefs_repository):
    namespace = client.repositories.get(lakefs_repository).storage_namespace
    wanted = {"storage_namespace": f"{namespace}/"}
    assert ensure.ensure_repository(client, lakefs_repository, **wanted).id == lakefs_repository
    assert ensure.ensure_repository(client, lakefs_repository, default_branch="main", **wanted)
    with pytest.raises(errors.AlreadyExists, match=r"with the default branch 'main', not in .* with 'trunk'"):
        ensure.ensure_repository(client, lakefs_repository, default_branch="trunk", **wanted)


def test_a_deleted_repository_that_the_server_still_has_in_its_cache_is_not_accepted(
    client, lakefs, lakefs_repository, mocker
):
    stale = client.repositories.get(lakefs_repository)
    client.repositories.delete(lakefs_repository)
    if lakefs.server:  # which has no cache
        message = "error creating repository: not unique"
        lakefs.faults.add(Fault("createRepository", action="status", status=409, message=message, times=None))
        mocker.patch.object(client.repositories, "get", return_value=stale)
    with pytest.raises(errors.AlreadyExists):
        ensure.ensure_repository(client, lakefs_repository, storage_namespace=stale.storage_namespace)


def test_a_user_who_may_not_list_repositories_creates_one_once(client, lakefs, lakefs_repository):
    namespace = client.repositories.get(lakefs_repository).storage_namespace
    lakefs.faults.add(Fault("listRepositories", action="status", status=403, message="insufficient permissions"))
    assert ensure.ensure_repository(client, lakefs_repository, storage_namespace=namespace).id == lakefs_repository


def test_a_tag_is_found_although_its_ref_moved_after_a_lost_reply(client, lakefs, lakefs_repository, write, mocker):
    create, first = client.tags.create, lakefs.client.branches.get(lakefs_repository, "main").commit_id

    def create_and_lose_the_reply(*args, **more):
        mocker.stopall()
        create(*args, **more)
        write(a="1")
        lakefs.client.commits.create(lakefs_repository, "main", message="move")
        raise errors.ConnectionFailed("lost", operation="createTag", endpoint="", sent=True)

    mocker.patch.object(client.tags, "create", create_and_lose_the_reply)
    assert ensure.ensure_tag(client, lakefs_repository, "v1", ref="main") == first


@pytest.fixture
def moved(lakefs, lakefs_repository, write):
    """Two commits of main: the wanted head, and the present one."""
    first = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    write(a="1")
    return first, lakefs.client.commits.create(lakefs_repository, "main", message="move").id


@pytest.mark.parametrize("what", ["request", "reply"])
def test_a_hard_reset_is_repeated_only_if_nobody_committed(client, proxy, lakefs, lakefs_repository, moved, what):
    wanted, head = moved
    proxy.lose(f"PUT /api/v1/repositories/{lakefs_repository}/branches/main/hard_reset", what)
    assert ensure.hard_reset(client, lakefs_repository, "main", ref=wanted, expected_head=head) == wanted
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == wanted


def test_a_hard_reset_does_not_drop_the_commits_of_others(
    client, proxy, lakefs, lakefs_repository, write, moved, mocker
):
    wanted, head = moved
    reset = client.branches.hard_reset

    def lose_the_reply_while_somebody_commits(*args, **more):
        reset(*args, **more)
        write(b="2")
        lakefs.client.commits.create(lakefs_repository, "main", message="other")
        raise errors.ConnectionFailed("lost", operation="hardResetBranch", endpoint="", sent=True)

    mocker.patch.object(client.branches, "hard_reset", lose_the_reply_while_somebody_commits)
    with pytest.raises(errors.PreconditionFailed, match="it was not moved"):
        ensure.hard_reset(client, lakefs_repository, "main", ref=wanted, expected_head=head)
    assert lakefs.client.objects.get(lakefs_repository, "main", "b") == b"2"


def test_a_reset_is_not_repeated_blindly(client, proxy, lakefs_repository, write):
    write(a="1")
    proxy.lose(f"PUT /api/v1/repositories/{lakefs_repository}/branches/main")
    with pytest.raises(errors.ConnectionFailed):
        client.branches.reset(lakefs_repository, "main", type="reset")
    assert len(proxy.requests) == 1


def test_a_merged_pull_request_that_was_undone_does_not_stand(client, lakefs, lakefs_repository, dev):
    pull = Step(client, lakefs_repository, "key").pull_request("dev", "main", title="work")
    merged = ensure.merge_pull_request(client, lakefs_repository, pull)
    assert ensure.merge_pull_request(client, lakefs_repository, pull) == merged
    lakefs.client.branches.revert(lakefs_repository, "main", ref=merged, parent_number=1)
    with pytest.raises(errors.Undone, match=f"pull request {pull} was merged into 'main'"):
        ensure.merge_pull_request(client, lakefs_repository, pull)
