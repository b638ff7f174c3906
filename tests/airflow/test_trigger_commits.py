"""The event trigger: each new commit once, and nothing ends the watch."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.trigger import Trigger
from airflow.providers.common.compat.module_loading import import_string
from airflow.sdk import DAG, Asset, AssetWatcher
from airflow.utils.session import create_session

from airflow_provider.assets.events import triggering_commits
from airflow_provider.hooks import LakeFSHook
from airflow_provider.triggers import LakeFSCommitTrigger
from airflow_provider.triggers import commits as triggers
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY


class Store:
    """An asset state store, sync as in Airflow 3.3.0."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.failures = 0

    def get(self, key: str) -> Any:
        self._fail()
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self._fail()
        self.values[key] = value

    def _fail(self) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise ConnectionError("the API server is down")


class AsyncStore(Store):
    """As in Airflow 3.3.2."""

    async def aget(self, key: str) -> Any:
        return Store.get(self, key)

    async def aset(self, key: str, value: Any) -> None:
        Store.set(self, key, value)

    get = set = None


POLLS: list[object] = []
"""One item for each poll that has ended."""


@asynccontextmanager
async def watching(store: Any = None, **arguments: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """Runs a trigger as the triggerer does; returns the list that receives the payloads of its events."""
    trigger = LakeFSCommitTrigger(**{"repo": "lake", "branch": "main", "poll_interval": 0.01} | arguments)
    trigger.asset_state_store = store
    payloads: list[dict[str, Any]] = []

    async def run() -> None:
        async for event in trigger.run():
            payloads.append(event.payload)

    task = asyncio.create_task(run())
    POLLS.clear()
    try:
        await until(lambda: POLLS)
        yield payloads
        assert not task.done(), task.exception()
    finally:
        task.cancel()


async def until(met: Callable[[], Any], seconds: float = 20) -> None:
    for _ in range(int(seconds / 0.02)):
        if met():
            return
        await asyncio.sleep(0.02)


async def polled(times: int) -> None:
    enough = len(POLLS) + times
    await until(lambda: len(POLLS) >= enough)


@pytest.fixture(autouse=True)
def _fast_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    real_drive = LakeFSHook.drive

    async def drive(self: LakeFSHook, loop: Any, *, once: bool) -> Any:
        try:
            return await real_drive(self, loop, once=once)
        finally:
            POLLS.append(loop)

    monkeypatch.setattr(LakeFSHook, "drive", drive)
    monkeypatch.setattr(triggers, "DELIVERY", 0.01)


@pytest.fixture
def commit(lakefs: Any, lakefs_repository: str, connection: Any) -> Callable[..., str]:
    """Commits to main; returns the commit's id."""

    def commit(path: str = "daily/1", branch: str = "main", **metadata: str) -> str:
        lakefs.client.objects.upload(lakefs_repository, branch, path, b"1")
        made = lakefs.client.commits.create(
            lakefs_repository, branch, message=f"Add {path}", metadata=metadata, allow_empty=True
        )
        return made.id

    return commit


def ids(payloads: list[dict[str, Any]]) -> list[str]:
    return [payload["commit_id"] for payload in payloads]


@pytest.mark.parametrize("kind", [Store, AsyncStore])
def test_each_commit_once_across_restarts(lakefs_repository: str, commit: Callable[..., str], kind: type) -> None:
    commit()
    store, seen, made = kind(), [], []

    async def scenario() -> None:
        for _ in range(2):
            async with watching(store, repo=lakefs_repository) as payloads:
                made.extend(commit(f"daily/{len(made)}") for _ in range(2))
                await until(lambda: len(payloads) + len(seen) >= len(made))
                await until(lambda: made[-1] in str(store.values))
            seen.extend(ids(payloads))
            made.append(commit(f"daily/{len(made)}"))  # while the triggerer is down
        async with watching(store, repo=lakefs_repository) as payloads:
            await until(lambda: payloads)
        seen.extend(ids(payloads))

    asyncio.run(scenario())
    assert seen == made


def test_without_a_store_it_continues_with_the_current_commit(
    lakefs_repository: str, commit: Callable[..., str]
) -> None:
    start, made = commit(), []

    async def scenario() -> None:
        async with watching(repo=lakefs_repository) as payloads:
            made.append(commit("a"))
            await until(lambda: payloads)
        assert ids(payloads) == made
        made.append(commit("b"))
        async with watching(repo=lakefs_repository) as payloads:
            assert payloads == []
        async with watching(repo=lakefs_repository, after=start) as payloads:
            await until(lambda: len(payloads) == 2)
        assert ids(payloads) == made, "with `after`, all commits since that one"

    asyncio.run(scenario())


def test_two_assets_that_share_a_trigger_share_its_watermark(
    lakefs_repository: str, commit: Callable[..., str]
) -> None:
    context = pytest.importorskip("airflow.sdk.execution_time.context")
    if not hasattr(context, "AssetStateStoreAccessors"):
        pytest.skip("asset state stores came with Airflow 3.3")
    accessors = context.AssetStateStoreAccessors(inlets=[Asset("one"), Asset("two")])
    with pytest.raises(ValueError, match="2 concrete inlets"):
        accessors.get("key")
    stores = {name: AsyncStore() for name in accessors._by_name}
    accessors._by_name.update(stores)
    made = []

    async def scenario() -> None:
        async with watching(accessors, repo=lakefs_repository):
            await until(lambda: all(store.values for store in stores.values()))
        made.append(commit())
        async with watching(accessors, repo=lakefs_repository) as payloads:
            await until(lambda: all(made[0] in str(store.values) for store in stores.values()))
        assert ids(payloads) == made
        assert len(set(map(str, (store.values for store in stores.values())))) == 1
        async with watching(AsyncStore(), repo=lakefs_repository, prefix="other") as payloads:
            pass
        assert payloads == []

    asyncio.run(scenario())


def test_filters_and_the_payload(lakefs: Any, lakefs_repository: str, commit: Callable[..., str]) -> None:
    async def scenario() -> None:
        arguments = {"prefix": "daily/", "metadata": {"source": "gauge"}, "message": "^Add"}
        async with watching(repo=lakefs_repository, **arguments) as payloads:
            commit("other/1", source="gauge")
            commit("daily/1", source="radar")
            wanted = commit("daily/2", source="gauge")
            await until(lambda: payloads)
        made = lakefs.client.commits.get(lakefs_repository, wanted)
        assert payloads == [
            {
                "repository": lakefs_repository,
                "ref": "main",
                "commit_id": wanted,
                "message": "Add daily/2",
                "metadata": {"source": "gauge"},
                "committer": made.committer,
                "creation_date": made.creation_date,
                "uri": f"lakefs://{lakefs_repository}/{wanted}/daily",
            }
        ]

    asyncio.run(scenario())


def test_nothing_ends_the_watch(restartable: Any, connect: Callable[..., None], capsys: Any) -> None:
    """A store that fails, a missing connection, repository or branch, wrong credentials, an outage."""
    store = AsyncStore()
    store.failures = 3
    connected = {"host": restartable.endpoint, "login": ACCESS_KEY_ID, "password": SECRET_ACCESS_KEY}
    with restartable.client() as client:

        async def scenario() -> None:
            async with watching(store, repo="later", branch="next") as payloads:
                connect(**connected)
                await polled(2)
                client.repositories.create(name="later", storage_namespace="local://later")
                await polled(2)
                client.branches.create("later", name="next", source="main")
                made = [client.commits.create("later", "next", message="one", allow_empty=True).id]
                await until(lambda: made[0] in ids(payloads))
                store.failures = 2
                restartable.stop()
                await polled(2)
                connect(**connected | {"password": "wrong"})
                restartable.start()
                made.append(client.commits.create("later", "next", message="two", allow_empty=True).id)
                await polled(2)
                connect(**connected)
                await until(lambda: made[1] in ids(payloads))
            assert ids(payloads)[-2:] == made
            assert len(ids(payloads)) == len(set(ids(payloads)))

        asyncio.run(scenario())
    output = capsys.readouterr()
    assert (output.out + output.err).count("`lakefs_default` isn't defined") == 1, "one line for each change"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"repo": 1, "branch": "main"}, "repository: "),
        ({"repo": "lake", "branch": "main", "message": "("}, "not a valid regular expression"),
        ({"repo": "lake", "branch": "main", "metadata": {"a": 1}}, "metadata.a: "),
        ({"repo": "lake", "branch": "main", "metadata": "source=gauge"}, "metadata must be a mapping"),
        ({"repo": "lake", "branch": "main", "after": "None"}, "a missing value written as text"),
        ({"repo": "lake"}, "branch"),
        ({"repo": "lake", "branch": "main", "brunch": "main"}, "brunch"),
    ],
)
def test_invalid_arguments_are_refused_with_an_error_that_does_not_end_the_triggerer(
    arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TypeError, match=reason):
        LakeFSCommitTrigger(**arguments)


