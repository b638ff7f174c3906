"""Write, audit, publish: as a context manager, in steps, after failures."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakefs_ops import LakeFSClient, Retries, errors
from lakefs_ops.flows import ensure, publish
from lakefs_ops.flows import sweep as sweeping
from lakefs_ops.flows.step import Step
from lakefs_ops.flows.sweep import SweepIncomplete, sweep


def no_problem(run):
    """A check that finds nothing."""


def empty_object(run):
    for entry in run.client.objects.list(run.repository, run.branch):
        if entry.size_bytes == 0:
            yield f"{entry.path} is empty"


def test_what_passes_is_published_by_one_merge(lakefs, lakefs_repository):
    client = lakefs.client
    with publish.WriteAuditPublish(client, lakefs_repository, key="daily/1", tag="day-1") as run:
        client.objects.upload(lakefs_repository, run.branch, "a", b"1")
        run.audit(no_problem, empty_object)
    head = client.refs.log(lakefs_repository, "main").first()
    assert head.id == run.published
    assert head.parents[1] == run.audited
    assert client.tags.get(lakefs_repository, "day-1").commit_id == run.published
    assert client.objects.get(lakefs_repository, "main", "a") == b"1"
    with pytest.raises(errors.BranchNotFound):
        client.branches.get(lakefs_repository, run.branch)


@pytest.fixture
def late_upload(client, proxy, lakefs, lakefs_repository):
    """The upload of a first attempt that a proxy holds back, and the retry's upload of other content."""

    def late_upload(branch, **condition):
        proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches/{branch}/objects", "gateway")
        with (
            LakeFSClient(config=replace(client.config, retries=Retries(count=0))) as first,
            pytest.raises(errors.ServerError),
        ):
            first.objects.upload(lakefs_repository, branch, "a", b"first attempt", **condition)
        return lakefs.client.objects.upload(lakefs_repository, branch, "a", b"retry", **condition)

    return late_upload


def test_a_late_upload_of_an_earlier_attempt_does_not_pass_a_check_of_what_was_written(
    client, proxy, lakefs, lakefs_repository, late_upload
):
    run = publish.WriteAuditPublish(client, lakefs_repository, key="daily/1", retried=True)
    run.open()
    written = late_upload(run.branch)
    proxy.settle()
    assert client.objects.get(lakefs_repository, run.branch, "a") == b"first attempt"

    def same_content(run):
        found = client.objects.stat(run.repository, run.ref, written.path)
        if found.checksum != written.checksum:
            yield f"{written.path} is not as this run wrote it"

    with pytest.raises(publish.AuditFailed, match="a is not as this run wrote it"):
        run.audit(same_content)
    client.objects.upload(lakefs_repository, run.branch, "a", b"retry")
    run.audit(same_content)
    run.publish()
    assert client.objects.get(lakefs_repository, "main", "a") == b"retry"


def test_a_late_upload_of_an_earlier_attempt_is_not_published_after_the_audit(
    client, proxy, lakefs, lakefs_repository, late_upload
):
    run = publish.WriteAuditPublish(client, lakefs_repository, key="daily/1", retried=True)
    run.open()
    late_upload(run.branch)
    run.audit(no_problem)
    proxy.settle()
    with pytest.raises(publish.UnauditedChanges):
        run.publish()
    assert not list(client.objects.list(lakefs_repository, "main"))


def test_a_late_upload_of_an_earlier_attempt_does_not_replace_an_object_that_had_to_be_new(
    client, proxy, lakefs_repository, late_upload
):
    run = publish.WriteAuditPublish(client, lakefs_repository, key="daily/1", retried=True)
    run.open()
    late_upload(run.branch, if_none_match="*")
    proxy.settle()
    run.audit(no_problem)
    run.publish()
    assert client.objects.get(lakefs_repository, "main", "a") == b"retry"


def test_what_fails_is_kept_and_says_where(lakefs, lakefs_repository):
    client = lakefs.client
    before = client.branches.get(lakefs_repository, "main")
    with (
        pytest.raises(
            publish.AuditFailed, match=r"1 of 2 checks failed .*empty_object: a is empty.*/compare\?"
        ) as caught,
        publish.WriteAuditPublish(client, lakefs_repository, key="daily/1") as run,
    ):
        client.objects.upload(lakefs_repository, run.branch, "a", b"")
        run.audit(no_problem, empty_object)
    assert [result.passed for result in caught.value.results] == [True, False]
    assert client.branches.get(lakefs_repository, "main") == before
    assert client.objects.get(lakefs_repository, run.branch, "a") == b""


def test_steps_in_different_processes_need_only_the_key(lakefs, lakefs_repository):
    def run(**more):
        return publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="daily/2", **more)

    assert run().state() == "absent"
    run().open()
    lakefs.client.objects.upload(lakefs_repository, run().branch, "a", b"1")
    auditing = run()
    auditing.audit(no_problem)
    assert run().state() == "open"
    published = run().publish(auditing.audited)
    assert run().state() == "published"
    assert run(retried=True).publish(auditing.audited) == published
    assert [c.message for c in lakefs.client.refs.log(lakefs_repository, "main", first_parent=True)] == [
        "Publish daily/2",
        "Repository created",
    ]


