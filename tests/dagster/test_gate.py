"""The gate: a publication merges the commit that every check judged, and nothing that is unpublished is deleted."""

from __future__ import annotations

import json
import os

import dagster as dg
import pytest

from dagster_resources.publish import RunBranch
from dagster_resources.resource import LakeFSResource
from lakefs_ops.errors import LakeFSError
from lakefs_ops.flows.publish import WriteAuditPublish

# A job that can be re-executed is imported again, so its steps read what to do from the environment.
PLAN = "GATE_PLAN"


def plan():
    return json.loads(os.environ[PLAN])


def branch_of(context, lakefs) -> RunBranch:
    return lakefs.run_branch(context, plan()["repository"])


def write(context, lakefs, name):
    branch, client = branch_of(context, lakefs), lakefs.get_client()
    for path, content in plan()["writes"].get(name, {}).items():
        client.objects.upload(branch.repository, branch.ensure(), path, content.encode())
    if name in plan()["commits"]:
        branch.commit(f"Write {name}")
    if name in plan()["dies"]:
        raise RuntimeError(f"{name} dies")


def judge(context, lakefs, name):
    outcome = plan()["outcomes"].get(name, "reads")
    if outcome == "raises":
        raise RuntimeError(f"{name} raises")
    passed = outcome != "fails"
    if outcome in ("reads", "warns"):
        branch, client = branch_of(context, lakefs), lakefs.get_client()
        for entry in client.objects.list(branch.repository, branch.ref):
            passed = passed and b"bad" not in client.objects.get(branch.repository, branch.ref, entry.path)
    if outcome == "warns" and passed:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)
    return dg.AssetCheckResult(passed=passed)


@dg.asset
def first(context, lakefs: LakeFSResource) -> None:
    write(context, lakefs, "first")


@dg.asset_check(asset=first, blocking=True)
def first_stops(context, lakefs: LakeFSResource) -> dg.AssetCheckResult:
    return judge(context, lakefs, "first_stops")


@dg.asset_check(asset=first)
def first_tells(context, lakefs: LakeFSResource) -> dg.AssetCheckResult:
    return judge(context, lakefs, "first_tells")


@dg.asset(deps=[first])
def second(context, lakefs: LakeFSResource) -> None:
    write(context, lakefs, "second")


@dg.asset_check(asset=second, blocking=True)
def second_stops(context, lakefs: LakeFSResource) -> dg.AssetCheckResult:
    return judge(context, lakefs, "second_stops")


@dg.asset_check(asset=second)
def second_tells(context, lakefs: LakeFSResource) -> dg.AssetCheckResult:
    return judge(context, lakefs, "second_tells")


@dg.asset(deps=[first, second])
def published(context, lakefs: LakeFSResource):
    write(context, lakefs, "published")
    merge = branch_of(context, lakefs).publish("Publish")
    if "after the merge" in plan()["dies"]:
        raise RuntimeError("died after the merge")
    return dg.MaterializeResult(metadata={"commit": merge})


@dg.asset_check(asset=published)
def published_is_fine() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def make_job(*checks: dg.AssetChecksDefinition) -> dg.JobDefinition:
    resource = LakeFSResource(
        endpoint=dg.EnvVar("GATE_ENDPOINT"),
        access_key_id=dg.EnvVar("GATE_KEY"),
        secret_access_key=dg.EnvVar("GATE_SECRET"),
    )
    return dg.Definitions(
        [first, second, published],
        asset_checks=[*checks, published_is_fine],
        jobs=[dg.define_asset_job("gate", executor_def=dg.in_process_executor)],
        resources={"lakefs": resource},
    ).resolve_job_def("gate")


def job() -> dg.JobDefinition:
    return make_job(first_stops, first_tells, second_stops, second_tells)


def job_without_checks() -> dg.JobDefinition:
    return make_job()


