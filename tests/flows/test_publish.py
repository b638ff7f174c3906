"""Write, audit, publish: as a context manager, in steps, after failures."""

from datetime import timedelta

import pytest

from lakefs_ops import errors
from lakefs_ops.flows import publish
from lakefs_ops.flows.step import Step


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


def test_what_is_written_after_the_audit_is_not_merged(lakefs, lakefs_repository):
    run = publish.WriteAuditPublish(lakefs.client, lakefs_repository, key="k", clean_up="never")
    run.open()
    lakefs.client.objects.upload(lakefs_repository, run.branch, "a", b"1")
    run.audit(no_problem)
    lakefs.client.objects.upload(lakefs_repository, run.branch, "late", b"2")
    lakefs.client.commits.create(lakefs_repository, run.branch, message="late")
    run.publish()
    assert [o.path for o in lakefs.client.objects.list(lakefs_repository, "main")] == ["a"]


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


def test_the_sweeper_takes_what_dead_runs_left_and_nothing_else(lakefs, lakefs_repository):
    client = lakefs.client
    client.branches.create(lakefs_repository, name="mine", source="main")
    dead = publish.WriteAuditPublish(client, lakefs_repository, key="dead")
    dead.open()
    client.objects.upload(lakefs_repository, dead.branch, "a", b"1")
    Step(client, lakefs_repository, "dead/write").commit(dead.branch, message="x")
    fresh = publish.WriteAuditPublish(client, lakefs_repository, key="fresh")
    fresh.open()
    assert list(publish.sweep(client, lakefs_repository, older_than=timedelta(hours=1))) == []
    ahead = timedelta(seconds=-5)
    assert list(publish.sweep(client, lakefs_repository, older_than=ahead, dry_run=True)) == [dead.branch]
    assert list(publish.sweep(client, lakefs_repository, older_than=ahead)) == [dead.branch]
    assert [b.id for b in client.branches.list(lakefs_repository)] == ["main", "mine", fresh.branch]


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