def test_what_was_not_audited_is_not_published(lakefs, lakefs_repository):
    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k")
    run.open()
    with pytest.raises(errors.InvalidArgument, match="call audit\\(\\) first"):
        run.publish()


@pytest.fixture
def audited(lakefs, lakefs_repository):
    """A run that wrote ``a`` and passed its audit."""
    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k")
    run.open()
    lakefs.client.objects.upload(lakefs_repository, run.branch, "a", b"1")
    run.audit(no_problem)
    return run


def paths(run, ref="main"):
    return [entry.path for entry in run.client.objects.list(run.repository, ref)]


def put(run, path, content=b"1"):
    run.client.objects.upload(run.repository, run.branch, path, content)


def test_uncommitted_changes_after_the_audit_are_refused_and_kept(audited):
    put(audited, "late")
    with pytest.raises(publish.UnauditedChanges, match="has uncommitted changes since the audit") as caught:
        audited.publish()
    assert isinstance(caught.value, errors.DirtyBranch)
    assert isinstance(caught.value, publish.NotAudited)
    assert caught.value.branch == audited.branch
    assert "/compare?" in caught.value.url
    assert (paths(audited), paths(audited, audited.branch)) == ([], ["a", "late"])
    audited.audit(no_problem)
    audited.publish()
    assert paths(audited) == ["a", "late"]


def test_a_commit_after_the_audit_is_refused_and_kept(audited):
    put(audited, "late")
    audited.client.commits.create(audited.repository, audited.branch, message="late")
    with pytest.raises(publish.NotAudited, match=r"points to commit .* but commit .* was audited"):
        audited.publish()
    assert (paths(audited), paths(audited, audited.branch)) == ([], ["a", "late"])


def test_an_upload_after_the_audit_in_a_with_block_is_an_error(lakefs, lakefs_repository):
    with (
        pytest.raises(errors.DirtyBranch),
        publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k") as run,
    ):
        put(run, "a")
        run.audit(no_problem)
        put(run, "late")
    assert (paths(run), paths(run, run.branch)) == ([], ["a", "late"])


def test_what_arrives_during_the_merge_is_kept_with_its_branch(audited, mocker, caplog):
    merge = audited.client.refs.merge

    def merge_while_somebody_writes(*args, **more):
        put(audited, "late")
        return merge(*args, **more)

    mocker.patch.object(audited.client.refs, "merge", merge_while_somebody_writes)
    audited.publish()
    assert (paths(audited), paths(audited, audited.branch)) == (["a"], ["a", "late"])
    assert f"branch '{audited.branch}'" in caplog.text
    assert "1 uncommitted changes" in caplog.text
    with pytest.raises(errors.UnpublishedChanges):
        audited.close()
    assert audited.close(discard=True)
    assert not audited.close()


@pytest.mark.parametrize("clean_up", ["success", "never"])
def test_one_object_can_publish_again(audited, clean_up):
    audited.clean_up = clean_up
    first = audited.publish()
    assert audited.publish() == first
    audited.open()
    put(audited, "b")
    audited.audit(no_problem)
    assert audited.publish() != first
    assert paths(audited) == ["a", "b"]


def test_publishing_again_does_not_overlook_what_happened_since(audited):
    audited.clean_up = "never"
    first = audited.publish()
    put(audited, "late")
    with pytest.raises(publish.UnauditedChanges, match="nothing new of run 'k' was merged"):
        audited.publish()
    audited.client.branches.reset(audited.repository, audited.branch, type="reset")
    assert audited.publish() == first
    audited.client.branches.revert(audited.repository, "main", ref=first, parent_number=1)
    with pytest.raises(errors.Undone):
        audited.publish()


def test_publishing_nothing_again_returns_the_same_commit(lakefs, lakefs_repository):
    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k")
    run.open()
    run.audit()
    assert run.publish() == run.publish()


def test_a_failed_audit_is_never_published(lakefs, lakefs_repository):
    """Not at the end of the block, and not by the verdict of an earlier audit of the same commit."""
    with (
        pytest.raises(publish.NotAudited, match=r"the last audit of branch .* did not pass"),
        publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k") as run,
    ):
        put(run, "a", b"")
        run.audit(no_problem)
        with pytest.raises(publish.AuditFailed):
            run.audit(empty_object)
        with pytest.raises(errors.InvalidArgument, match="call audit"):
            run.publish()
    assert paths(run) == []


def test_each_check_passes_on_the_commit_that_is_published(lakefs, lakefs_repository):
    """Not on an earlier one, whose objects were changed before the last audit."""
    ran = []

    def first(run):
        ran.append(("first", run.ref))
        return [] if run.client.objects.get(run.repository, run.ref, "a") else ["a is empty"]

    def second(run):
        ran.append(("second", run.ref))

    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k")
    run.open()
    put(run, "a")
    run.audit(first)
    put(run, "b")
    assert [result.name for result in run.audit(second)] == ["first", "second"]
    run.audit(second)
    one, two = dict.fromkeys(ref for _, ref in ran)
    assert ran == [("first", one), ("first", two), ("second", two), ("second", two)]
    put(run, "a", b"")
    for checks in ([second], []):
        with pytest.raises(publish.AuditFailed, match="first: a is empty"):
            run.audit(*checks)
        with pytest.raises(errors.InvalidArgument, match="call audit"):
            run.publish()
    put(run, "a", b"2")
    run.audit()
    run.publish()
    assert paths(run) == ["a", "b"]


