"""Real Dagster materializes the example's assets against the embedded server over HTTP."""

from __future__ import annotations

import dagster as dg
import pytest

from dagster_resources import LakeFSResource
from example_dags import weather
from example_dags.dagster import quick_start, weather_wap
from lakefs_ops.flows.ensure import ensure_repository


@pytest.fixture(scope="module")
def run(lakefs, lake):
    resource = LakeFSResource(
        endpoint=lakefs.endpoint, access_key_id=lakefs.access_key_id, secret_access_key=lakefs.secret_access_key
    )
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setattr(weather_wap, "REPOSITORY", lake.repository)

        def run(month, folder):
            return dg.materialize(
                weather_wap.ASSETS,
                instance=instance,
                partition_key=month,
                run_config=dg.RunConfig(ops={"raw_weather": weather_wap.Delivery(inbox=str(weather.DATA / folder))}),
                resources={"lakefs": resource},
                raise_on_error=False,
            )

        yield run


@pytest.fixture(scope="module")
def good(run):
    return run("2013-02", "monthly")


@pytest.fixture(scope="module")
def spoiled(good, run):
    return run("2013-03", "spoiled")


def test_the_good_month_is_on_main_by_a_merge_and_its_branch_is_gone(lake, good, spoiled):
    assert good.success
    assert {evaluation.check_name for evaluation in good.get_asset_check_evaluations()} == set(weather.RULES)
    assert f"dagster-{good.run_id}" not in lake.branches()
    lake.assert_published("2013-02")


def test_the_merge_is_linked_from_the_asset(lake, good, spoiled):
    (materialization,) = good.asset_materializations_for_node("weather_on_main")
    merge = lake.commits()[0].id
    assert materialization.metadata["lakefs/commit_id"].value == merge
    assert materialization.metadata["lakefs/commit"].value == lake.client.links.commit(lake.repository, merge)


def test_nothing_of_the_spoiled_month_is_on_main_and_its_branch_is_kept(lake, spoiled):
    branch = f"dagster-{spoiled.run_id}"
    assert not spoiled.success
    assert not spoiled.asset_materializations_for_node("weather_on_main")
    assert "2013-03" not in lake.months() + lake.months(folder="daily") + lake.months(folder="summary")
    assert lake.branches() == [branch]
    assert lake.raw("2013-03", branch) == weather.read_batch(weather.DATA / "spoiled", "2013-03")


def test_the_checks_say_what_is_wrong_and_where_to_look(lake, spoiled):
    failed = {check.check_name: check for check in spoiled.get_asset_check_evaluations() if not check.passed}
    assert set(failed) == set(weather.RULES) - {"minimum_below_maximum"}
    check = failed["every_day_present"]
    assert check.description == (
        "every_day_present: FAILED: 2013-03-05 is missing; 2013-03-06 is missing; 2013-03-22 is missing"
    )
    (candidate,) = spoiled.asset_materializations_for_node("weather_candidate")
    commit = candidate.metadata["lakefs/commit_id"].value
    link = lake.client.links.compare(lake.repository, "main", commit)
    assert check.metadata["lakefs/compare"].value == link


@pytest.fixture
def lake_of_the_quick_start(lakefs, lakefs_repository):
    beside = lakefs.client.repositories.get(lakefs_repository).storage_namespace
    ensure_repository(lakefs.client, "lake", storage_namespace=f"{beside}-lake")
    yield
    lakefs.client.repositories.delete("lake", force=True)


@pytest.mark.usefixtures("lake_of_the_quick_start")
def test_the_quick_start(lakefs, monkeypatch):
    monkeypatch.setenv("LAKEFS_ENDPOINT", lakefs.endpoint)
    monkeypatch.setenv("LAKEFS_ACCESS_KEY_ID", lakefs.access_key_id)
    monkeypatch.setenv("LAKEFS_SECRET_ACCESS_KEY", lakefs.secret_access_key)
    job = quick_start.defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance).success
    assert lakefs.client.commits.get("lake", "main").message == "Publish the readings"
    assert lakefs.client.objects.get("lake", "main", "readings.csv").startswith(b"day,celsius")


@pytest.mark.parametrize("example", [quick_start, weather_wap])
def test_the_definitions_load(example):
    dg.Definitions.validate_loadable(example.defs)