class Gate:
    """The job, its repository, and the state of both."""

    def __init__(self, lakefs, repository, instance, setenv):
        self.client, self.repository, self.instance, self.setenv = lakefs.client, repository, instance, setenv
        setenv("GATE_ENDPOINT", lakefs.endpoint)
        setenv("GATE_KEY", lakefs.access_key_id)
        setenv("GATE_SECRET", lakefs.secret_access_key)

    def run(self, *, writes=None, commits=("first", "second"), outcomes=None, dies=(), job=job, again=None):
        writes = {"first": {"first.txt": "good"}, "second": {"second.txt": "good"}} if writes is None else writes
        self.setenv(
            PLAN,
            json.dumps(
                {
                    "repository": self.repository,
                    "writes": writes,
                    "commits": list(commits),
                    "outcomes": outcomes or {},
                    "dies": list(dies),
                }
            ),
        )
        return dg.execute_job(dg.reconstructable(job), self.instance, reexecution_options=again)

    def after(self, run):
        return dg.ReexecutionOptions.from_failure(run.run_id, self.instance)

    def only(self, run, *steps):
        return dg.ReexecutionOptions(run.run_id, step_selection=list(steps))

    def upload(self, ref, path, content):
        self.client.objects.upload(self.repository, ref, path, content.encode())

    def objects(self, ref="main"):
        client, repository = self.client, self.repository
        return {
            e.path: client.objects.get(repository, ref, e.path).decode() for e in client.objects.list(repository, ref)
        }

    @property
    def branches(self):
        return [branch.id for branch in self.client.branches.list(self.repository)]

    @property
    def merges(self):
        return [commit for commit in self.client.refs.log(self.repository, "main") if len(commit.parents) == 2]


@pytest.fixture
def gate(lakefs, lakefs_repository, instance, monkeypatch):
    return Gate(lakefs, lakefs_repository, instance, monkeypatch.setenv)


AFTER_FIRST = ("second", "second_second_stops", "second_second_tells", "published")
GOOD = {"first.txt": "good", "second.txt": "good"}


def assert_refused(gate, run, sentence, *words):
    assert not run.success
    for word in words:
        assert word in sentence(run)
    assert gate.objects() == {}
    assert f"dagster-{run.run_id}" in gate.branches or "dagster-" in " ".join(gate.branches)


# unpublished work


def test_uncommitted_work_without_checks_is_published(gate):
    run = gate.run(commits=(), job=job_without_checks)
    assert run.success
    assert gate.objects() == GOOD
    assert gate.branches == ["main"]


def test_uncommitted_work_that_no_check_judged_is_refused_and_kept(gate, sentence):
    run = gate.run(commits=())
    assert_refused(gate, run, sentence, "uncommitted changes that no check judged, such as first.txt")
    assert gate.objects(f"dagster-{run.run_id}") == GOOD


def test_work_written_after_the_checks_is_refused_and_kept(gate, sentence):
    run = gate.run(
        writes={"first": {"first.txt": "good"}, "published": {"late.txt": "bad"}}, commits=("first", "published")
    )
    assert_refused(gate, run, sentence, "no check judged commit")


def test_work_written_during_the_merge_is_kept(gate, mocker):
    merge = RunBranch._merge

    def merge_slowly(self, head, flow):
        merged = merge(self, head, flow)
        gate.upload(self.name, "late.txt", "good")
        return merged

    mocker.patch.object(RunBranch, "_merge", merge_slowly)
    run = gate.run()
    assert run.success
    assert gate.objects() == GOOD
    assert gate.objects(f"dagster-{run.run_id}") == {**GOOD, "late.txt": "good"}


def test_work_written_between_the_checks_and_the_merge_refuses_it(gate, mocker, sentence):
    merge = RunBranch._merge

    def write_and_merge(self, head, flow):
        gate.upload(self.name, "late.txt", "good")
        return merge(self, head, flow)

    mocker.patch.object(RunBranch, "_merge", write_and_merge)
    before = gate.objects()
    run = gate.run()
    assert not run.success
    assert "uncommitted changes since the audit" in sentence(run)
    assert gate.objects() == before
    assert gate.objects(f"dagster-{run.run_id}") == {**GOOD, "late.txt": "good"}