def test_a_check_that_breaks_off_has_no_verdict(lakefs, lakefs_repository):
    def broken(run):
        raise ZeroDivisionError

    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k")
    run.open()
    put(run, "a")
    for checks in ([broken, no_problem], [no_problem]):
        with pytest.raises(ZeroDivisionError):
            run.audit(*checks)
        with pytest.raises(errors.InvalidArgument, match="call audit"):
            run.publish()


def test_checks_read_the_sealed_commit(lakefs, lakefs_repository):
    def overwrite_and_read(run):
        put(run, "a", b"2")
        assert run.ref == run.sealed
        assert run.client.objects.get(run.repository, run.ref, "a") == b"1"

    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k")
    run.open()
    put(run, "a")
    run.audit(overwrite_and_read)
    with pytest.raises(publish.UnauditedChanges):
        run.publish()


def test_partitions_can_be_sealed_one_by_one_although_messages_are_lost(client, proxy, lakefs_repository):
    run = publish.WriteAuditPublish(client, lakefs_repository, key="k")
    run.open()
    sealed = []
    for number, what in enumerate(["reply", "request", "reply", "request"]):
        put(run, f"p{number}")
        proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches/{run.branch}/commits", what)
        sealed.append(run.seal())
    run.audit()
    run.publish()
    assert len(set(sealed)) == 4
    assert paths(run) == ["p0", "p1", "p2", "p3"]


def test_a_run_without_its_branch_is_not_published(audited):
    audited.client.branches.delete(audited.repository, audited.branch)
    with pytest.raises(publish.NotAudited, match="does not exist any more"):
        audited.publish()
    assert paths(audited) == []


def test_an_audited_commit_that_does_not_exist_is_named(audited):
    unknown = "0" * 64
    with pytest.raises(errors.CommitNotFound, match=f"audited commit '{unknown}' does not exist"):
        audited.publish(unknown)
    for ref in ("None", audited.branch, audited.audited[:12]):
        with pytest.raises(errors.InvalidArgument, match="full id of a commit"):
            audited.publish(ref)
    assert paths(audited) == []


def test_a_branch_that_was_deleted_during_the_run_is_not_created_again(audited):
    assert audited.open() == audited.sealed
    audited.client.branches.delete(audited.repository, audited.branch)
    with pytest.raises(publish.NotAudited, match="was deleted during the run"):
        audited.open()
    with pytest.raises(errors.NotFound):
        audited.seal()


@pytest.mark.parametrize("branch", ["", "run-1"])
def test_only_the_first_step_creates_the_branch(lakefs, lakefs_repository, branch):
    """Half of the run's data would be published if a later step, in another process, created the branch again."""

    def run(**more):
        return publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", branch=branch, **more)

    for retried in (False, True):
        with pytest.raises(publish.NotAudited, match=r"the run was never opened; .* write all of its data"):
            run(retried=retried).open(create=False)
    first = run()
    head = first.open()
    assert run(retried=True).open(create=False) == run().open(create=False) == head
    put(first, "a")
    lakefs.client.branches.delete(lakefs_repository, first.branch)
    for retried in (False, True):
        with pytest.raises(publish.NotAudited, match="was deleted during the run"):
            run(retried=retried).open(create=False)
        with pytest.raises(errors.BranchNotFound):
            run(retried=retried).seal()
    assert [b.id for b in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_later_steps_do_not_take_the_branch_of_another_run(lakefs, lakefs_repository):
    """A branch that was deleted during the run, and created again by another run with the same branch name."""

    def run(key, **more):
        return publish.WriteAuditPublish(lakefs.client, lakefs_repository, key=key, branch="run-1", **more)

    run("one").open()
    lakefs.client.branches.delete(lakefs_repository, "run-1")
    two = run("two")
    two.open()
    put(two, "staged by two")
    for step in (lambda: run("one").open(create=False), lambda: run("one").seal(), lambda: run("one").audit()):
        with pytest.raises(errors.AlreadyExists, match="not created by this run"):
            step()
    assert [change.path for change in lakefs.client.branches.diff(lakefs_repository, "run-1")] == ["staged by two"]
    auditing = run("two")
    auditing.audit(no_problem)
    run("two").publish(auditing.audited)
    assert paths(two) == ["staged by two"]


def test_a_branch_that_another_attempt_deletes_while_it_is_sealed_is_named(audited, mocker):
    """Between the refused commit and the search for an earlier one."""
    create = audited.client.commits.create

    def refuse_and_delete(*args, **more):
        try:
            return create(*args, **more)
        finally:
            audited.client.branches.delete(audited.repository, audited.branch)

    mocker.patch.object(audited.client.commits, "create", refuse_and_delete)
    with pytest.raises(errors.BranchNotFound):
        audited.seal()


def test_a_branch_that_another_attempt_deletes_while_it_is_opened_is_created(lakefs, lakefs_repository, mocker):
    client = lakefs.client
    run = publish.WriteAuditPublish(client, lakefs_repository, key="k", retried=True)
    run.open()
    get = client.branches.get

    def delete_and_get(repository, branch):
        mocker.stopall()
        client.branches.delete(repository, branch)
        return get(repository, branch)

    mocker.patch.object(client.branches, "get", delete_and_get)
    again = publish.WriteAuditPublish(client, lakefs_repository, key="k", retried=True)
    assert again.open() == client.branches.get(lakefs_repository, "main").commit_id


def rerun(lakefs, repository, content=b"1", *, key="k", path="a", **more):
    with publish.WriteAuditPublish(lakefs.client, repository, key=key, **more) as run:
        put(run, path, content)
        run.audit(no_problem)
    return run


def test_a_run_that_is_repeated_as_a_whole_has_one_merge(lakefs, lakefs_repository):
    first = rerun(lakefs, lakefs_repository)
    other = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="other", tag="other")
    with other:
        put(other, "b")
    assert rerun(lakefs, lakefs_repository, retried=True).published == first.published
    assert rerun(lakefs, lakefs_repository).published == first.published


