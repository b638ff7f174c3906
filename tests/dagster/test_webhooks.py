"""Webhooks: lakeFS sends an event, and what has changed is observed, once."""

import time

import dagster as dg
import pytest
import requests

from dagster_resources import LakeFSPartitions, build_lakefs_observable_source
from dagster_resources.webhooks import LakeFSWebhooks
from example_dags.serving import serving
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.webhooks import SECRET_HEADER, VARIABLE, install_webhook

SECRET = "a secret of enough characters"
YEAR = dg.DailyPartitionsDefinition(start_date="2015-01-01", end_date="2016-01-01")


def eventually(met):
    for _ in range(1000):
        if met():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


@pytest.fixture
def observed(instance):
    """Returns the partitions and data versions of a source's observations, oldest first."""

    def observed(source):
        records = instance.fetch_observations(source.key, limit=1000).records[::-1]
        events = [record.asset_observation for record in records]
        return [(event.partition, event.tags["dagster/data_version"]) for event in events]

    return observed


def test_lakefs_sends_each_change_to_dagster(
    resource, instance, observed, commit_to_main, lakefs, lakefs_repository, monkeypatch
):
    monkeypatch.setenv(VARIABLE, SECRET)
    source = build_lakefs_observable_source(key="pushed", repository=lakefs_repository, prefix="a/")
    other = build_lakefs_observable_source(key="not_pushed", repository=lakefs_repository, branch="other")
    app = LakeFSWebhooks([source, other], lakefs=resource, secret=SECRET, instance=instance, poll_interval=0)
    with serving(app) as port:
        url = f"http://127.0.0.1:{port}/"
        made = [
            install_webhook(lakefs.client, lakefs_repository, "main", url=url, watch=["main"], name="dagster").commit_id
        ]
        eventually(lambda: observed(source))
        commit_to_main({"b": b"1"})
        made.append(commit_to_main({"a/1": b"1"}))
        eventually(lambda: len(observed(source)) == 2)
        body = f'{{"repository_id": "{lakefs_repository}", "branch_id": "main"}}'
        for _ in range(2):  # again
            answer = requests.post(url, data=body, headers={SECRET_HEADER: SECRET}, timeout=60)
            assert answer.json() == {"observations": 0}
    made.append(commit_to_main({"a/1": b"2"}))  # nothing listens
    app = LakeFSWebhooks([source], lakefs=resource, secret=SECRET, instance=instance)
    with serving(app, port):  # observes at its start
        eventually(lambda: len(observed(source)) == 3)
    assert observed(source) == [(None, id_) for id_ in made]
    assert observed(other) == []


def test_an_idle_receiver_sends_nothing(
    resource, instance, observed, commit_to_main, lakefs, lakefs_repository, monkeypatch
):
    monkeypatch.setenv(VARIABLE, SECRET)
    source = build_lakefs_observable_source(key="idle", repository=lakefs_repository)
    app = LakeFSWebhooks([source], lakefs=resource, secret=SECRET, instance=instance)  # the default interval of polls
    with serving(app) as port:
        url = f"http://127.0.0.1:{port}/"
        installed = install_webhook(lakefs.client, lakefs_repository, "main", url=url, watch=["main"]).commit_id
        eventually(lambda: installed in [version for _, version in observed(source)])
        last = None
        while last != (last := lakefs.faults.calls):  # the observation at the start has ended
            time.sleep(0.5)
        time.sleep(1.5)
        assert lakefs.faults.calls == last
        made = commit_to_main({"a": b"1"})
        eventually(lambda: observed(source)[-1] == (None, made))


# By Dagster's own test helper.
@pytest.mark.filterwarnings("ignore:Parameter `include_sources`", "ignore:Property `OpDefinition.version`")
def test_365_days_and_a_commit_of_3_are_3_runs_and_a_revert_too(
    resource, instance, observed, commit_to_main, lakefs, lakefs_repository
):
    partitions = LakeFSPartitions(YEAR, "d/{day}.csv")
    days = build_lakefs_observable_source(key="pushed_days", repository=lakefs_repository, partitions=partitions)
    condition = dg.AutomationCondition.any_deps_updated()

    @dg.asset(deps=[days], partitions_def=YEAR, automation_condition=condition)
    def from_days() -> None: ...

    definitions = dg.Definitions([days, from_days], resources={"lakefs": resource})
    app = LakeFSWebhooks([days], lakefs=resource, secret=SECRET, instance=instance)
    commit_to_main({f"d/{day}.csv": b"1" for day in YEAR.get_partition_keys()})
    cursor = None

    def requested():
        nonlocal cursor
        result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
        cursor = result.cursor
        return sorted(result.get_requested_partitions(from_days.key))

    assert app.observe(lakefs_repository, "main") == 365
    requested()
    three = ["2015-01-17", "2015-04-10", "2015-12-31"]
    made = commit_to_main({"readme.md": b"2"} | {f"d/{day}.csv": b"2" for day in three})
    assert app.observe(lakefs_repository, "main") == 3
    assert sorted(partition for partition, _ in observed(days)[365:]) == three
    assert requested() == three
    lakefs.client.branches.revert(lakefs_repository, "main", ref=made, parent_number=1)
    assert app.observe(lakefs_repository, "main") == 3
    assert requested() == three
    assert app.observe() == 0
    assert requested() == []


@pytest.mark.parametrize(
    ("method", "secret", "body", "status"),
    [
        ("GET", SECRET, "", 405),
        ("POST", None, "{}", 401),
        ("POST", "wrong", "{}", 401),
        ("POST", SECRET, "[]", 400),
        ("POST", SECRET, "x" * 1_100_000, 413),
        ("POST", SECRET, '{"repository_id": "no-such", "branch_id": "main"}', 503),
        ("POST", SECRET, '{"repository_id": "other", "branch_id": "main"}', 200),
    ],
)
def test_responses(resource, instance, method, secret, body, status):
    source = build_lakefs_observable_source(key="responses", repository="no-such")
    app = LakeFSWebhooks([source], lakefs=resource, secret=SECRET, instance=instance, poll_interval=0)
    with serving(app) as port:
        headers = {SECRET_HEADER: secret} if secret else {}
        response = requests.request(method, f"http://127.0.0.1:{port}/", headers=headers, data=body, timeout=60)
    assert response.status_code == status
    assert SECRET not in response.text


@pytest.mark.filterwarnings("ignore:Function `observable_source_asset`")
def test_arguments(resource):
    @dg.observable_source_asset
    def mine(): ...

    with pytest.raises(InvalidArgument, match="at least 16 characters"):
        LakeFSWebhooks([], lakefs=resource, secret="short")
    with pytest.raises(InvalidArgument, match="mine is not from build_lakefs_observable_source"):
        LakeFSWebhooks([mine], lakefs=resource, secret=SECRET)
