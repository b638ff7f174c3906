"""Write, audit, publish: nothing of a run is on main before its checks passed, whatever is repeated."""

from __future__ import annotations

import os

import dagster as dg
import pytest

from dagster_resources.metadata import COMMIT_PREFIX
from dagster_resources.resource import LakeFSResource

# A job that can be re-executed is imported afresh, so what it should do comes through the environment.
REPOSITORY, CONTENT, CHECK, DIES = "WAP_REPOSITORY", "WAP_CONTENT", "WAP_CHECK", "WAP_DIES"


@dg.asset
def written(context, lakefs: LakeFSResource):
    branch = lakefs.run_branch(context, os.environ[REPOSITORY])
    content = os.environ[CONTENT].encode()
    lakefs.get_client().objects.upload(branch.repository, branch.ensure(), "a.txt", content)
    return dg.MaterializeResult(metadata={"commit": branch.commit("Write")})


@dg.asset_check(asset=written, blocking=True)
def judged() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=os.environ[CHECK] == "passes")


@dg.asset_check(asset=written)
def remarked() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=os.environ[CHECK] == "passes", severity=dg.AssetCheckSeverity.WARN)


@dg.asset(deps=[written])
def published(context, lakefs: LakeFSResource):
    merge = lakefs.run_branch(context, os.environ[REPOSITORY]).publish("Publish")
    if os.environ[DIES] == "yes":
        raise RuntimeError("died after the merge")
    return dg.MaterializeResult(metadata={"commit": merge})