@pytest.mark.parametrize("retried", [True, False])
def test_a_run_that_is_repeated_with_other_content_publishes_it(lakefs, lakefs_repository, retried):
    first = rerun(lakefs, lakefs_repository)
    second = rerun(lakefs, lakefs_repository, b"2", retried=retried)
    assert second.published != first.published
    assert lakefs.client.objects.get(lakefs_repository, "main", "a") == b"2"


def test_a_killed_run_whose_repeat_writes_other_bytes_is_published(audited, mocker):
    """The process ended between the merge and the clean-up."""
    mocker.patch.object(audited, "_delete", side_effect=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        audited.publish()
    again = publish.WriteAuditPublish(audited.client, audited.repository, key="k", retried=True)
    with again:
        put(again, "a", b"other bytes")
    assert audited.client.objects.get(audited.repository, "main", "a") == b"other bytes"


def test_a_publication_that_was_reverted_does_not_stand(lakefs, lakefs_repository):
    base = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="base")
    with base:
        put(base, "base")
    first = rerun(lakefs, lakefs_repository, clean_up="never")
    lakefs.client.branches.revert(lakefs_repository, "main", ref=first.published, parent_number=1)
    only_publish = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", retried=True)
    with pytest.raises(errors.Undone, match="write the data again on a new branch"):
        only_publish.publish(first.audited)
    assert only_publish.state() == "open"
    with pytest.raises(errors.UnpublishedChanges):
        only_publish.close()
    only_publish.close(discard=True)
    again = rerun(lakefs, lakefs_repository, retried=True)
    assert again.published != first.published
    assert paths(again) == ["a", "base"]


@pytest.mark.parametrize("process", ["the same", "another"])
def test_a_repeat_does_not_publish_only_the_rest_of_what_was_reverted(lakefs, lakefs_repository, process):
    """A merge of a branch from before the revert takes the removal of its unchanged objects for the newer change."""
    first = rerun(lakefs, lakefs_repository, clean_up="never")
    lakefs.client.branches.revert(lakefs_repository, "main", ref=first.published, parent_number=1)
    again = first
    if process == "another":
        again = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", retried=True)
    again.open()
    put(again, "a")
    put(again, "b")
    again.audit(no_problem)
    with pytest.raises(errors.Undone, match="write the data again on a new branch"):
        again.publish()
    assert (paths(again), paths(again, again.branch)) == ([], ["a", "b"])
    again.close(discard=True)
    anew = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", retried=True)
    with anew:
        put(anew, "a")
        put(anew, "b")
    assert paths(anew) == ["a", "b"]


@pytest.mark.parametrize("partly", [False, True])
def test_a_branch_whose_publication_was_reverted_is_kept(lakefs, lakefs_repository, ahead, partly):
    """It may be the only one that has the data."""
    run = rerun(lakefs, lakefs_repository, clean_up="never")
    put(run, "b")
    second = run.seal()
    run.audit()
    run.publish()
    undo = {"ref": second} if partly else {"ref": run.published, "parent_number": 1}
    lakefs.client.branches.revert(lakefs_repository, "main", **undo)
    for step in (run.close, lambda: ensure.delete_branch_if_exists(lakefs.client, lakefs_repository, run.branch)):
        with pytest.raises(errors.UnpublishedChanges, match="a later commit undid at least a part of its changes"):
            step()
    assert list(sweep(lakefs.client, lakefs_repository, older_than=ahead)) == []
    assert paths(run, run.branch) == ["a", "b"]
    assert run.close(discard=True)


def test_what_brings_nothing_returns_and_tags_the_commit_that_has_it(lakefs, lakefs_repository):
    first = rerun(lakefs, lakefs_repository, clean_up="never")
    unrelated = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="unrelated")
    with unrelated:
        put(unrelated, "b")
    late = publish.WriteAuditPublish(
        lakefs.client, lakefs_repository, key="late", branch=first.branch, tag="late", clean_up="never"
    )
    for _ in range(2):  # the repeat finds its tag on the commit of another run
        assert late.publish(first.audited) == first.published
        assert lakefs.client.tags.get(lakefs_repository, "late").commit_id == first.published
        late = replace(late, retried=True)


