"""Real Dagster materializes the example's assets against the embedded server over HTTP."""

from __future__ import annotations

import dagster as dg
import pytest
import requests

from dagster_resources import LakeFSResource
from example_dags import weather
from example_dags.dagster import quick_start, weather_wap
from lakefs_ops.flows.ensure import ensure_repository
from lakefs_ops.uri import LakeFSURI


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
                run_config=dg.RunConfig(
                    ops={"raw_weather": weather_wap.Delivery(inbox=str(weather.DATA / folder))}
                ).to_config_dict(),
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
    assert lakefs.client.commits.get("lake", "main").message == "Publish published"
    assert lakefs.client.objects.get("lake", "main", "readings.parquet").startswith(b"PAR1")


@pytest.mark.parametrize("example", [quick_start, weather_wap])
def test_the_definitions_load(example):
    dg.Definitions.validate_loadable(example.defs)


def job() -> dg.JobDefinition:
    jobs = dg.Definitions(jobs=[dg.define_asset_job("weather", executor_def=dg.in_process_executor)])
    return dg.Definitions.merge(weather_wap.defs, jobs).resolve_job_def("weather")


def test_objects_corrected_without_a_commit_are_not_published_with_the_spoiled_commit(lakefs, lake, good, monkeypatch):
    monkeypatch.setenv("LAKEFS_ENDPOINT", lakefs.endpoint)
    monkeypatch.setenv("LAKEFS_ACCESS_KEY_ID", lakefs.access_key_id)
    monkeypatch.setenv("LAKEFS_SECRET_ACCESS_KEY", lakefs.secret_access_key)
    month, before = "2013-03", lake.commits()

    def execute(folder, again=None):
        return dg.execute_job(
            dg.reconstructable(job),
            instance,
            run_config=dg.RunConfig(
                ops={"raw_weather": weather_wap.Delivery(inbox=str(weather.DATA / folder))}
            ).to_config_dict(),
            tags={"dagster/partition": month},
            reexecution_options=again,
        )

    with dg.DagsterInstance.ephemeral() as instance:
        spoiled = execute("spoiled")
        branch = f"dagster-{spoiled.run_id}"
        corrected = weather.read_batch(weather.DATA / "monthly", month)
        days = weather.parse(corrected)
        lake.client.objects.upload(lake.repository, branch, weather.raw_path(month), corrected)
        lake.client.objects.upload(lake.repository, branch, weather.daily_path(month), weather.clean(days))
        lake.client.objects.upload(lake.repository, branch, weather.summary_path(month), weather.summarize(month, days))

        again = execute("spoiled", dg.ReexecutionOptions.from_failure(spoiled.run_id, instance))
        assert not again.success
        assert lake.commits() == before
        assert lake.raw(month, branch) == corrected

        steps = ["weather_candidate", "weather_audit", "weather_on_main"]
        assert execute("spoiled", dg.ReexecutionOptions(again.run_id, step_selection=steps)).success
    assert lake.raw(month) == corrected
    assert branch not in lake.branches()


def test_the_links_of_a_published_month_stay_valid(lake, good):
    links = [
        value.value
        for node in ("raw_weather", "daily_weather", "weather_candidate", "weather_on_main")
        for materialization in good.asset_materializations_for_node(node)
        for key, value in materialization.metadata.items()
        if key == "dagster/uri" or isinstance(value, dg.UrlMetadataValue)
    ]
    assert len(links) == 7
    for link in links:
        assert f"dagster-{good.run_id}" not in link
        if link.startswith("lakefs://"):
            address = LakeFSURI.parse(link)
            assert lake.client.objects.get(address.repository, address.ref, address.path)
        else:
            assert requests.get(link, timeout=10).status_code == 200
