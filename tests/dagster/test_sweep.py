"""The sweeper deletes what is published and ended, and nothing else."""

from datetime import timedelta

import dagster as dg
import pytest

from dagster_resources import build_lakefs_sweeper
from dagster_resources.resource import LakeFSResource
from lakefs_ops.errors import InvalidArgument


@pytest.fixture
def sweep(lakefs_repository, resource, instance):
    def sweep(older_than=timedelta(seconds=-5), **options):  # the server's time has seconds
        schedule = build_lakefs_sweeper(repository=lakefs_repository, older_than=older_than, **options)
        run = schedule.job.execute_in_process(instance=instance, resources={"lakefs": resource})
        return run.output_for_node("lakefs_sweeper_op")

    return sweep


@pytest.fixture
def branches(lakefs, lakefs_repository):
    return lambda: {branch.id for branch in lakefs.client.branches.list(lakefs_repository)} - {"main"}


@pytest.fixture
def run(lakefs_repository, resource, instance):
    """Runs an asset that writes and commits, and perhaps publishes by other means than the run branch."""

    def run(path, *, merge):
        @dg.asset(name=f"asset_{path}")
        def asset(context, lakefs: LakeFSResource):
            branch = lakefs.run_branch(context, lakefs_repository)
            lakefs.get_client().objects.upload(lakefs_repository, branch.ensure(), path, b"1")
            branch.commit("data")
            if merge:
                lakefs.get_client().refs.merge(lakefs_repository, branch.name, "main")

        result = dg.materialize([asset], instance=instance, resources={"lakefs": resource})
        assert result.success
        return f"dagster-{result.run_id}"

    return run


def test_published_branches_of_ended_runs_are_deleted(sweep, run, branches):
    published, unpublished = run("a", merge=True), run("b", merge=False)
    assert branches() == {published, unpublished}
    assert sweep(dry_run=True) == [published]
    assert sweep(older_than=timedelta(hours=1)) == []
    assert branches() == {published, unpublished}
    assert sweep() == [published]
    assert branches() == {unpublished}
    assert sweep(discard=True) == [unpublished]
    assert branches() == set()


def test_branches_of_live_and_unknown_runs_are_kept(sweep, run, branches, lakefs, lakefs_repository, instance):
    published = run("a", merge=True)
    run_id = published.removeprefix("dagster-")
    # A re-execution of a run has both tags and fields.
    again = instance.create_run_for_job(
        dg.job(name="again")(lambda: None),
        root_run_id=run_id,
        parent_run_id=run_id,
        tags={"dagster/root_run_id": run_id, "dagster/parent_run_id": run_id},
    )
    assert sweep(discard=True) == []
    instance.report_run_canceled(again)
    others = "dagster-00000000-0000-0000-0000-000000000000"
    lakefs.client.branches.create(lakefs_repository, name=others, source=published)
    lakefs.client.branches.create(lakefs_repository, name="dagster-by-hand", source=published)
    assert sweep(discard=True) == [published]
    assert branches() == {others, "dagster-by-hand"}


def test_a_wrong_age_is_refused():
    with pytest.raises(InvalidArgument, match="older_than must be a timedelta, got 7"):
        build_lakefs_sweeper(repository="lake", older_than=7)