@pytest.mark.parametrize(("choice", "kind"), [("fail", errors.NoChanges), ("skip", errors.NothingToDo)])
def test_nothing_to_publish_is_a_choice(lakefs, lakefs_repository, choice, kind):
    with (
        pytest.raises(kind) as caught,
        publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", if_nothing=choice),
    ):
        pass
    assert type(caught.value) is kind


def test_a_tag_that_exists_or_cannot_exist_is_refused_before_the_merge(lakefs, lakefs_repository, audited):
    lakefs.client.tags.create(lakefs_repository, id="taken", ref="main")
    audited.tag = "taken"
    with pytest.raises(errors.AlreadyExists, match="nothing was merged"):
        audited.publish()
    assert paths(audited) == []
    for name in ("", "@", "a/b", "a b", "a..b", "a.lock", "a.", "a^", "a\\b", "a@{b"):
        with pytest.raises(errors.InvalidArgument, match="tag must be a valid tag name"):
            publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", tag=name)


def test_an_error_after_the_merge_has_the_merge_commit(audited, mocker):
    audited.tag = "v1"
    mocker.patch.object(
        audited.client.tags, "create",
        side_effect=errors.HookFailed("no", status=412, reason="", operation="createTag", endpoint=""),
    )  # fmt: skip
    with pytest.raises(errors.HookFailed) as caught:
        audited.publish()
    assert caught.value.published == audited.client.branches.get(audited.repository, "main").commit_id
    mocker.stopall()
    again = publish.WriteAuditPublish(audited.client, audited.repository, key="k", tag="v1", retried=True)
    assert again.publish(audited.audited) == caught.value.published
    assert again.client.tags.get(again.repository, "v1").commit_id == caught.value.published


def test_a_branch_that_may_not_be_deleted_is_a_warning(audited, mocker, caplog):
    refused = errors.HookFailed("pre-delete-branch hook", status=412, reason="", operation="deleteBranch", endpoint="")
    mocker.patch.object(audited.client.branches, "delete", side_effect=refused)
    assert audited.publish() == audited.published
    assert "is published as" in caplog.text
    assert "pre-delete-branch hook" in caplog.text


def test_runs_with_colliding_branch_names_do_not_mix(lakefs, lakefs_repository):
    def run(key, **more):
        return publish.WriteAuditPublish(lakefs.client, lakefs_repository, key=key, branch="run-20240105", **more)

    first = run("one")
    first.open()
    for retried in (False, True):
        with pytest.raises(errors.AlreadyExists, match="not created by this run"):
            run("two", retried=retried).open()
    put(first, "a")
    run("one", retried=True).open()
    for retried in (False, True):
        with pytest.raises(errors.AlreadyExists, match="not created by this run"):
            run("two", retried=retried).open()


def test_a_first_attempt_does_not_take_a_branch_that_holds_something(lakefs, lakefs_repository, mocker):
    """Not even if it carries the run's own name, and the reply of the request to create it was lost."""
    client = lakefs.client
    run = publish.WriteAuditPublish(client, lakefs_repository, key="k")
    client.branches.create(lakefs_repository, name=run.branch, source="main")
    with pytest.raises(errors.AlreadyExists):
        run.open()
    put(run, "staged by hand")
    create = client.branches.create
    lost = errors.ConnectionFailed("lost", operation="createBranch", endpoint="", sent=True)
    mocker.patch.object(client.branches, "create", side_effect=[lost, None])
    client.branches.create.side_effect = iter_then(lost, create)
    with pytest.raises(errors.AlreadyExists):
        run.open()


def iter_then(error, function):
    errors_left = [error]

    def call(*args, **more):
        if errors_left:
            raise errors_left.pop()
        return function(*args, **more)

    return call


SUCCESS, NEVER, A_DAY = "success", "never", timedelta(days=1)

BEFORE = {
    ("", None): {SUCCESS: 10, NEVER: 9, A_DAY: 12},
    ("", "v1"): {SUCCESS: 11, NEVER: 10, A_DAY: 13},
    ("run-1", None): {SUCCESS: 10, NEVER: 9, A_DAY: 10},
    ("run-1", "v1"): {SUCCESS: 11, NEVER: 10, A_DAY: 11},
}
"""The number of requests of a publish before there was a gate, by branch, tag and clean-up."""


@pytest.mark.parametrize("clean_up", [SUCCESS, NEVER, A_DAY], ids=str)
@pytest.mark.parametrize(("branch", "tag"), BEFORE)
def test_a_publish_costs_at_most_two_requests_for_its_gate(client, proxy, lakefs_repository, branch, tag, clean_up):
    run = publish.WriteAuditPublish(
        client, lakefs_repository, key="k", branch=branch, tag=tag, clean_up=clean_up
    )  # fmt: skip
    with run:
        put(run, "a")
        run.audit(no_problem)
    assert len(proxy.requests) <= BEFORE[branch, tag][clean_up] + 2


@pytest.mark.parametrize(
    ("more", "now"),
    [({}, 9), ({"tag": "v1"}, 11), ({"verify": False}, 7), ({"branch": "run-1"}, 11)],
)
def test_the_requests_of_a_publish(client, proxy, lakefs_repository, more, now):
    run = publish.WriteAuditPublish(client, lakefs_repository, key="k", **more)
    with run:
        put(run, "a")
        run.audit(no_problem)
    assert len(proxy.requests) == now


