"""Real Airflow runs the example DAG against the embedded server over HTTP."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from example_dags import demo, weather

RULES = {"every_day_present", "no_day_twice", "physically_possible", "fits_the_climate"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture(scope="module")
def outcomes(lakefs, lake, folder):
    """A good month, the spoiled one, and the good one again, by ``dag.test()`` in a process of its own."""
    good, spoiled = ("2013-01", demo.GOOD), ("2013-03", demo.SPOILED)
    server = {
        "endpoint": lakefs.endpoint,
        "access_key_id": lakefs.access_key_id,
        "secret_access_key": lakefs.secret_access_key,
    }
    batches = [good, spoiled, good]
    return demo.run_host("Airflow", batches, lake.repository, server, folder / "airflow", lambda step: None)


def test_the_good_month_is_on_main_by_a_merge_and_its_branch_is_gone(lake, outcomes):
    good = outcomes[0]
    assert (good.month, good.state, good.error) == ("2013-01", "published", "")
    assert {check["name"] for check in good.checks} == RULES
    assert all(check["passed"] for check in good.checks)
    assert good.branch not in lake.branches()
    lake.assert_published("2013-01")


def test_nothing_of_the_spoiled_month_is_on_main_and_its_branch_is_kept(lake, outcomes):
    spoiled = outcomes[1]
    assert (spoiled.month, spoiled.state) == ("2013-03", "refused")
    assert "2013-03" not in lake.months() + lake.months(folder="daily") + lake.months(folder="summary")
    assert lake.branches() == [spoiled.branch]
    assert lake.raw("2013-03", spoiled.branch) == weather.read_batch(weather.DATA / "spoiled", "2013-03")


def test_the_failure_says_what_is_wrong_and_where_to_look(lake, outcomes, folder):
    spoiled = outcomes[1]
    failed = {check["name"]: check["findings"] for check in spoiled.checks if not check["passed"]}
    assert set(failed) == RULES
    assert failed["every_day_present"] == [f"2013-03-{day} is missing" for day in ("05", "06", "22")]
    only_logged = version("apache-airflow").startswith(("3.1.", "3.2."))
    error = (folder / "airflow.log").read_text() if only_logged else spoiled.error
    (main, *_), (sealed, *_) = lake.commits(), lake.commits(spoiled.branch)
    assert f"1 of 1 checks failed on commit {sealed.id}: " in error
    assert f"compare {lake.client.links.compare(lake.repository, main.id, sealed.id)}" in error


def test_a_month_that_main_already_holds_is_not_published_again(lake, outcomes):
    again = outcomes[2]
    assert (again.month, again.state, again.error) == ("2013-01", "published", "")
    assert all(check["passed"] for check in again.checks)
    assert again.branch not in lake.branches()
    lake.assert_published("2013-01")  # by one merge


def test_the_commits_name_the_run(lake, outcomes):
    for commit in lake.commits()[:2]:
        assert commit.metadata["::lakefs::Airflow::dag_id"] == "weather_wap"
        assert commit.metadata["month"] == "2013-01"
