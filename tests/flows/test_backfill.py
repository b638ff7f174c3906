"""A backfill: many runs, one merge on the destination, or nothing; see `test_backfill_kills` for many processes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from lakefs_ops import errors
from lakefs_ops.flows import attempts, claims
from lakefs_ops.flows import backfill as module
from lakefs_ops.flows.backfill import (
    MEMBER,
    PUBLISHED,
    Backfill,
    BackfillClosed,
    BackfillIncomplete,
)
from lakefs_ops.flows.publish import AuditFailed, NotAudited
from lakefs_ops.flows.step import Step
from lakefs_ops.flows.sweep import sweep
from lakefs_ops.flows.verify import MergeIncomplete
from lakefs_ops.local.faults import Fault

DAYS = [f"day-{number}" for number in range(5)]


class Lab:
    def __init__(self, client, repository):
        self.client, self.repository = client, repository
        self.backfill = Backfill(client, repository, "fix", metadata={"ticket": "7"})

    def member(self, day, **options):
        return self.backfill.member(day, **options)

    def write(self, run, text="good"):
        for day in run.partitions:
            self.client.objects.upload(self.repository, run.branch, day, f"{text} {day}".encode())

    def run(self, *days, text="good", **options):
        with self.backfill.member(*days, **options) as run:
            self.write(run, text)
            run.audit(lambda run: [] if text == "good" else ["bad"])
        return run

    def ready(self, day, **options):
        """Return a run that is audited, but not published."""
        run = self.backfill.member(day, **options)
        run.open()
        self.write(run)
        run.audit()
        return run

    def objects(self, ref="main"):
        return [entry.path for entry in self.client.objects.list(self.repository, ref)]

    def merges(self, ref="main"):
        log = self.client.refs.log(self.repository, ref, first_parent=True)
        return [commit for commit in log if len(commit.parents) > 1]

    def branches(self):
        return [branch.id for branch in self.client.branches.list(self.repository) if branch.id != "main"]


@pytest.fixture
def lab(lakefs, lakefs_repository, monkeypatch):
    monkeypatch.setattr(claims, "POLL_INTERVAL", 0.01)
    lakefs.client.objects.upload(lakefs_repository, "main", "before", b"1")
    lakefs.client.commits.create(lakefs_repository, "main", message="Before")
    return Lab(lakefs.client, lakefs_repository)


def test_all_partitions_arrive_with_one_commit_and_one_revert_takes_them_back(lab):
    for day in DAYS:
        lab.run(day)
        assert lab.objects() == ["before"]
    assert lab.branches() == [lab.backfill.branch]
    merged = lab.backfill.finish(DAYS)
    assert lab.objects() == ["before", *DAYS]
    (merge,) = lab.merges()
    assert merge.id == merged
    assert merge.message == "Publish backfill fix (5 partitions)"
    assert merge.metadata[PUBLISHED] == f"5: {', '.join(DAYS)}"
    assert merge.metadata["ticket"] == "7"
    assert lab.branches() == []
    assert lab.backfill.finish(DAYS) == merged
    progress = lab.backfill.progress(DAYS)
    assert (progress.state, progress.published, progress.missing) == ("published", merged, ())
    Step(lab.client, lab.repository, "undo").revert("main", merged, parent_number=1)
    assert lab.objects() == ["before"]
    with pytest.raises(errors.Undone, match="fix/publish"):
        lab.backfill.finish(DAYS)


def test_progress_counts_what_is_collected_and_links_the_comparison(lab):
    assert lab.backfill.progress(DAYS).state == "absent"
    lab.run("day-3")
    lab.run("day-1", "day-2")
    progress = lab.backfill.progress(DAYS)
    assert (progress.state, progress.missing, progress.published) == ("open", ("day-0", "day-4"), None)
    assert [*progress.collected] == ["day-3", "day-1", "day-2"]
    url = lab.client.links.compare(lab.repository, "main", lab.backfill.branch)
    assert str(progress) == f"3 of 5 partitions are collected; missing: day-0, day-4: {url}"
    assert lab.backfill.progress().expected == ("day-1", "day-2", "day-3")
    members = [commit.metadata.get(MEMBER) for commit in lab.merges(lab.backfill.branch)]
    assert members == ['["day-1", "day-2"]', '["day-3"]']


@pytest.mark.parametrize("policy", ["all", "passed", "nothing"])
def test_each_policy_with_a_failing_partition(lab, policy):
    for day in DAYS[:-1]:
        lab.run(day)
    with pytest.raises(AuditFailed) as failed:
        lab.run(DAYS[-1], text="spoiled")
    if policy == "passed":
        lab.backfill.finish(DAYS, policy=policy)
        assert lab.objects() == ["before", *DAYS[:-1]]
        assert [merge.metadata[PUBLISHED] for merge in lab.merges()] == ["4: day-0, day-1, day-2, day-3"]
    else:
        with pytest.raises(BackfillIncomplete, match="4 of 5 partitions are collected; missing: day-4") as refused:
            lab.backfill.finish(DAYS, policy=policy)
        assert refused.value.progress.missing == ("day-4",)
        assert lab.objects() == ["before"]
    kept = {failed.value.branch} | ({lab.backfill.branch} if policy == "all" else set())
    assert {*lab.branches()} == kept
    if policy == "all":  # the partition is corrected, and the backfill goes on
        with lab.member(DAYS[-1], retried=True) as run:
            lab.write(run)
        lab.backfill.finish(DAYS)
        assert lab.objects() == ["before", *DAYS]
        assert len(lab.merges()) == 1
        assert lab.branches() == []


def test_what_was_published_without_some_partitions_is_not_complete(lab):
    lab.run("day-0")
    merged = lab.backfill.finish(["day-0", "day-1"], policy="passed")
    for policy in ("all", "nothing"):
        with pytest.raises(
            BackfillIncomplete, match=r"an earlier call has published it without .*missing: day-1"
        ) as late:
            lab.backfill.finish(["day-0", "day-1"], policy=policy)
        assert late.value.progress.published == merged
    assert lab.backfill.finish(["day-0", "day-1"], policy="passed") == merged
    assert lab.backfill.finish(["day-0"]) == merged
    assert lab.objects() == ["before", "day-0"]


def test_a_deleted_collecting_branch_is_reported_and_the_runs_are_repeated(lab):
    lab.run("day-0")
    lab.client.branches.delete(lab.repository, lab.backfill.branch)
    with pytest.raises(BackfillIncomplete, match="the collecting branch does not exist") as refused:
        lab.backfill.finish(["day-0"])
    assert lab.backfill.url not in str(refused.value), "the page would show an error"
    lab.run("day-0", retried=True)
    lab.backfill.finish(["day-0"])
    assert lab.objects() == ["before", "day-0"]


def test_a_missing_destination_is_named(lab):
    with pytest.raises(errors.BranchNotFound, match="absent"):
        Backfill(lab.client, lab.repository, "fix", into="absent").open()


@pytest.mark.parametrize("policy", ["all", "passed", "nothing"])
def test_nothing_is_published_if_nothing_passed(lab, policy):
    with pytest.raises(AuditFailed):
        lab.run(DAYS[0], text="spoiled")
    with pytest.raises(BackfillIncomplete, match="0 of 5"):
        lab.backfill.finish(DAYS, policy=policy)
    assert lab.merges() == []


def test_passed_publishes_everything_that_was_collected_but_not_without_any_expected_partition(lab):
    lab.run("day-0")
    with pytest.raises(BackfillIncomplete, match="0 of 1 partitions are collected; missing: day-1"):
        lab.backfill.finish(["day-1"], policy="passed")
    lab.backfill.finish([], policy="passed")
    assert lab.objects() == ["before", "day-0"]


def test_a_run_that_brings_nothing_new_counts(lab):
    lab.run("day-0")
    for options in ({"if_nothing": "succeed"}, {"if_nothing": "skip", "key": "another"}):
        run = lab.member("day-1", **options)
        run.open()
        run.audit()
        if options["if_nothing"] == "skip":
            with pytest.raises(errors.NothingToDo):
                run.publish()
        else:
            run.publish()
    lab.backfill.finish(["day-0", "day-1"])
    assert lab.objects() == ["before", "day-0"]


def test_a_backfill_without_any_change_is_finished_once(lab):
    for _ in range(2):
        run = lab.member("day-0", retried=True)
        run.open()
        run.audit()
        run.publish()
    merged = lab.backfill.finish(["day-0"])
    assert [merge.id for merge in lab.merges()] == [merged]
    assert run.publish() == run.published
    again = lab.member("day-0", retried=True)
    assert lab.client.commits.get(lab.repository, again.publish(run.audited)).metadata[MEMBER] == '["day-0"]'
    with pytest.raises(BackfillClosed):
        lab.backfill.open()


def test_a_run_after_the_publication_is_refused_and_keeps_its_branch(lab):
    early, late = lab.run("day-0"), lab.ready("day-1")
    merged = lab.backfill.finish(["day-0"])
    for attempt in range(2):
        late.retried = attempt > 0
        with pytest.raises(BackfillClosed, match="is published on 'main' with commit") as refused:
            late.publish()
        assert refused.value.published == merged
    with pytest.raises(BackfillClosed):
        lab.run("day-2")
    assert lab.branches() == [late.branch]
    assert lab.objects(late.branch) == ["before", "day-0", "day-1"]
    again = lab.member("day-0", retried=True, if_nothing="fail")
    assert again.publish(early.audited) == early.published
    assert not again.close()


def test_a_run_between_closing_and_publication_is_refused(lab):
    lab.run("day-0")
    late = lab.ready("day-1")
    closed = lab.backfill._close()
    with pytest.raises(BackfillClosed, match="is being published"):
        late.publish()
    with pytest.raises(BackfillClosed):
        lab.member("day-2").open()
    # Another process goes on with what was closed.
    merged = lab.backfill.finish(["day-0"])
    assert lab.client.commits.get(lab.repository, merged).parents[1] == closed
    assert lab.objects() == ["before", "day-0"]
    assert {*lab.branches()} == {lab.backfill.branch, late.branch}


def test_what_is_staged_after_the_closing_does_not_matter(lab):
    lab.run("day-0")
    lab.backfill._close()
    lab.client.objects.upload(lab.repository, lab.backfill.branch, "late", b"1")
    lab.backfill.finish(["day-0"])
    assert lab.objects() == ["before", "day-0"]
    assert lab.backfill.branch in lab.branches(), "somebody's work is kept"


def test_an_incomplete_merge_is_reported_each_time(lab, monkeypatch):
    lab.run("day-0")
    with monkeypatch.context() as patch:
        patch.setattr("lakefs_ops.flows.verify.lost_in_merge", lambda *args, **options: ("day-0",))
        for _ in range(2):
            with pytest.raises(MergeIncomplete):
                lab.backfill.finish(["day-0"])
            assert lab.backfill.branch in lab.branches()
    assert len(lab.merges()) == 1
    lab.backfill.finish(["day-0"])
    assert lab.branches() == []


def test_a_refused_merge_opens_the_backfill_again(lab):
    lab.run("day-0")
    late = lab.ready("day-1")
    lab.client.objects.upload(lab.repository, "main", "day-0", b"of somebody else")
    theirs = lab.client.commits.create(lab.repository, "main", message="Somebody else")
    merge = Backfill._merge

    def interrupt(*args):
        with pytest.raises(BackfillClosed):
            late.publish()
        return merge(*args)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(errors.MergeConflict, match="day-0"):
        patch.setattr(Backfill, "_merge", interrupt)
        lab.backfill.finish(["day-0"])
    assert lab.merges() == []
    assert lab.backfill.progress().state == "open"
    Step(lab.client, lab.repository, "undo").revert("main", theirs.id)
    late.retried = True
    late.publish()
    lab.run("day-2")
    lab.backfill.finish(["day-0", "day-1", "day-2"])
    assert lab.objects() == ["before", "day-0", "day-1", "day-2"]
    assert lab.branches() == []


def test_two_finishers_at_once_merge_once(lab):
    for day in DAYS:
        lab.run(day)
    start = threading.Barrier(4)

    def finish(_):
        start.wait()
        return lab.backfill.finish(DAYS)

    with ThreadPoolExecutor(4) as pool:
        results = {*pool.map(finish, range(4))}
    assert results == {merge.id for merge in lab.merges()}
    assert len(results) == 1
    assert lab.branches() == []


def test_finish_and_late_runs_at_once(lab):
    """Whatever the order is: green means published, red means not published, and kept."""
    lab.run("day-0")
    runs = [lab.ready(f"late-{number}") for number in range(6)]
    start = threading.Barrier(7)

    def publish(run):
        start.wait()
        if run is None:
            return lab.backfill.finish(["day-0"])
        try:
            return run.publish()
        except BackfillClosed:
            return None

    with ThreadPoolExecutor(7) as pool:
        merged, *results = pool.map(publish, [None, *runs])
    green = [run.partitions[0] for run, result in zip(runs, results, strict=True) if result]
    assert lab.objects() == ["before", "day-0", *green]
    assert [merge.id for merge in lab.merges()] == [merged]
    red = {run.branch for run, result in zip(runs, results, strict=True) if not result}
    assert red <= {*lab.branches()} <= red | {lab.backfill.branch}


def test_a_branch_that_was_created_again_after_the_publication_collects_nothing(lab, monkeypatch):
    lab.run("day-0")
    late = lab.ready("day-1")
    publication = Backfill._publication
    calls = []

    def slow(self, *args):
        found = publication(self, *args)
        calls.append(found)
        if len(calls) == 1:  # between the search and the creation
            lab.client.branches.delete(lab.repository, lab.backfill.branch)
            lab.client.refs.merge(lab.repository, head, "main", metadata={"lakefs-ops.key": "fix/publish"})
        if len(calls) == 2:
            monkeypatch.setattr(Backfill, "_publication", publication)
            with pytest.raises(BackfillClosed):
                late.publish()
        return found

    head = lab.client.branches.get(lab.repository, lab.backfill.branch).commit_id
    monkeypatch.setattr(Backfill, "_publication", slow)
    with pytest.raises(BackfillClosed):
        lab.backfill._create()
    assert lab.objects() == ["before", "day-0"]
    assert late.branch in lab.branches()


def test_cancel(lab):
    lab.run("day-0")
    with pytest.raises(errors.UnpublishedChanges):
        lab.backfill.cancel()
    assert lab.backfill.cancel(discard=True)
    assert not lab.backfill.cancel()
    assert (lab.objects(), lab.branches()) == (["before"], [])
    lab.run("day-0", key="second attempt")
    lab.backfill.finish(["day-0"])
    with pytest.raises(BackfillClosed, match="revert that commit instead"):
        lab.backfill.cancel(discard=True)


def test_a_run_that_merges_after_a_cancel_is_red(lab):
    late = lab.ready("day-0")
    lab.backfill.cancel(discard=True)
    with pytest.raises(BackfillClosed, match="was canceled"):
        late.publish()
    assert lab.branches() == [late.branch]


def test_a_run_whose_merge_was_canceled_in_the_meantime_is_red(lab, monkeypatch):
    confirm = Backfill._confirm

    def cancel(self, *args):
        self.cancel(discard=True)
        self.open()
        return confirm(self, *args)

    run = lab.ready("day-0")
    with monkeypatch.context() as patch, pytest.raises(BackfillClosed):
        patch.setattr(Backfill, "_confirm", cancel)
        run.publish()
    assert lab.backfill.progress(["day-0"]).missing == ("day-0",)
    assert run.branch in lab.branches()


@pytest.mark.parametrize("committed", [False, True])
def test_what_no_run_has_published_is_refused(lab, committed):
    lab.run("day-0")
    head = lab.client.branches.get(lab.repository, lab.backfill.branch).commit_id
    lab.client.objects.upload(lab.repository, lab.backfill.branch, "sneaked", b"1")
    if committed:
        lab.client.commits.create(lab.repository, lab.backfill.branch, message="Sneak")
    with pytest.raises(NotAudited, match=head if committed else "such as sneaked"):
        lab.backfill.finish(["day-0"])
    assert lab.objects() == ["before"]
    if committed:
        lab.client.branches.hard_reset(lab.repository, lab.backfill.branch, ref=head)
    else:
        lab.client.branches.reset(lab.repository, lab.backfill.branch, type="reset")
    lab.run("day-1")
    lab.backfill.finish(["day-0", "day-1"])
    assert lab.objects() == ["before", "day-0", "day-1"]


def test_what_is_staged_while_the_backfill_is_closed_is_refused(lab, monkeypatch):
    lab.run("day-0")
    mark = Backfill._mark

    def sneak(self, *args):
        lab.client.objects.upload(lab.repository, self.branch, "sneaked", b"1")
        monkeypatch.setattr(Backfill, "_mark", mark)
        return mark(self, *args)

    monkeypatch.setattr(Backfill, "_mark", sneak)
    with pytest.raises(NotAudited, match="which no run of backfill 'fix' has audited"):
        lab.backfill.finish(["day-0"])
    assert lab.objects() == ["before"]


def test_what_is_closed_is_judged_again(lab, monkeypatch):
    lab.run("day-0")
    before = lab.client.branches.get(lab.repository, lab.backfill.branch).commit_id
    lab.run("day-1")
    close = Backfill._close

    def reset(self):
        lab.client.branches.hard_reset(lab.repository, self.branch, ref=before)
        return close(self)

    with monkeypatch.context() as patch, pytest.raises(BackfillIncomplete, match="missing: day-1"):
        patch.setattr(Backfill, "_close", reset)
        lab.backfill.finish(["day-0", "day-1"])
    assert lab.objects() == ["before"]
    lab.run("day-1", key="again")
    lab.backfill.finish(["day-0", "day-1"])
    assert lab.objects() == ["before", "day-0", "day-1"]


def test_a_sweep_never_deletes_the_collecting_branch(lab):
    lab.run("day-0")
    options = {"older_than": timedelta(seconds=-5), "prefix": ["backfill-", "wap-"], "discard": True}
    assert [*sweep(lab.client, lab.repository, **options)] == []
    lab.backfill.finish(["day-0"])


def test_one_backfill_of_two_destinations(lab):
    lab.client.branches.create(lab.repository, name="release", source="main")
    other = Backfill(lab.client, lab.repository, "fix", into="release")
    assert other.branch != lab.backfill.branch
    lab.run("day-0")
    with other.member("day-1") as run:
        lab.write(run)
    other.finish(["day-1"])
    lab.backfill.finish(["day-0"])
    assert (lab.objects(), lab.objects("release")) == (["before", "day-0"], ["before", "day-1"])


def test_without_the_permission_to_record_commits(lab, monkeypatch):
    monkeypatch.setattr(module, "record_commit", lambda *args, **options: None)
    for day in DAYS:
        lab.run(day)
    lab.client.objects.upload(lab.repository, "main", "later", b"1")
    lab.client.commits.create(lab.repository, "main", message="Later")
    assert lab.backfill.progress(DAYS).missing == ()
    lab.backfill.finish(DAYS)
    assert lab.objects() == ["before", *DAYS, "later"]
    with pytest.raises(BackfillClosed):
        lab.run("more")


def test_invalid_arguments(lab):
    for create in (
        lambda: Backfill(lab.client, lab.repository, " "),
        lambda: Backfill(lab.client, lab.repository, 1),
        lambda: Backfill(lab.client, lab.repository, "x", strategy="ours"),
        lambda: Backfill(lab.client, lab.repository, "x", into="backfill-x"),
        lambda: lab.backfill.member(),
        lambda: lab.backfill.member("a", ""),
        lambda: lab.backfill.member(1),
        lambda: lab.backfill.finish("day-1"),
        lambda: lab.backfill.finish(None),
        lambda: lab.backfill.finish([1]),
        lambda: lab.backfill.progress("day-1"),
        lambda: lab.backfill.finish([]),
        lambda: lab.backfill.finish(["a"], policy="some"),
    ):
        with pytest.raises(errors.InvalidArgument):
            create()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "operation", ["createBranch", "commit", "mergeIntoBranch", "deleteBranch", "logCommits", "diffRefs", "getBranch"]
)
def test_a_lost_request_or_reply(lab, lakefs, monkeypatch, operation, when):
    monkeypatch.setattr(attempts, "SETTLE", 0.0)
    for day in DAYS[:2]:
        lakefs.faults.add(Fault(operation, when=when, action="reset", where={"repository": lab.repository}))
        lab.run(day)
    lakefs.faults.add(Fault(operation, when=when, action="reset", where={"repository": lab.repository}))
    lab.backfill.finish(DAYS[:2])
    lakefs.faults.clear()
    assert len(lab.merges()) == 1
    assert lab.objects() == ["before", *DAYS[:2]]
    assert lab.branches() == []