# The permission that lakeFS asks for, by the start of a request below its repository.
PERMISSIONS = {
    r"POST /branches\b(?!/)": "fs:CreateBranch",
    r"GET /branches\b(?!/)": "fs:ListBranches",
    r"GET /branches/[^/]+(?= )": "fs:ReadBranch",
    r"GET /refs/[^/]+/commits\b": "fs:ReadBranch",
    r"DELETE /branches/[^/]+(?= |\?)": "fs:DeleteBranch",
    r"POST /branches/[^/]+/commits\b": "fs:CreateCommit",
    r"POST /refs/[^/]+/merge/": "fs:CreateCommit",
    r"POST /commits\b": "fs:CreateCommit",
    r"POST /branches/[^/]+/objects\?": "fs:WriteObject",
    r"GET /branches/[^/]+/diff\b": "fs:ListObjects",
    r"GET /refs/[^/]+/diff/": "fs:ListObjects",
    r"GET /refs/[^/]+/objects/ls\b": "fs:ListObjects",
    r"GET /refs/[^/]+/objects/stat\b": "fs:ReadObject",
    r"GET /refs/[^/]+/objects\?": "fs:ReadObject",
    r"GET /commits/": "fs:ReadCommit",
    r"GET /refs/[^/]+/merge/": "fs:ListCommits",
    r"POST /tags\b(?!/)": "fs:CreateTag",
    r"GET /tags/": "fs:ReadTag",
}


def test_the_permissions_of_the_page_suffice(client, proxy, lakefs, lakefs_repository, ahead):
    """Whatever a run does: it needs each permission that docs/publish.md lists, and no other one."""

    def reads(run):
        run.client.objects.get(run.repository, run.ref, run.key)

    for key, more in enumerate(({}, {"branch": "run-1"}, {"tag": "v1"}, {"clean_up": timedelta(days=1)})):
        for retried in (False, True):
            with publish.WriteAuditPublish(client, lakefs_repository, key=str(key), retried=retried, **more) as run:
                put(run, run.key)
                run.audit(empty_object, reads)
    lakefs.client.branches.revert(lakefs_repository, "main", ref=run.published, parent_number=1)
    with publish.WriteAuditPublish(client, lakefs_repository, key=run.key, branch="late", retried=True) as late:
        put(late, "late")
    list(sweep(client, lakefs_repository, older_than=ahead, discard=True))

    needed = set()
    for line in proxy.requests:
        method, _, path = line.partition(" /api/v1")
        if path.startswith("/healthcheck"):
            continue
        request = f"{method} {path.removeprefix(f'/repositories/{lakefs_repository}')}"
        found = {action for pattern, action in PERMISSIONS.items() if re.match(pattern, request)}
        assert len(found) == 1, request
        needed |= found
    page = (Path(__file__).parents[2] / "docs" / "publish.md").read_text()
    section = page.partition("## Permissions")[2].partition("\n## ")[0]
    assert needed == set(re.findall(r"fs:[A-Z]\w+", section)) - {"fs:DeleteObject"}  # no object was deleted


REFUSING = b"""
name: size_limit
on:
  pre-merge:
hooks:
  - id: refuse
    type: webhook
    properties:
      url: http://127.0.0.1:9/nobody-listens
"""


def test_a_hook_of_lakefs_can_be_the_audit(lakefs, lakefs_repository):
    client = lakefs.client
    before = client.branches.get(lakefs_repository, "main")
    run = publish.WriteAuditPublish(client, lakefs_repository, key="daily/4")
    run.open()
    client.objects.upload(lakefs_repository, run.branch, "a", b"1")
    client.objects.upload(lakefs_repository, run.branch, "_lakefs_actions/limit.yaml", REFUSING)
    run.audit()
    with pytest.raises(errors.HookFailed) as caught:
        run.publish()
    assert client.actions.get_run(lakefs_repository, caught.value.run_id).status == "failed"
    assert client.branches.get(lakefs_repository, "main") == before
    client.objects.delete(lakefs_repository, run.branch, "_lakefs_actions/limit.yaml")
    again = publish.WriteAuditPublish(client, lakefs_repository, key="daily/4", retried=True)
    again.open()
    again.audit()
    assert client.branches.get(lakefs_repository, "main").commit_id == before.commit_id
    again.publish()
    assert [entry.path for entry in client.objects.list(lakefs_repository, "main")] == ["a"]


def test_branch_names_are_valid_and_differ():
    names = {publish.branch_for(key) for key in ("a/b", "a-b", "a b", "é", "x" * 300)}
    assert len(names) == 5
    assert all(name.replace("-", "").replace("_", "").isalnum() and name.isascii() for name in names)


@pytest.fixture
def ahead():
    """An age that lies in the future, so that every branch is older."""
    return timedelta(seconds=-5)


