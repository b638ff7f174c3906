"""Webhooks: each commit is one asset event, whatever gets lost, repeated or killed."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import airflow.sdk
import pytest
import requests
from airflow.models import asset as asset_models
from airflow.models.asset import AssetDagRunQueue, AssetEvent, AssetModel
from airflow.models.variable import Variable
from airflow.sdk import DAG, Asset, AssetWatcher
from airflow.utils.session import create_session

from airflow_provider.assets import commits as registry
from airflow_provider.assets.lakefs import PARTITIONS, create_asset
from airflow_provider.operators import LakeFSCommitOperator
from airflow_provider.plugin import LakeFSPlugin
from airflow_provider.triggers import LakeFSCommitTrigger
from airflow_provider.webhooks import create_app
from example_dags.serving import serving
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.webhooks import SECRET_HEADER, VARIABLE, install_webhook

SECRET = "a secret of enough characters"
PARTITIONED = pytest.mark.skipif(not hasattr(AssetEvent, "partition_key"), reason="came with Airflow 3.2")


@pytest.fixture
def watch(store_dag: Callable[[DAG], None], lakefs_repository: str) -> Callable[..., None]:
    """Stores a DAG that waits for assets; the commits that exist by then are not new."""

    def watch(*assets: Asset, dag_id: str | None = None, **arguments: Any) -> None:
        schedule = arguments.pop("schedule", list(assets))
        with DAG(dag_id or lakefs_repository, schedule=schedule, is_paused_upon_creation=False) as dag:

            @dag.task
            def report() -> None: ...

            report()
        store_dag(dag)

    return watch


@pytest.fixture
def events(airflow_database: Any) -> Callable[..., list[tuple[Any, ...]]]:
    """Returns the commits of an asset's events, in order; with ``keys``, also the partitions."""

    def events(uri: str, *, keys: bool = False) -> list[Any]:
        with create_session() as session:
            query = session.query(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
            found = query.filter(AssetModel.uri == uri).order_by(AssetEvent.id)
            return [
                (event.extra["commit_id"], event.partition_key) if keys else event.extra["commit_id"] for event in found
            ]

    return events


@pytest.fixture
def commit(lakefs: Any, lakefs_repository: str, connection: Any) -> Callable[..., str]:
    """Commits objects to main; returns the commit's id."""

    def commit(*paths: str, content: bytes = b"1", **metadata: str) -> str:
        for path in paths or ("daily/1",):
            lakefs.client.objects.upload(lakefs_repository, "main", path, content)
        made = lakefs.client.commits.create(
            lakefs_repository, "main", message="Add", metadata=metadata, allow_empty=True
        )
        return made.id

    return commit


@pytest.fixture(autouse=True)
def _no_clock_skew(monkeypatch: pytest.MonkeyPatch) -> None:
    # The commits of the setup are a few milliseconds old, and lakeFS counts seconds.
    monkeypatch.setattr("lakefs_ops.flows.conditions.CLOCK_SKEW", 1)


def begin(lakefs: Any, repository: str) -> None:
    """Start to count with the present commits."""
    assets = [asset for asset in registry.watched_assets() if asset.repository == repository]
    registry._register_all(lakefs.client, assets, polled=True)
    with create_session() as session:
        session.query(AssetEvent).delete()
        if hasattr(asset_models, "AssetPartitionDagRun"):  # since Airflow 3.2
            session.query(asset_models.AssetPartitionDagRun).delete()


def eventually(met: Callable[[], Any]) -> None:
    for _ in range(1000):
        if met():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def test_lakefs_sends_each_commit_and_tag_to_airflow(
    lakefs: Any, lakefs_repository: str, watch: Any, events: Any, commit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = lakefs_repository
    branch, folder, other = (f"lakefs://{repository}/{path}" for path in ("main", "main/daily", "main/other"))
    tag = f"lakefs://{repository}/v1"
    watch(Asset(branch), Asset(folder), Asset(other), Asset(tag))
    begin(lakefs, repository)
    monkeypatch.setenv(VARIABLE, SECRET)
    client = lakefs.client
    with serving(create_app(SECRET, poll_interval=0)) as port:
        installed = install_webhook(
            client, repository, "main", url=f"http://127.0.0.1:{port}/webhook", watch=["main"]
        ).commit_id
        first = commit("daily/1", "daily2/1")
        second = commit("daily")
        client.branches.create(repository, name="run", source="main")
        client.objects.upload(repository, "run", "daily/2", b"2")
        client.commits.create(repository, "run", message="not on main")
        merge = client.refs.merge(repository, "run", "main").reference
        client.branches.revert(repository, "main", ref=merge, parent_number=1)
        revert = client.branches.get(repository, "main").commit_id
        unrelated = commit("daily2/2")
        client.tags.create(repository, id="v1", ref=merge)
        eventually(lambda: events(tag) and unrelated in events(branch))
    assert events(branch) == [installed, first, second, merge, revert, unrelated]
    assert events(folder) == [first, second, merge, revert]
    assert events(other) == []
    assert events(tag) == [merge]
    runs = client.actions.list_runs(repository)
    assert {run.status for run in runs} == {"completed"}
    with create_session() as session:
        assert session.query(AssetDagRunQueue).filter_by(target_dag_id=repository).count() == 3
        extra = session.query(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        (found,) = extra.filter(AssetModel.uri == tag)
    assert found.extra["uri"] == f"lakefs://{repository}/{merge}"
    assert (found.extra["repository"], found.extra["ref"]) == (repository, "v1")


def test_a_commit_while_airflow_is_down_counts_once(
    lakefs: Any, lakefs_repository: str, watch: Any, events: Any, commit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, asset = lakefs_repository, f"lakefs://{lakefs_repository}/main"
    watch(Asset(asset))
    begin(lakefs, repository)
    monkeypatch.setenv(VARIABLE, SECRET)
    with serving(create_app(SECRET, poll_interval=0)) as port:
        made = [
            install_webhook(
                lakefs.client, repository, "main", url=f"http://127.0.0.1:{port}/webhook", watch=["main"]
            ).commit_id
        ]
        eventually(lambda: events(asset) == made)
    made.append(commit("a"))  # nothing listens
    assert events(asset) == made[:1]
    with serving(create_app(SECRET, poll_interval=3600), port):  # polls at its start
        eventually(lambda: events(asset) == made)
        made.append(commit("b"))
        eventually(lambda: events(asset) == made)
    made.append(commit("c"))
    with serving(create_app(SECRET, poll_interval=0), port):
        made.append(commit("d"))  # its webhook finds the lost commit, too
        eventually(lambda: len(events(asset)) == len(made))
    assert events(asset) == made


def test_repeated_concurrent_and_killed_registrations(
    lakefs: Any, lakefs_repository: str, watch: Any, events: Any, commit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, asset = lakefs_repository, f"lakefs://{lakefs_repository}/main"
    watch(Asset(asset))
    begin(lakefs, repository)
    made = [commit(str(number)) for number in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr(
            Variable, "set_val", lambda *_: 1 / 0
        )  # killed after the events, before the commit of the session
        with pytest.raises(ZeroDivisionError):
            registry.register(lakefs.client, repository, "main")
    assert events(asset) == [], "the events and the watermark are one transaction"
    stale = registry.watched_assets(repository, "main")
    threads = [
        threading.Thread(target=registry._register_all, args=(lakefs.client, stale), kwargs={"polled": False})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert events(asset) == made
    registry._register_all(lakefs.client, stale, polled=True)  # from a watermark that is out of date
    assert registry.register(lakefs.client, repository, "main") == 0
    assert events(asset) == made


def test_an_idle_receiver_sends_nothing(
    lakefs: Any, lakefs_repository: str, watch: Any, events: Any, commit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = f"lakefs://{lakefs_repository}/main"
    watch(Asset(asset))
    begin(lakefs, lakefs_repository)
    monkeypatch.setenv(VARIABLE, SECRET)
    with serving(create_app(SECRET)) as port:  # the default interval of polls
        url = f"http://127.0.0.1:{port}/webhook"
        made = [install_webhook(lakefs.client, lakefs_repository, "main", url=url, watch=["main"]).commit_id]
        eventually(lambda: events(asset) == made)
        last = None
        while last != (last := lakefs.faults.calls):  # the poll at the start has ended
            time.sleep(0.5)
        time.sleep(1.5)
        assert lakefs.faults.calls == last
        made.append(commit("a"))
        eventually(lambda: events(asset) == made)


def test_an_idle_poll_is_one_request_for_each_branch(
    lakefs: Any, lakefs_repository: str, watch: Any, connection: Any
) -> None:
    watch(*(Asset(f"lakefs://{lakefs_repository}/main/{number}") for number in range(20)))
    begin(lakefs, lakefs_repository)
    mine = [asset for asset in registry.watched_assets() if asset.repository == lakefs_repository]
    assert len(mine) == 20
    before = lakefs.faults.calls
    assert registry._register_all(lakefs.client, mine, polled=True) == 0
    assert lakefs.faults.calls - before == {"getBranch": 1}


@PARTITIONED
def test_365_days_and_a_commit_of_3_are_3_events_with_their_keys_and_a_revert_too(
    lakefs: Any, lakefs_repository: str, watch: Any, events: Any, commit: Any
) -> None:
    timetable = getattr(airflow.sdk, "PartitionedAssetTimetable", None)
    asset = create_asset(repository=lakefs_repository, ref="main", path="days", partitions="days/{day}/")
    year = [f"2015-{number:03}" for number in range(1, 366)]
    commit(*(f"days/{day}/a.csv" for day in year))
    watch(asset, schedule=timetable(assets=asset) if timetable else [asset])
    begin(lakefs, lakefs_repository)
    three = ["2015-017", "2015-100", "2015-365"]
    made = commit(*(f"days/{day}/b.csv" for day in three), "readme.md", content=b"2")
    registry.register(lakefs.client, lakefs_repository, "main")
    assert events(asset.uri, keys=True) == [(made, day) for day in three]
    lakefs.client.branches.revert(lakefs_repository, "main", ref=made, parent_number=1)
    revert = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    registry.register(lakefs.client, lakefs_repository, "main")
    assert events(asset.uri, keys=True)[3:] == [(revert, day) for day in three]
    if timetable:
        with create_session() as session:
            query = session.query(asset_models.AssetPartitionDagRun.partition_key).filter_by(
                target_dag_id=lakefs_repository
            )
            assert sorted({key for (key,) in query}) == three, "one run for each of the three days"


def test_commits_of_the_assets_own_tasks_and_of_its_watcher_are_left_to_them(
    lakefs: Any, lakefs_repository: str, store_dag: Any, watch: Any, events: Any, commit: Any
) -> None:
    produced, watched = (f"lakefs://{lakefs_repository}/main/{name}" for name in ("produced", "watched"))
    trigger = LakeFSCommitTrigger(repo=lakefs_repository, branch="main")
    watch(Asset(produced), Asset(watched, watchers=[AssetWatcher(name="watcher", trigger=trigger)]))
    with DAG(f"{lakefs_repository}-producer", schedule=None) as dag:
        LakeFSCommitOperator(
            task_id="commit", repo=lakefs_repository, branch="main", msg="own", outlets=[Asset(produced)]
        )
    store_dag(dag)
    begin(lakefs, lakefs_repository)
    own = {"airflow_task_id": "commit", "::lakefs::Airflow::dag_id": dag.dag_id}
    commit("produced/1", "watched/1", **own)
    foreign = commit("produced/2", "watched/2")
    registry.register(lakefs.client, lakefs_repository, "main")
    assert events(produced) == [foreign]
    assert events(watched) == []


def test_a_wrong_template_or_repository_does_not_hold_up_other_assets(
    lakefs: Any, lakefs_repository: str, watch: Any, events: Any, commit: Any
) -> None:
    # The wrong one stays in the database of this process, so the other tests read only their own repository.
    wrong = Asset(f"lakefs://{lakefs_repository}/main/a", extra={PARTITIONS: "no field"})
    right = f"lakefs://{lakefs_repository}/main/b"
    watch(wrong, Asset(right), Asset(f"lakefs://{lakefs_repository}"), Asset(f"lakefs://{lakefs_repository}-x/main"))
    with pytest.raises(InvalidArgument, match="not a path template"):
        begin(lakefs, lakefs_repository)  # the commits of the setup are new
    made = commit("a", "b")
    with pytest.raises(InvalidArgument, match="not a path template"):
        registry.register(lakefs.client, lakefs_repository, "main")
    assert events(right) == [made]


@pytest.mark.parametrize(
    ("headers", "body", "status", "detail"),
    [
        ({}, "{}", 401, SECRET_HEADER),
        ({SECRET_HEADER: "wrong"}, "{}", 401, SECRET_HEADER),
        ({SECRET_HEADER: "é" * 20}, "{}", 401, SECRET_HEADER),
        ({SECRET_HEADER: SECRET}, "[]", 400, "not an event"),
        ({SECRET_HEADER: SECRET}, "x", 400, "not an event"),
        ({SECRET_HEADER: SECRET}, '{"repository_id": 1}', 400, "not an event"),
        ({SECRET_HEADER: SECRET}, '{"branch_id": "main"}', 400, "no repository_id"),
        ({SECRET_HEADER: SECRET}, '{"repository_id": "lake"}', 400, "neither a branch_id"),
        ({SECRET_HEADER: SECRET}, "x" * 1_100_000, 413, "bytes"),
        ({SECRET_HEADER: SECRET}, '{"repository_id": "lake", "branch_id": "main"}', 503, "not registered"),
    ],
)
def test_what_the_route_refuses(
    connect: Any, airflow_database: Any, headers: Any, body: str, status: int, detail: str
) -> None:
    connect(host="http://127.0.0.1:1", login="wrong")
    encoded = {name: text.encode() for name, text in headers.items()}
    with serving(create_app(SECRET, poll_interval=0)) as port:
        response = requests.post(f"http://127.0.0.1:{port}/webhook", headers=encoded, data=body.encode(), timeout=60)
    assert response.status_code == status
    assert detail in response.json()["detail"]
    assert SECRET not in response.text


def test_the_plugin_has_the_route_only_with_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [app["url_prefix"] for app in LakeFSPlugin.fastapi_apps] == ["/lakefs/docs"]
    monkeypatch.setenv("AIRFLOW__LAKEFS__WEBHOOK_SECRET", "short")
    with pytest.raises(InvalidArgument, match="at least 16 characters"):
        _ = LakeFSPlugin.fastapi_apps
    monkeypatch.setenv("AIRFLOW__LAKEFS__WEBHOOK_SECRET", SECRET)
    assert [app["url_prefix"] for app in LakeFSPlugin.fastapi_apps] == ["/lakefs/docs", "/lakefs"]


def test_airflows_own_api_server_serves_the_route(
    lakefs: Any, lakefs_repository: str, watch: Any, events: Any, commit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app as create_airflow

    if not hasattr(plugins_manager, "get_fastapi_plugins"):
        pytest.skip("Airflow 3.1 keeps the plugins that it has loaded first")
    asset = f"lakefs://{lakefs_repository}/main"
    watch(Asset(asset))
    begin(lakefs, lakefs_repository)
    monkeypatch.setenv("AIRFLOW__LAKEFS__WEBHOOK_SECRET", SECRET)
    plugins_manager.get_fastapi_plugins.cache_clear()
    try:
        made = [commit("a")]
        with serving(create_airflow(apps="core")) as port:
            eventually(lambda: events(asset) == made)  # the poll at the start
            made.append(commit("b"))
            body = {"repository_id": lakefs_repository, "branch_id": "main", "commit_id": made[1]}
            url = f"http://127.0.0.1:{port}/lakefs/webhook"
            assert requests.post(url, data=json.dumps(body), timeout=60).status_code == 401
            answer = requests.post(url, data=json.dumps(body), headers={SECRET_HEADER: SECRET}, timeout=60)
            assert answer.json() == {"events": 1}
        assert events(asset) == made
    finally:
        plugins_manager.get_fastapi_plugins.cache_clear()