def make_job(executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    resource = LakeFSResource(
        endpoint=dg.EnvVar("WAP_ENDPOINT"),
        access_key_id=dg.EnvVar("WAP_KEY"),
        secret_access_key=dg.EnvVar("WAP_SECRET"),
        webserver_url="http://dagster.example.com/",
    )
    return dg.Definitions(
        [written, published],
        asset_checks=[judged, remarked],
        jobs=[dg.define_asset_job("wap", executor_def=executor)],
        resources={"lakefs": resource},
    ).resolve_job_def("wap")


def job() -> dg.JobDefinition:
    return make_job(dg.in_process_executor)


def multiprocess_job() -> dg.JobDefinition:
    """Each step in a fork of a process that has imported Dagster, which takes seconds."""
    loaded = {"preload_modules": ["dagster", "dagster_resources.publish"]}
    return make_job(dg.multiprocess_executor.configured({"start_method": {"forkserver": loaded}}))


class Wap:
    """The job, its repository, and what is in there."""

    def __init__(self, lakefs, repository, instance, monkeypatch):
        self.client, self.repository, self.instance, self.setenv = (
            lakefs.client,
            repository,
            instance,
            monkeypatch.setenv,
        )
        self.setenv("WAP_ENDPOINT", lakefs.endpoint)
        self.setenv("WAP_KEY", lakefs.access_key_id)
        self.setenv("WAP_SECRET", lakefs.secret_access_key)
        self.setenv(REPOSITORY, repository)

    def run(self, *, content="1", check="passes", dies="no", again=None, selection=None, job=job):
        self.setenv(CONTENT, content)
        self.setenv(CHECK, check)
        self.setenv(DIES, dies)
        return dg.execute_job(
            dg.reconstructable(job), self.instance, reexecution_options=again, asset_selection=selection
        )

    def after(self, run):
        return dg.ReexecutionOptions.from_failure(run.run_id, self.instance)

    @property
    def log(self):
        return [commit.message for commit in self.client.refs.log(self.repository, "main")]

    @property
    def branches(self):
        return [branch.id for branch in self.client.branches.list(self.repository)]

    def content(self, ref="main"):
        return self.client.objects.get(self.repository, ref, "a.txt").decode()


@pytest.fixture
def wap(lakefs, lakefs_repository, instance, monkeypatch):
    return Wap(lakefs, lakefs_repository, instance, monkeypatch)


def test_a_run_that_passes_is_published(wap):
    run = wap.run()
    assert run.success
    merge, write, _ = wap.client.refs.log(wap.repository, "main")
    assert [merge.message, write.message] == ["Publish", "Write"]
    for commit in (merge, write):
        assert commit.metadata[f"{COMMIT_PREFIX}root_run_id"] == run.run_id
        assert commit.metadata["::lakefs::Dagster::job_name"] == "wap"
        assert commit.metadata["::lakefs::Dagster::url[url:ui]"] == f"http://dagster.example.com/runs/{run.run_id}"
    assert wap.content() == "1"
    assert wap.branches == ["main"]


def test_steps_in_processes_of_their_own_share_the_branch(wap, tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as wap.instance:
        assert wap.run(job=multiprocess_job).success
    assert wap.log[:2] == ["Publish", "Write"]
    assert wap.branches == ["main"]


def test_a_failed_check_keeps_main_and_the_branch(wap, sentence):
    before = wap.log
    run = wap.run(check="fails")
    assert not run.success
    assert "judged" in sentence(run)
    assert wap.log == before
    assert wap.branches == [f"dagster-{run.run_id}", "main"]
    assert wap.content(f"dagster-{run.run_id}") == "1"


def test_re_execution_from_the_failure_goes_on_where_it_stopped(wap):
    failed = wap.run(check="fails")
    run = wap.run(content="not written again", again=wap.after(failed))
    assert run.success
    assert wap.log[:2] == ["Publish", "Write"]
    assert wap.content() == "1"
    assert wap.branches == ["main"]


def test_re_execution_of_everything_publishes_the_new_data(wap):
    failed = wap.run(check="fails")
    again = dg.ReexecutionOptions(failed.run_id)
    assert wap.run(content="2", again=again).success
    assert (wap.content(), wap.log[:3]) == ("2", ["Publish", "Write", "Write"])
    # The branch is gone; the same root run begins a new one from main.
    assert wap.run(content="3", again=again).success
    assert (wap.content(), wap.log[:2]) == ("3", ["Publish", "Write"])
    assert wap.branches == ["main"]


def test_a_step_that_died_after_its_merge_does_not_merge_again(wap):
    died = wap.run(dies="yes")
    assert not died.success
    before = wap.log
    assert before[:2] == ["Publish", "Write"]
    run = wap.run(again=wap.after(died))
    assert run.success
    assert wap.log == before


def test_a_step_that_died_after_its_commit_does_not_commit_again(wap):
    # "written" ends, but its success is not recorded: the next run finds the branch's head.
    failed = wap.run(check="fails")
    run = wap.run(again=dg.ReexecutionOptions(failed.run_id))
    assert run.success
    assert wap.log[:3] == ["Publish", "Write", "Repository created"]


def test_publishing_what_main_already_holds_changes_nothing(wap):
    assert wap.run().success
    before = wap.log
    assert wap.run().success
    assert wap.log == before
    assert wap.branches == ["main"]


def test_re_executing_the_publication_alone_does_not_get_around_the_check(wap, sentence):
    failed = wap.run(check="fails")
    run = wap.run(
        again=dg.ReexecutionOptions(failed.run_id, step_selection=["published"]),
    )
    assert not run.success
    assert (
        "not published, because check 'judged' of 'written' failed; re-execute the run with these checks"
        in sentence(run)
    )
    assert "; 'main' is unchanged; compare " in sentence(run)
    assert f"/repositories/{wap.repository}/compare?ref=main&compare=dagster-{failed.run_id}" in sentence(run)


def test_publishing_alone_has_nothing_to_publish(wap, sentence):
    run = wap.run(selection=[dg.AssetKey("published")])
    assert not run.success
    assert "nothing to publish" in sentence(run)


def test_a_conflict_names_the_paths_and_keeps_both(wap, sentence):
    failed = wap.run(check="fails")
    wap.client.objects.upload(wap.repository, "main", "a.txt", b"somebody else's")
    wap.client.commits.create(wap.repository, "main", message="Somebody else")
    run = wap.run(again=wap.after(failed))
    assert not run.success
    assert "both changed a.txt" in sentence(run)
    assert wap.content() == "somebody else's"
    assert f"dagster-{failed.run_id}" in wap.branches