def test_the_sweeper_takes_what_dead_runs_left_and_nothing_else(lakefs, lakefs_repository, ahead):
    client = lakefs.client
    client.branches.create(lakefs_repository, name="mine", source="main")
    dead = publish.WriteAuditPublish(client, lakefs_repository, key="dead")
    dead.open()
    put(dead, "dead")
    Step(client, lakefs_repository, "dead/write").commit(dead.branch, message="x")
    done = rerun(lakefs, lakefs_repository, clean_up="never")
    fresh = publish.WriteAuditPublish(client, lakefs_repository, key="fresh")
    fresh.open()
    own = publish.WriteAuditPublish(client, lakefs_repository, key="fresh", branch="wap-own")
    own.open()

    def swept(**more):
        return list(sweep(client, lakefs_repository, **more))

    assert swept(older_than=timedelta(hours=1), discard=True) == []
    assert swept(older_than=ahead, dry_run=True) == [done.branch]
    assert swept(older_than=ahead) == [done.branch]
    assert swept(older_than=ahead, dry_run=True, discard=True) == [dead.branch]
    assert swept(older_than=ahead, discard=True) == [dead.branch]
    assert [b.id for b in client.branches.list(lakefs_repository)] == ["main", "mine", fresh.branch, "wap-own"]


def test_the_sweeper_counts_every_uncommitted_change(client, lakefs, lakefs_repository, write, ahead, monkeypatch):
    done = rerun(lakefs, lakefs_repository, clean_up="never")
    write(done.branch, late="1")
    assert list(sweep(client, lakefs_repository, older_than=ahead)) == []
    lakefs.client.objects.delete(lakefs_repository, done.branch, "a")
    assert list(sweep(client, lakefs_repository, older_than=ahead, discard=True)) == []


def test_a_branch_that_another_sweeper_deletes_is_no_refusal(lakefs, lakefs_repository, ahead, mocker):
    runs = [rerun(lakefs, lakefs_repository, clean_up="never", key=key, path=key) for key in ("one", "two")]
    look = sweeping._last_activity

    def delete_and_look(client, repository, branch, line):
        if branch.id == runs[0].branch:
            client.branches.delete(repository, branch.id)
        return look(client, repository, branch, line)

    mocker.patch.object(sweeping, "_last_activity", delete_and_look)
    assert list(sweep(lakefs.client, lakefs_repository, older_than=ahead)) == [runs[1].branch]


def test_the_server_clock_decides(lakefs, lakefs_repository, mocker):
    """A client whose clock is a year ahead does not take a live run for a dead one."""
    rerun(lakefs, lakefs_repository, clean_up="never")
    clock = mocker.patch("lakefs_ops.flows.sweep.datetime")
    clock.now.return_value = datetime.now(UTC) + timedelta(days=365)
    assert list(sweep(lakefs.client, lakefs_repository, older_than=timedelta(hours=1), discard=True)) == []


def test_the_sweeper_takes_several_prefixes_and_goes_on_after_a_refusal(lakefs, lakefs_repository, ahead, mocker):
    client = lakefs.client
    runs = [
        publish.WriteAuditPublish(client, lakefs_repository, key=name, branch=name, clean_up="never")
        for name in ("dagster-1", "dagster-2", "run-1")
    ]
    for run in runs:
        with run:
            put(run, run.key)
    delete = client.branches.delete

    def refuse_one(repository, branch, **more):
        if branch == "dagster-1":
            raise errors.HookFailed("kept by a hook", status=412, reason="", operation="deleteBranch", endpoint="")
        delete(repository, branch, **more)

    mocker.patch.object(client.branches, "delete", refuse_one)
    swept = sweep(client, lakefs_repository, older_than=ahead, prefix=("dagster-", "run-"))
    assert [next(swept), next(swept)] == ["dagster-2", "run-1"]
    with pytest.raises(SweepIncomplete, match="'dagster-1'; the first error: kept by a hook") as caught:
        next(swept)
    assert list(caught.value.refused) == ["dagster-1"]


def test_branches_can_be_kept_for_a_while(lakefs, lakefs_repository):
    client = lakefs.client

    def run(key, days):
        with publish.WriteAuditPublish(client, lakefs_repository, key=key, clean_up=timedelta(days=days)) as run:
            client.objects.upload(lakefs_repository, run.branch, key, b"1")
        return run.branch

    first, second = run("first", 1), run("second", 1)
    assert [b.id for b in client.branches.list(lakefs_repository)] == ["main", first, second]
    run("third", -1)
    assert [b.id for b in client.branches.list(lakefs_repository)] == ["main"]


def test_a_repeat_after_the_branch_was_created_again(lakefs, lakefs_repository):
    """Airflow runs `open` again with any cleared task: the branch is new, and the published commit is as before."""

    def run(**more):
        return publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", branch="run-1", **more)

    first = run()
    first.open()
    put(first, "a")
    first.audit()
    merge = first.publish()
    again = run(retried=True)
    again.open()
    assert run(retried=True).publish(first.audited) == merge
    again = run(retried=True)
    again.open()
    put(again, "b")
    with pytest.raises(publish.NotAudited):
        run(retried=True).publish(first.audited)


def test_somebody_merges_a_branch_that_was_changed_after_the_audit(lakefs, lakefs_repository):
    """For example by a pull request: the audited commit is published, and something that nobody has audited."""
    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", branch="run-1")
    run.open()
    put(run, "a")
    run.audit()
    put(run, "b")
    lakefs.client.commits.create(lakefs_repository, "run-1", message="by hand")
    lakefs.client.refs.merge(lakefs_repository, "run-1", "main")
    with pytest.raises(publish.NotAudited, match="was audited"):
        run.publish()