@pytest.mark.parametrize(("merges", "at"), [(True, 1), (True, 2), (False, 1)])
def test_another_process_of_the_run_deletes_the_branch_during_the_merge(gate, mocker, sentence, merges, at):
    publish, calls = WriteAuditPublish.publish, []

    def publish_late(self, head, **options):
        calls.append(head)
        if merges and len(calls) == 1:
            gate.client.refs.merge(gate.repository, head, "main", message="The other process")
        if len(calls) == at:
            gate.client.branches.delete(gate.repository, self.branch)
        return publish(self, head, **options)

    mocker.patch.object(WriteAuditPublish, "publish", publish_late)
    run = gate.run()
    assert run.success == merges
    assert gate.objects() == (GOOD if merges else {})
    if not merges:
        assert "does not exist any more" in sentence(run)
    else:
        assert [commit.message for commit in gate.merges] == ["The other process"]


@pytest.mark.parametrize("before", ["_uncommitted", "_commit"])
@pytest.mark.parametrize("publishes", [True, False])
def test_another_process_ends_the_branch_before_the_commit(gate, mocker, sentence, publishes, before):
    original, calls = getattr(RunBranch, before), []

    def late(self, *arguments):
        calls.append(before)
        if len(calls) == 1:
            if publishes:
                self.publish("The other process")
            else:
                gate.client.branches.delete(gate.repository, self.name)
        return original(self, *arguments)

    mocker.patch.object(RunBranch, before, late)
    run = gate.run(commits=(), job=job_without_checks)
    assert run.success == publishes
    assert gate.objects() == (GOOD if publishes else {})
    assert gate.branches == ["main"]
    if publishes:
        assert [commit.message for commit in gate.merges] == ["The other process"]
    else:
        assert "was deleted during the run, with everything that the run had written to it" in sentence(run)


def test_a_branch_that_was_deleted_during_the_run_is_not_created_again(gate, sentence):
    failed = gate.run(outcomes={"first_stops": "fails"})
    gate.client.branches.delete(gate.repository, f"dagster-{failed.run_id}")
    run = gate.run(again=gate.after(failed))
    assert not run.success
    assert "was deleted during the run" in sentence(run)
    assert (gate.objects(), gate.branches) == ({}, ["main"])
    assert not gate.run(again=gate.only(failed, "first_first_stops")).success
    assert not gate.run(again=gate.only(failed, "published")).success
    assert (gate.objects(), gate.branches) == ({}, ["main"])


def test_a_failure_after_the_merge_is_a_warning(gate, mocker):
    mocker.patch("dagster_resources.publish.delete_checked", side_effect=LakeFSError("a hook refused it"))
    run = gate.run()
    assert run.success
    assert gate.objects() == GOOD


# the judged commit


def test_objects_corrected_without_a_commit_do_not_publish_the_spoiled_commit(gate, sentence):
    failed = gate.run(writes={"first": {"first.txt": "bad"}})
    branch = f"dagster-{failed.run_id}"
    gate.upload(branch, "first.txt", "good")
    run = gate.run(again=gate.after(failed))
    assert not run.success
    assert gate.objects() == {}
    assert gate.objects(branch) == {"first.txt": "good"}
    gate.client.commits.create(gate.repository, branch, message="Correct by hand")
    again = gate.only(run, "first_first_stops", "first_first_tells", *AFTER_FIRST)
    assert gate.run(writes={}, again=again).success
    assert gate.objects() == {"first.txt": "good"}


def test_a_commit_after_the_checks_is_refused(gate, sentence):
    died = gate.run(dies=["published"])
    branch = f"dagster-{died.run_id}"
    gate.upload(branch, "foreign.txt", "bad")
    gate.client.commits.create(gate.repository, branch, message="Foreign")
    run = gate.run(again=gate.after(died))
    assert_refused(gate, run, sentence, "judged commit", "is newer and not of this run")
    again = gate.only(
        died, "first_first_stops", "first_first_tells", "second_second_stops", "second_second_tells", "published"
    )
    assert not gate.run(again=again).success  # they read the foreign object
    assert gate.objects() == {}


