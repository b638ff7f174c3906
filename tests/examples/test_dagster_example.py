"""Real Dagster materializes the example's assets against the embedded server over HTTP."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import requests

from example_dags import weather
from example_dags.dagster import quick_start, weather_wap
from lakefs_ops.flows.ensure import ensure_repository
from lakefs_ops.uri import LakeFSURI


@pytest.fixture(scope="module", autouse=True)
def environment(lakefs, lake):
    """The example reads its repository and the server from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEATHER_REPOSITORY", lake.repository)
        patch.setenv("LAKEFS_ENDPOINT", lakefs.endpoint)
        patch.setenv("LAKEFS_ACCESS_KEY_ID", lakefs.access_key_id)
        patch.setenv("LAKEFS_SECRET_ACCESS_KEY", lakefs.secret_access_key)
        importlib.reload(weather_wap)
        yield


def job() -> dg.JobDefinition:
    jobs = dg.Definitions(jobs=[dg.define_asset_job("weather", executor_def=dg.in_process_executor)])
    return dg.Definitions.merge(weather_wap.defs, jobs).resolve_job_def("weather")


@pytest.fixture(scope="module")
def run(environment):
    with dg.DagsterInstance.ephemeral() as instance:

        def run(month, inbox, again=None, steps=None):
            """Run the example, or re-execute a run from its failure or with some steps."""
            options = None
            if again is not None:
                failure = dg.ReexecutionOptions.from_failure(again.run_id, instance)
                options = dg.ReexecutionOptions(again.run_id, step_selection=steps) if steps else failure
            return dg.execute_job(
                dg.reconstructable(job),
                instance,
                run_config=dg.RunConfig(ops={"raw_weather": weather_wap.Delivery(inbox=str(inbox))}).to_config_dict(),
                tags={"dagster/partition": month},
                reexecution_options=options,
            )

        yield run


def events(run, type_):
    return [event for event in run.all_events if event.event_type == type_]


def materializations(run, asset):
    found = [event.step_materialization_data for event in events(run, dg.DagsterEventType.ASSET_MATERIALIZATION)]
    return [each.materialization for each in found if each.materialization.asset_key == dg.AssetKey(asset)]


