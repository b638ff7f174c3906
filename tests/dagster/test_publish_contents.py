"""Checks that read uncommitted objects: they count for the sealed commit if it has these very objects."""

from __future__ import annotations

import dagster as dg
import pytest

from dagster_resources import build_lakefs_publish_asset
from dagster_resources.publish import RunBranch
from dagster_resources.resource import LakeFSResource
from lakefs_ops.flows.checks import SUMMARY_KEY


class Lake:
    """A repository whose objects are written to and read from the branch of a run, as an IO manager does."""

    def __init__(self, client, repository):
        self.client, self.repository = client, repository

    def write(self, branch: RunBranch, path: str, content: str = "good") -> None:
        stored = self.client.objects.upload(self.repository, branch.ensure(), path, content.encode())
        branch.wrote_objects({path: stored.checksum})

    def read(self, branch: RunBranch, path: str) -> str:
        name = branch.name
        stat = self.client.objects.stat(self.repository, name, path)
        branch.read_objects({path: stat.checksum})
        return self.client.objects.get(self.repository, name, path).decode()

    def objects(self, ref="main"):
        listed = self.client.objects.list(self.repository, ref)
        return {e.path: self.client.objects.get(self.repository, ref, e.path).decode() for e in listed}


@pytest.fixture
def lake(lakefs, lakefs_repository):
    return Lake(lakefs.client, lakefs_repository)


def definitions(lake, *, between=None, reads=("written.txt",), writes=None, check=None):
    """Return an asset, its check and its publication; ``between`` runs after the check and before the publication."""

    @dg.asset
    def written(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, lake.repository)
        for path, content in (writes or {"written.txt": "good"}).items():
            lake.write(branch, path, content)

    @dg.asset_check(asset=written, blocking=True)
    def judged(context, lakefs: LakeFSResource) -> dg.AssetCheckResult:
        branch = lakefs.run_branch(context, lake.repository)
        contents = [lake.read(branch, path) for path in reads]
        if check:
            check(branch)
        return dg.AssetCheckResult(passed="bad" not in contents)

    @dg.asset(deps=[written])
    def later(context, lakefs: LakeFSResource) -> None:
        if between:
            between(lakefs.run_branch(context, lake.repository))

    @dg.asset(deps=[later])
    def on_main(context, lakefs: LakeFSResource) -> None:
        lakefs.run_branch(context, lake.repository).publish("Publish")

    return [written, judged, later, on_main]


def test_objects_that_a_check_read_are_committed_once_and_published(lake, resource, materialize):
    assert materialize(definitions(lake), resource).success
    assert lake.objects() == {"written.txt": "good"}
    merge, write, _ = lake.client.refs.log(lake.repository, "main")
    assert (merge.message, write.message) == ("Publish", "Publish")
    assert merge.metadata[SUMMARY_KEY] == "1 passed"


def upload(path, content="bad"):
    return lambda branch: branch.client.objects.upload(branch.repository, branch.name, path, content.encode())


def delete(branch):
    branch.client.objects.delete(branch.repository, branch.name, "written.txt")


def commit_foreign(branch):
    upload("foreign.txt")(branch)
    branch.client.commits.create(branch.repository, branch.name, message="Foreign")


MEDDLING = {
    "a replaced object": (upload("written.txt"), "uncommitted changes that no check judged, such as written.txt"),
    "a foreign object": (upload("foreign.txt"), "uncommitted changes that no check judged, such as foreign.txt"),
    "a deleted object": (delete, "judged another content of written.txt"),
    "a foreign commit": (commit_foreign, "or foreign.txt in it"),
}


@pytest.mark.parametrize("case", MEDDLING)
def test_anything_else_on_the_branch_refuses(case, lake, resource, materialize, sentence):
    between, words = MEDDLING[case]
    run = materialize(definitions(lake, between=between), resource)
    assert not run.success
    assert words in sentence(run)
    assert lake.objects() == {}
    assert f"dagster-{run.run_id}" in [branch.id for branch in lake.client.branches.list(lake.repository)]


def test_an_object_of_two_assets_refuses(lake, resource, instance, io_manager, sentence):
    @dg.asset(metadata={"lakefs/format": "text"})
    def report() -> str:
        return "the first"

    @dg.asset(metadata={"lakefs/path": "report.txt"}, io_manager_key="other", deps=[report])
    def other() -> str:
        return "the second"

    on_main = build_lakefs_publish_asset(name="on_main", deps=[report, other], repository=lake.repository)
    resources = {"lakefs": resource, "io_manager": io_manager(), "other": io_manager(format="csv")}
    run = dg.materialize([report, other, on_main], instance=instance, resources=resources, raise_on_error=False)
    assert "assets 'report' and 'other' have written the same object report.txt" in sentence(run)
    assert lake.objects() == {}