def test_a_later_step_that_changes_judged_objects_is_refused(gate, sentence):
    run = gate.run(
        writes={"first": {"first.txt": "good"}, "second": {"first.txt": "bad"}},
        outcomes={"second_stops": "passes", "second_tells": "passes"},
    )
    assert_refused(gate, run, sentence, "judged commit", "first.txt has changed since")


def test_checks_that_read_no_commit_count_for_the_newest_commit_before_them(gate):
    blind = dict.fromkeys(("first_stops", "first_tells", "second_stops", "second_tells"), "passes")
    assert gate.run(outcomes=blind).success
    assert gate.objects() == GOOD


def test_checks_before_the_commit_are_refused(gate, sentence):
    blind = dict.fromkeys(("first_stops", "first_tells", "second_stops", "second_tells"), "passes")
    run = gate.run(commits=["second"], outcomes=blind)
    assert_refused(gate, run, sentence, "check 'first_stops' of 'first' passed before its asset's data was committed")


# verdicts


@pytest.mark.parametrize("outcome", ["fails", "raises"])
@pytest.mark.parametrize("check", ["first_tells", "second_tells"])
def test_a_check_that_does_not_block_refuses_too(gate, outcome, check):
    run = gate.run(outcomes={check: outcome})
    assert not run.success
    assert gate.objects() == {}
    again = gate.run(outcomes={check: outcome}, again=gate.only(run, "published"))
    assert not again.success
    assert gate.objects() == {}


def test_a_warning_does_not_refuse(gate):
    assert gate.run(outcomes={"first_tells": "warns", "second_stops": "warns"}).success
    assert gate.objects() == GOOD


def test_a_check_that_failed_in_a_sibling_refuses(gate, sentence):
    died = gate.run(dies=["published"])
    sibling = gate.run(again=gate.only(died, "first_first_tells"), outcomes={"first_tells": "fails"})
    assert sibling.success  # it does not block
    run = gate.run(again=gate.after(died))
    assert_refused(gate, run, sentence, "check 'first_tells' of 'first' failed")
    assert gate.run(again=gate.only(died, "first_first_tells")).success
    assert gate.run(again=gate.after(died)).success
    assert gate.objects() == GOOD


def test_a_check_that_raised_in_a_sibling_refuses(gate, sentence):
    died = gate.run(dies=["published"])
    assert not gate.run(again=gate.only(died, "first_first_tells"), outcomes={"first_tells": "raises"}).success
    run = gate.run(again=gate.after(died))
    assert_refused(gate, run, sentence, "check 'first_tells' of 'first' has no result")


def test_a_result_that_is_older_than_the_data_refuses(gate, sentence):
    died = gate.run(dies=["published"])
    assert gate.run(writes={"first": {"new.txt": "bad"}}, again=gate.only(died, "first")).success
    run = gate.run(again=gate.after(died))
    assert_refused(gate, run, sentence, "check 'first_stops' of 'first' is older than the newest data of 'first'")


def test_a_check_that_has_not_run_yet_refuses(gate, resource, materialize, sentence):
    @dg.asset
    def written(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, gate.repository)
        gate.upload(branch.ensure(), "a.txt", "good")
        branch.commit("Write")

    @dg.asset(deps=[written])
    def slow() -> None: ...

    @dg.asset_check(asset=written, additional_deps=[slow])
    def late() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset(deps=[written])
    def on_main(context, lakefs: LakeFSResource) -> None:
        lakefs.run_branch(context, gate.repository).publish("Publish")

    run = materialize([written, slow, late, on_main], resource)
    assert not run.success
    assert "check 'late' of 'written' has no result" in sentence(run)
    assert gate.objects() == {}