def test_close_can_keep_the_branch(lakefs, lakefs_repository):
    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", clean_up="never")
    assert not run.close(keep=True)
    run.open()
    assert not run.close(keep=True)
    put(run, "a")
    with pytest.raises(errors.UnpublishedChanges):
        run.close(keep=True)
    run.audit()
    run.publish()
    assert not run.close(keep=True)
    assert run.state() == "published"
    assert run.close()


def test_a_chosen_branch_is_not_shared_by_runs_with_different_destinations(lakefs, lakefs_repository):
    client = lakefs.client
    client.branches.create(lakefs_repository, name="staging", source="main")
    first = publish.WriteAuditPublish(client, lakefs_repository, "key", into="staging", branch="mine")
    first.open()
    put(first, "rejected.csv")
    for more in ({}, {"source": "staging"}):
        other = publish.WriteAuditPublish(client, lakefs_repository, "key", branch="mine", retried=True, **more)
        with pytest.raises(errors.AlreadyExists, match="was not created by this run"):
            other.open()
    replace(first, retried=True).open()


def test_a_run_with_another_destination_has_another_branch(lakefs, lakefs_repository):
    client = lakefs.client
    client.branches.create(lakefs_repository, name="staging", source="main")
    client.objects.upload(lakefs_repository, "staging", "raw.csv", b"1")
    client.commits.create(lakefs_repository, "staging", message="raw")
    with (
        pytest.raises(publish.AuditFailed),
        publish.WriteAuditPublish(client, lakefs_repository, key="key", into="staging") as run,
    ):
        client.objects.upload(lakefs_repository, run.branch, "rejected.csv", b"1")
        run.audit(lambda run: ["wrong"])
    with publish.WriteAuditPublish(client, lakefs_repository, key="key", retried=True) as run:
        client.objects.upload(lakefs_repository, run.branch, "right.csv", b"1")
    assert [entry.path for entry in client.objects.list(lakefs_repository, "main")] == ["right.csv"]


@pytest.mark.parametrize("retried", [False, True])
def test_a_repeat_replaces_what_others_wrote_since_the_first_publication(lakefs, lakefs_repository, retried):
    client = lakefs.client

    def run(retried):
        with publish.WriteAuditPublish(client, lakefs_repository, key="key", retried=retried) as run:
            client.objects.upload(lakefs_repository, run.branch, "a.csv", b"1")
        return run.published

    first = run(retried=False)
    client.objects.upload(lakefs_repository, "main", "a.csv", b"2")
    client.commits.create(lakefs_repository, "main", message="another writer")
    assert run(retried=retried) != first
    assert client.objects.get(lakefs_repository, "main", "a.csv") == b"1"


def test_new_content_does_not_get_the_tag_of_an_earlier_publication(lakefs, lakefs_repository):
    client = lakefs.client

    def run(content):
        with publish.WriteAuditPublish(client, lakefs_repository, key="key", tag="v1") as run:
            client.objects.upload(lakefs_repository, run.branch, "a.csv", content)
        return run.published

    assert run(b"1") == run(b"1") == client.tags.get(lakefs_repository, "v1").commit_id
    with pytest.raises(errors.AlreadyExists, match="earlier publication of this run; nothing was merged"):
        run(b"2")
    assert client.objects.get(lakefs_repository, "main", "a.csv") == b"1"


@pytest.mark.parametrize("branch", ["", "run-1"])
def test_a_branch_that_was_created_again_between_two_seals_is_refused(lakefs, lakefs_repository, branch):
    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", branch=branch)
    run.open()
    put(run, "a")
    run.seal()
    lakefs.client.branches.delete(lakefs_repository, run.branch)
    lakefs.client.branches.create(lakefs_repository, name=run.branch, source="main")
    put(run, "b")
    with pytest.raises(publish.NotAudited, match="was deleted and created again, or reset"):
        run.audit(no_problem)
    with pytest.raises(errors.InvalidArgument, match="no audited commit"):
        run.publish()


@pytest.mark.parametrize("key", ["", " ", None])
def test_a_run_needs_a_key(lakefs, lakefs_repository, key):
    with pytest.raises(errors.InvalidArgument, match="key must identify the run"):
        publish.WriteAuditPublish(lakefs.client, lakefs_repository, key=key)


def test_a_tag_with_the_name_of_a_branch_is_refused_before_the_merge(lakefs, lakefs_repository):
    lakefs.client.branches.create(lakefs_repository, name="v1", source="main")
    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", tag="v1")
    run.open()
    put(run, "a")
    run.audit(no_problem)
    with pytest.raises(errors.AlreadyExists, match="a branch has this name; nothing was merged"):
        run.publish()
    assert list(lakefs.client.objects.list(lakefs_repository, "main")) == []


def test_a_failed_comparison_after_the_merge_has_the_merge_commit(audited, mocker):
    broken = errors.ServerError("broken", status=500, reason="", operation="diffRefs")
    mocker.patch("lakefs_ops.flows.publish.verify_merge", side_effect=broken)
    with pytest.raises(errors.ServerError, match=r"run 'k' is published to 'main' with commit [0-9a-f]{64}") as raised:
        audited.publish()
    assert raised.value.published == audited.client.branches.get(audited.repository, "main").commit_id