def evaluations(run):
    found = events(run, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return {event.asset_check_evaluation_data.check_name: event.asset_check_evaluation_data for event in found}


@pytest.fixture(scope="module")
def good(run):
    return run("2013-02", weather.DATA / "monthly")


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    """A folder to which the spoiled month was delivered."""
    inbox = tmp_path_factory.mktemp("inbox")
    (inbox / "2013-03.csv").write_bytes(weather.read_batch(weather.DATA / "spoiled", "2013-03"))
    return inbox


@pytest.fixture(scope="module")
def spoiled(good, run, inbox):
    return run("2013-03", inbox)


def test_the_good_month_is_on_main_by_a_merge_and_its_branch_is_gone(lake, good, spoiled):
    assert good.success
    assert set(evaluations(good)) == set(weather.RULES)
    assert f"dagster-{good.run_id}" not in lake.branches()
    lake.assert_published("2013-02", commit="Publish the weather of {}")


def test_the_merge_is_linked_from_the_asset(lake, good, spoiled):
    (materialization,) = materializations(good, "weather_on_main")
    merge = lake.commits()[0].id
    assert materialization.metadata["lakefs/commit_id"].value == merge
    assert materialization.metadata["lakefs/commit"].value == lake.client.links.commit(lake.repository, merge)


def test_nothing_of_the_spoiled_month_is_on_main_and_its_branch_is_kept(lake, spoiled):
    branch = f"dagster-{spoiled.run_id}"
    assert not spoiled.success
    assert not materializations(spoiled, "weather_on_main")
    assert "2013-03" not in lake.months() + lake.months(folder="daily") + lake.months(folder="summary")
    assert lake.branches() == [branch]
    assert lake.raw("2013-03", branch) == weather.read_batch(weather.DATA / "spoiled", "2013-03")


def test_the_checks_say_what_is_wrong_and_where_to_look(lake, spoiled):
    failed = {name: check for name, check in evaluations(spoiled).items() if not check.passed}
    assert set(failed) == set(weather.RULES) - {"minimum_below_maximum"}
    check = failed["every_day_present"]
    assert check.description == "2013-03-05 is missing; 2013-03-06 is missing; 2013-03-22 is missing"
    link = lake.client.links.uncommitted(lake.repository, f"dagster-{spoiled.run_id}")
    assert check.metadata["lakefs/uncommitted"].value == link
    shown = [change.path for change in lake.client.branches.diff(lake.repository, f"dagster-{spoiled.run_id}")]
    assert shown == ["daily/2013-03.csv", "raw/2013-03.csv"]


def test_the_links_of_a_published_month_stay_valid(lake, good):
    links = [
        value.value
        for asset in ("raw_weather", "daily_weather", "weather_summary", "weather_on_main")
        for each in (*materializations(good, asset), *evaluations(good).values())
        for key, value in each.metadata.items()
        if key == "dagster/uri" or isinstance(value, dg.UrlMetadataValue)
    ]
    assert len(links) == 8
    for link in links:
        assert f"dagster-{good.run_id}" not in link
        if link.startswith("lakefs://"):
            address = LakeFSURI.parse(link)
            assert lake.client.objects.get(address.repository, address.ref, address.path)
        else:
            assert requests.get(link, timeout=10).status_code == 200


def test_a_corrected_batch_is_published_by_a_re_execution_and_a_corrected_branch_is_not(lake, run, spoiled, inbox):
    month, before, branch = "2013-03", lake.commits(), f"dagster-{spoiled.run_id}"
    for path, table in weather.tables(weather.DATA / "monthly", month).items():
        lake.client.objects.upload(lake.repository, branch, path, table)
    by_hand = run(month, inbox, again=spoiled)
    assert all(check.passed for check in evaluations(by_hand).values())
    assert not by_hand.success
    assert lake.commits() == before
    assert lake.raw(month, branch) == weather.read_batch(weather.DATA / "monthly", month)

    (inbox / f"{month}.csv").write_bytes(weather.read_batch(weather.DATA / "monthly", month))
    assert run(month, inbox, again=spoiled, steps=["raw_weather*"]).success
    assert branch not in lake.branches()
    for path, table in weather.tables(weather.DATA / "monthly", month).items():
        assert lake.client.objects.get(lake.repository, "main", path) == table


def test_polars_writes_the_table_that_the_other_host_writes():
    for file in sorted((weather.DATA / "monthly").glob("*.csv"))[::6]:
        frame = pl.read_csv(file, infer_schema_length=None)
        expected = weather.tables(file.parent, file.stem)[weather.daily_path(file.stem)]
        assert weather_wap.daily_weather(frame).write_csv().encode() == expected


@pytest.fixture
def lake_of_the_quick_start(lakefs, lakefs_repository):
    beside = lakefs.client.repositories.get(lakefs_repository).storage_namespace
    ensure_repository(lakefs.client, "lake", storage_namespace=f"{beside}-lake")
    yield
    lakefs.client.repositories.delete("lake", force=True)


@pytest.mark.usefixtures("lake_of_the_quick_start")
def test_the_quick_start(lakefs):
    job = quick_start.defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance).success
    assert lakefs.client.commits.get("lake", "main").message == "Publish published"
    assert lakefs.client.objects.get("lake", "main", "readings.parquet").startswith(b"PAR1")


def test_dagsters_own_validation_loads_every_example():
    root = Path(quick_start.__file__).parents[2]
    files = sorted((root / "example_dags" / "dagster").glob("*.py"))
    options = [word for file in files for word in ("-f", str(file))]
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-d", str(root), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    for file in files:
        assert f"Validation successful for code location {file.name}" in done.stdout + done.stderr