def test_a_check_in_the_step_of_its_asset_counts(gate, resource, materialize):
    @dg.asset(check_specs=[dg.AssetCheckSpec("inner", asset="written")])
    def written(context, lakefs: LakeFSResource):
        branch = lakefs.run_branch(context, gate.repository)
        gate.upload(branch.ensure(), "a.txt", "good")
        branch.commit("Write")
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="inner", passed=True)])

    @dg.asset(deps=[written])
    def on_main(context, lakefs: LakeFSResource) -> None:
        lakefs.run_branch(context, gate.repository).publish("Publish")

    assert materialize([written, on_main], resource).success
    assert gate.objects() == {"a.txt": "good"}


# earlier publications


@pytest.mark.parametrize("undo", ["revert", "reset"])
@pytest.mark.parametrize("closed", [True, False])
def test_a_publication_that_was_undone_does_not_stand(gate, sentence, mocker, undo, closed):
    if not closed:  # the step dies between the merge and the deletion of the branch
        mocker.patch.object(RunBranch, "_close", side_effect=RuntimeError("killed"))
    died = gate.run(dies=["after the merge"])
    mocker.stopall()
    merge = gate.merges[0]
    if undo == "revert":
        gate.client.branches.revert(gate.repository, "main", ref=merge.id, parent_number=1)
    else:
        gate.client.branches.hard_reset(gate.repository, "main", ref=merge.parents[0])
    assert gate.objects() == {}
    run = gate.run(again=gate.after(died))
    if undo == "reset" and not closed:  # the branch still has everything
        assert run.success
        assert gate.objects() == GOOD
        return
    assert not run.success
    assert "undone" in sentence(run)
    assert gate.run(again=dg.ReexecutionOptions(died.run_id)).success == closed  # from a new branch, if the old is gone
    assert gate.objects() == (GOOD if closed else {})


@pytest.mark.parametrize("closed", [True, False])
def test_a_later_writer_of_the_bytes_from_before_has_not_undone_a_publication(gate, mocker, closed):
    gate.upload("main", "first.txt", "open")
    gate.client.commits.create(gate.repository, "main", message="open")
    if not closed:
        mocker.patch.object(RunBranch, "_close", side_effect=RuntimeError("killed"))
    died = gate.run(dies=["after the merge"])
    mocker.stopall()
    merge = gate.merges[0]
    gate.upload("main", "first.txt", "open")
    gate.client.commits.create(gate.repository, "main", message="open again")
    run = gate.run(again=gate.after(died))
    assert run.success
    (event,) = gate.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert event.asset_materialization.metadata["commit"].value == merge.id
    assert gate.merges == [merge]
    assert gate.objects() == {**GOOD, "first.txt": "open"}


def test_newer_work_does_not_hide_that_an_earlier_publication_was_undone(gate, sentence, mocker):
    mocker.patch.object(RunBranch, "_close", side_effect=RuntimeError("killed"))
    died = gate.run()
    mocker.stopall()
    gate.client.branches.revert(gate.repository, "main", ref=gate.merges[0].id, parent_number=1)
    run = gate.run(writes={"first": {"more.txt": "good"}}, again=dg.ReexecutionOptions(died.run_id))
    assert "undone" in sentence(run)
    assert gate.objects() == {}


def test_an_earlier_publication_is_found_after_any_number_of_commits(gate, mocker):
    mocker.patch.object(RunBranch, "_close", side_effect=RuntimeError("killed"))
    died = gate.run()
    mocker.stopall()
    mocker.patch("lakefs_ops.flows.attempts.LOG_LIMIT", 3)
    for number in range(5):
        gate.upload("main", f"{number}.txt", "good")
        gate.client.commits.create(gate.repository, "main", message=f"{number}")
    run = gate.run(again=gate.after(died))
    assert run.success
    (event,) = gate.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert event.asset_materialization.metadata["commit"].value == gate.merges[0].id
    assert len(gate.merges) == 1
    assert gate.branches == ["main"]


def test_a_conflict_asks_for_a_new_run(gate, sentence):
    died = gate.run(dies=["published"])
    gate.upload("main", "first.txt", "of somebody else")
    gate.client.commits.create(gate.repository, "main", message="Somebody else")
    run = gate.run(again=gate.after(died))
    (failure,) = [event for event in run.all_events if event.is_step_failure]
    assert "first.txt" in failure.step_failure_data.error.message
    assert "launch a new run" in failure.step_failure_data.error.message
    assert gate.objects(f"dagster-{died.run_id}") == GOOD