@pytest.mark.usefixtures("airflow_database")
def test_airflow_stores_and_recreates_it(store_dag: Callable[[DAG], None]) -> None:
    arguments = {"repo": "lake", "branch": "main", "prefix": "daily/", "metadata": {"source": "gauge"}}
    asset = Asset("watched", watchers=[AssetWatcher(name="daily", trigger=LakeFSCommitTrigger(**arguments))])
    with DAG("watching", schedule=[asset], is_paused_upon_creation=False) as dag:

        @dag.task
        def report() -> None: ...

        report()
    store_dag(dag)
    with create_session() as session:
        classpath = "airflow_provider.triggers.commits.LakeFSCommitTrigger"
        (stored,) = session.query(Trigger).filter_by(classpath=classpath)
        kwargs = Trigger._decrypt_kwargs(stored.encrypted_kwargs)
    with suppress(ImportError, AttributeError):  # Airflow 3.1 does not have it
        decode = import_module("airflow.serialization.decoders").smart_decode_trigger_kwargs
        kwargs = {key: decode(value) for key, value in kwargs.items()}
    again = import_string(classpath)(**kwargs)
    assert again.serialize() == LakeFSCommitTrigger(**arguments).serialize()


def test_the_commits_that_started_a_run() -> None:
    def event(timestamp: int, **extra: Any) -> SimpleNamespace:
        return SimpleNamespace(timestamp=timestamp, extra=extra)

    first, second = ({"repository": "lake", "commit_id": name, "uri": f"lakefs://lake/{name}"} for name in "ab")
    events = {
        "one": [event(3, **second), event(4, rows=3)],
        "two": [event(1, from_trigger=True, payload=first), event(2, **first), event(5, payload="other")],
    }
    assert triggering_commits({"triggering_asset_events": events}) == [first, second]