def test_an_object_that_is_lost_refuses_although_no_check_read_it(lake, resource, materialize, sentence):
    writes = {"written.txt": "good", "other.txt": "good"}

    def lose(branch):
        branch.client.objects.delete(branch.repository, branch.name, "other.txt")
        branch.commit("Commit without it")

    run = materialize(definitions(lake, between=lose, writes=writes), resource)
    assert not run.success
    assert "does not have other.txt as a step of this run wrote it" in sentence(run)


def test_a_check_that_reads_nothing_counts_for_what_its_asset_wrote(lake, resource, materialize, sentence):
    assert materialize(definitions(lake, reads=()), resource).success
    assert lake.objects() == {"written.txt": "good"}
    run = materialize(definitions(lake, reads=(), between=upload("written.txt")), resource)
    assert not run.success
    assert "written.txt" in sentence(run)


def test_an_object_of_the_base_that_a_check_read_must_be_unchanged(lake, resource, materialize):
    for number in range(30):
        lake.client.objects.upload(lake.repository, "main", f"base/{number}", b"good")
    lake.client.commits.create(lake.repository, "main", message="Base")
    for count in (1, 30):
        reads = ["written.txt", *(f"base/{number}" for number in range(count))]
        assert materialize(definitions(lake, reads=reads, writes={"written.txt": f"{count}"}), resource).success
    spoil = definitions(lake, reads=["written.txt", "base/0"], between=upload("base/0"), writes={"written.txt": "3"})
    assert not materialize(spoil, resource).success


def test_a_deletion_that_is_recorded_is_published(lake, resource, materialize):
    lake.client.objects.upload(lake.repository, "main", "old.txt", b"old")
    lake.client.commits.create(lake.repository, "main", message="Old")

    def drop(branch):
        branch.client.objects.delete(branch.repository, branch.ensure(), "old.txt")
        branch.wrote_objects({"old.txt": None})

    assert materialize(definitions(lake, between=drop), resource).success
    assert lake.objects() == {"written.txt": "good"}


def test_many_objects_are_recorded_in_several_events(lake, resource, materialize, mocker):
    mocker.patch("dagster_resources.history.OBJECTS_OF_AN_EVENT", 2)
    writes = {f"{number}.txt": "good" for number in range(5)}

    @dg.asset
    def written(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, lake.repository)
        name = branch.ensure()
        stored = {
            path: lake.client.objects.upload(lake.repository, name, path, content.encode()).checksum
            for path, content in writes.items()
        }
        branch.wrote_objects(stored)

    _, judged, later, on_main = definitions(lake, reads=list(writes))
    assert materialize([written, judged, later, on_main], resource).success
    assert lake.objects() == writes


def test_a_check_that_used_the_branch_with_uncommitted_changes_does_not_count(lake, resource, materialize, sentence):
    @dg.asset
    def written(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, lake.repository)
        upload("written.txt", "bad")(branch) if branch.ensure() else None
        branch.commit("Write")
        upload("written.txt", "good")(branch)

    @dg.asset_check(asset=written)
    def judged(context, lakefs: LakeFSResource) -> dg.AssetCheckResult:
        name = lakefs.run_branch(context, lake.repository).name
        content = lake.client.objects.get(lake.repository, name, "written.txt")
        lake.client.branches.reset(lake.repository, name, type="reset")
        return dg.AssetCheckResult(passed=content == b"good")

    run = materialize([written, judged, *definitions(lake)[2:]], resource)
    assert not run.success
    assert "check 'judged' of 'written' read the branch while it had uncommitted changes" in sentence(run)
    assert lake.objects() == {}


def test_a_step_that_used_the_branch_and_failed_refuses(lake, resource, materialize):
    @dg.asset
    def other(context, lakefs: LakeFSResource) -> None:
        lake.write(lakefs.run_branch(context, lake.repository), "half.txt")
        raise RuntimeError("died")

    run = materialize([other, *definitions(lake)], resource)
    failures = [event for event in run.all_events if event.is_step_failure]
    messages = [event.step_failure_data.error.message for event in failures]
    assert any("step 'other' used the branch and did not succeed" in message for message in messages)
    assert lake.objects() == {}


def test_a_failed_check_of_an_asset_elsewhere_does_not_refuse(lake, resource, materialize):
    @dg.asset
    def elsewhere() -> None: ...

    @dg.asset_check(asset=elsewhere)
    def wrong() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    assert materialize([elsewhere, wrong, *definitions(lake)], resource).success
    assert lake.objects() == {"written.txt": "good"}


def test_a_commit_without_a_branch_is_one_clear_sentence(lake, resource, materialize, sentence):
    @dg.asset
    def careless(context, lakefs: LakeFSResource) -> None:
        lakefs.run_branch(context, lake.repository).commit("Nothing")

    run = materialize([careless], resource)
    assert "nothing to commit" in sentence(run)
    assert "RunBranch.ensure()" in sentence(run)