# contexts


def test_two_bases_have_two_branches(gate, resource, materialize):
    gate.client.branches.create(gate.repository, name="staging", source="main")

    def write_to(base):
        @dg.asset(name=f"written_{base}")
        def written(context, lakefs: LakeFSResource) -> None:
            branch = lakefs.run_branch(context, gate.repository, base=base)
            assert branch.name == f"dagster-{context.run.run_id}" + ("-staging" if base == "staging" else "")
            gate.upload(branch.ensure(), f"{base}.txt", "good")
            branch.commit("Write")

        @dg.asset(name=f"on_{base}", deps=[written])
        def on_base(context, lakefs: LakeFSResource) -> None:
            lakefs.run_branch(context, gate.repository, base=base).publish("Publish")

        return written, on_base

    assert materialize([*write_to("staging"), *write_to("main")], resource).success
    assert gate.objects("main") == {"main.txt": "good"}
    assert gate.objects("staging") == {"staging.txt": "good"}


def test_a_check_executed_alone_reads_the_base(gate, resource, materialize):
    gate.upload("main", "a.txt", "good")
    commit = gate.client.commits.create(gate.repository, "main", message="Write").id
    seen = []

    @dg.asset_check(asset="written")
    def alone(context, lakefs: LakeFSResource) -> dg.AssetCheckResult:
        seen.append(lakefs.run_branch(context, gate.repository).ref)
        return dg.AssetCheckResult(passed=True)

    assert materialize([alone], resource, selection=dg.AssetSelection.all_asset_checks()).success
    assert seen == [commit]
    assert gate.branches == ["main"]


def test_direct_calls_share_the_branch_of_their_context(gate, resource):
    @dg.asset
    def written(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, gate.repository)
        gate.upload(branch.ensure(), "a.txt", "good")
        branch.commit("Write")

    @dg.asset
    def on_main(context, lakefs: LakeFSResource) -> None:
        lakefs.run_branch(context, gate.repository).publish("Publish")

    one, other = dg.build_asset_context(), dg.build_asset_context()
    written(one, lakefs=resource)
    with pytest.raises(dg.Failure, match="nothing to publish"):
        on_main(other, lakefs=resource)
    on_main(one, lakefs=resource)
    assert gate.objects() == {"a.txt": "good"}
    assert gate.branches == ["main"]


def test_ops_publish_as_assets_do(gate, resource, instance):
    @dg.op
    def written(context, lakefs: LakeFSResource) -> int:
        branch = lakefs.run_branch(context, gate.repository)
        gate.upload(branch.ensure(), "a.txt", "good")
        branch.commit("Write")
        return 1

    @dg.op
    def on_main(context, lakefs: LakeFSResource, number: int) -> None:
        lakefs.run_branch(context, gate.repository).publish("Publish")

    @dg.job(resource_defs={"lakefs": resource})
    def ops():
        on_main(written())

    assert ops.execute_in_process(instance=instance).success
    assert gate.objects() == {"a.txt": "good"}


@pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")
def test_a_commit_names_the_partition_range(gate, resource, materialize):
    days = dg.StaticPartitionsDefinition(["1", "2", "3"])

    @dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
    def written(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, gate.repository)
        for day in context.partition_keys:
            gate.upload(branch.ensure(), f"{day}.txt", "good")
            branch.commit(f"Day {day}")
        branch.publish("Publish")

    tags = {"dagster/asset_partition_range_start": "1", "dagster/asset_partition_range_end": "2"}
    assert materialize([written], resource, tags=tags).success
    assert gate.objects() == {"1.txt": "good", "2.txt": "good"}
    for commit in [commit for commit in gate.client.refs.log(gate.repository, "main") if "Day" in commit.message]:
        assert commit.metadata["::lakefs::Dagster::partition_range_start"] == "1"
        assert commit.metadata["::lakefs::Dagster::partition_range_end"] == "2"
