"""What a sensor does when polls fail: the same in all modes, in a real Airflow against a real server."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import airflow
import pytest
from airflow.sdk import DAG
from packaging.version import Version

from airflow_provider.hooks import LakeFSHook, polls
from airflow_provider.hooks import lakefs as hooks
from airflow_provider.sensors import LakeFSCommitSensor, LakeFSFileSensor
from lakefs_ops import errors
from lakefs_ops.flows.conditions import BranchExists, Condition, NewCommit, TagExists
from lakefs_ops.flows.polling import BranchPoller
from lakefs_ops.flows.waiting import Pace, PollLoop
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from lakefs_ops.local.faults import Fault

# A rescheduled task is due at once; otherwise, `dag.test()` sleeps for a second before each of its polls.
MODES = {"poke": {}, "reschedule": {"mode": "reschedule", "poke_interval": 0.001}, "deferrable": {"deferrable": True}}
ROTATED = "a-secret-that-is-newer-than-the-one-before"


@pytest.fixture(autouse=True)
def _connected(restartable: Any, connect: Callable[..., None]) -> None:
    connect(host=restartable.endpoint, login=ACCESS_KEY_ID, password=SECRET_ACCESS_KEY)


@pytest.fixture
def remembered_outage(mode: str) -> None:
    """A rescheduled sensor remembers the begin of an outage in the task state store, which Airflow has since 3.3."""
    if mode == "reschedule" and Version(airflow.__version__) < Version("3.3"):
        pytest.skip("without a task state store, only the timeout ends an outage")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run(run_dag: Callable[[DAG], Any], mode: str, request: pytest.FixtureRequest) -> Callable[..., tuple[str, int]]:
    """Runs a sensor in one of the modes; returns the task's state and try number."""

    def run(sensor: type = LakeFSFileSensor, **options: Any) -> tuple[str, int]:
        name = "".join(c if c.isalnum() else "_" for c in request.node.name)
        if sensor is LakeFSFileSensor:
            options = {"path": "new.csv"} | options
        with DAG(name, schedule=None, default_args={"retries": 3}) as dag:
            sensor(
                task_id="wait",
                **{"repo": "lake", "branch": "main", "poke_interval": 0.1, "timeout": 60} | MODES[mode] | options,
            )
        (ti,) = run_dag(dag).get_task_instances()
        return str(ti.state), ti.try_number

    return run


@pytest.fixture
def after_polls(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Calls functions right after the n-th poll, whether it has failed or not."""
    numbers, pending = itertools.count(1), []

    def polled() -> None:
        number = next(numbers)
        for call in [call for due, call in pending if due == number]:
            call()

    real_poll, real_poll_blocking = BranchPoller.poll, LakeFSHook.poll_blocking

    def poll_blocking(self: LakeFSHook, condition: Any) -> Any:
        try:
            return real_poll_blocking(self, condition)
        finally:
            polled()

    def poll(self: BranchPoller, condition: Any) -> Any:
        try:
            return real_poll(self, condition)
        finally:
            polled()

    monkeypatch.setattr(LakeFSHook, "poll_blocking", poll_blocking)
    monkeypatch.setattr(BranchPoller, "poll", poll)
    return lambda number, *calls: pending.extend((number, call) for call in calls)


OUTAGES = {
    "stopped": None,
    "503": Fault("*", status=503, times=None),
    "reset": Fault("*", action="reset", times=None),
    "hangs": Fault("*", action="delay", seconds=60, times=None),
}


@pytest.fixture(params=OUTAGES)
def outage(request: pytest.FixtureRequest, restartable: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Begins an outage and returns the function that ends it."""
    monkeypatch.setattr(hooks, "POLL_READ_TIMEOUT", 0.3)
    monkeypatch.setattr(polls, "QUEUE_TIMEOUT", 0.3)
    if (fault := OUTAGES[request.param]) is None:
        restartable.stop()
        return restartable.start
    restartable.server.faults.add(fault)
    return restartable.server.faults.clear


def test_survives_an_outage_shorter_than_the_tolerance(
    run: Any, outage: Any, after_polls: Any, restartable: Any
) -> None:
    after_polls(7, outage)
    after_polls(9, restartable.commit)
    assert run(LakeFSCommitSensor, prev_commit_id="main", tolerance=60, soft_fail=True) == ("success", 1)


def test_survives_an_outage_that_begins_while_it_waits(run: Any, after_polls: Any, restartable: Any) -> None:
    with restartable.client() as client:
        head = client.branches.get("lake", "main").commit_id
    after_polls(2, restartable.stop)
    after_polls(9, restartable.start, restartable.commit)
    assert run(LakeFSCommitSensor, prev_commit_id=head, tolerance=30) == ("success", 1)


@pytest.mark.usefixtures("remembered_outage")
@pytest.mark.parametrize("soft_fail", [False, True])
def test_fails_after_an_outage_longer_than_the_tolerance(run: Any, restartable: Any, soft_fail: bool) -> None:
    restartable.stop()
    state, tries = run(tolerance=0.5, soft_fail=soft_fail, retries=0)
    assert (state, tries) == ("failed", 1)


@pytest.mark.usefixtures("remembered_outage")
@pytest.mark.parametrize(("option", "state"), [("never_fail", "skipped"), ("silent_fail", "success")])
def test_an_outage_longer_than_the_tolerance_as_airflow_treats_errors(
    run: Any, after_polls: Any, restartable: Any, option: str, state: str
) -> None:
    restartable.stop()
    after_polls(4, restartable.start, restartable.commit)
    assert run(tolerance=0, **{option: True}) == (state, 1)


@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
@pytest.mark.parametrize("stopped", [False, True])
def test_times_out(run: Any, restartable: Any, soft_fail: bool, state: str, stopped: bool) -> None:
    if stopped:
        restartable.stop()
    assert run(timeout=1, soft_fail=soft_fail) == (state, 1), "a timeout is not retried"


NO_RETRY_CAN_FIX = {"plain": "failed", "soft_fail": "failed", "silent_fail": "failed", "never_fail": "skipped"}


@pytest.fixture
def revoke(connect: Callable[..., None], restartable: Any) -> Callable[[], None]:
    def revoke() -> None:
        connect(host=restartable.endpoint, login=ACCESS_KEY_ID, password="wrong")
        restartable.stop()
        restartable.start(secret_access_key=ROTATED)

    return revoke


@pytest.mark.parametrize(("option", "state"), NO_RETRY_CAN_FIX.items())
def test_an_error_that_no_retry_can_fix(run: Any, after_polls: Any, revoke: Any, option: str, state: str) -> None:
    after_polls(2, revoke)
    options = {} if option == "plain" else {option: True}
    assert run(**options) == (state, 1)


def test_an_error_that_no_retry_can_fix_at_the_first_poll(
    run_dag: Callable[[DAG], Any], mode: str, revoke: Callable[[], None]
) -> None:
    revoke()
    with DAG(f"revoked_{mode}", schedule=None, default_args={"retries": 3, "repo": "lake", "branch": "main"}) as dag:
        for option in NO_RETRY_CAN_FIX:
            options = {} if option == "plain" else {option: True}
            LakeFSFileSensor(task_id=option, path="new.csv", **MODES[mode] | options)
    tasks = run_dag(dag).get_task_instances()
    assert {ti.task_id: str(ti.state) for ti in tasks} == NO_RETRY_CAN_FIX
    assert {ti.try_number for ti in tasks} == {1}


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({}, "failed"),
        ({"soft_fail": True}, "failed"),
        ({"silent_fail": True}, "failed"),
        ({"never_fail": True}, "skipped"),
    ],
    ids=lambda value: next(iter(value), "default") if isinstance(value, dict) else value,
)
def test_a_missing_repository_fails_at_once(
    run: Any, after_polls: Any, restartable: Any, options: dict[str, bool], state: str
) -> None:
    def create() -> None:
        with restartable.client() as client:
            client.repositories.create(name="other", storage_namespace="local://other")

    def commit() -> None:
        with restartable.client() as client:
            client.commits.create("other", "main", message="new", allow_empty=True)

    after_polls(2, create)
    after_polls(4, commit)
    assert run(LakeFSCommitSensor, repo="other", retries=0, **options) == (state, 1)


def test_credentials_that_are_rotated_while_it_waits(
    run: Any, connect: Any, after_polls: Any, restartable: Any
) -> None:
    def rotate() -> None:
        connect(host=restartable.endpoint, login=ACCESS_KEY_ID, password=ROTATED)
        restartable.stop()
        restartable.start(secret_access_key=ROTATED)
        restartable.commit()

    after_polls(2, rotate)
    assert run(tolerance=30) == ("success", 1)


def test_an_address_that_changes_while_it_waits(run: Any, connect: Any, after_polls: Any, restartable: Any) -> None:
    def move() -> None:
        restartable.stop()
        restartable.port = 0
        restartable.start()
        connect(host=restartable.endpoint, login=ACCESS_KEY_ID, password=SECRET_ACCESS_KEY)
        restartable.commit()

    after_polls(2, move)
    assert run(tolerance=2, retries=0) == ("success", 1)


def test_a_connection_that_cannot_be_read_during_an_outage(
    run: Any, connect: Any, after_polls: Any, restartable: Any, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The wait goes on; only a rescheduled sensor has no earlier connection to go on with."""
    if mode == "reschedule":
        pytest.skip("each poll is a new process, which must read the connection")

    def lose() -> None:
        restartable.stop()
        monkeypatch.delenv("AIRFLOW_CONN_LAKEFS_DEFAULT")

    def restore() -> None:
        connect(host=restartable.endpoint, login=ACCESS_KEY_ID, password=SECRET_ACCESS_KEY)

    after_polls(2, lose)
    after_polls(6, restore, restartable.start, restartable.commit)
    assert run(tolerance=30, retries=0) == ("success", 1)


def test_an_unknown_watermark_fails_at_once(run: Any) -> None:
    assert run(LakeFSCommitSensor, prev_commit_id="no-such-ref") == ("failed", 1)


def test_a_missing_watermark_only_remembers_at_first(run: Any, after_polls: Any, restartable: Any) -> None:
    made: list[str] = []
    after_polls(2, lambda: made.append(restartable.commit()))
    assert run(LakeFSCommitSensor, prev_commit_id="{{ ti.xcom_pull('no_such_task') }}") == ("success", 1)
    assert made, "it waited for a commit"


def test_a_log_line_for_each_change(
    run_dag: Callable[[DAG], Any], after_polls: Any, restartable: Any, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    restartable.stop()
    after_polls(20, restartable.start, restartable.commit)
    with DAG("logs", schedule=None) as dag:
        LakeFSFileSensor(task_id="wait", repo="lake", branch="main", path="new.csv", poke_interval=0.05)
    with caplog.at_level(logging.INFO):
        assert run_dag(dag).state == "success"
    output = capsys.readouterr()
    text = caplog.text + output.out + output.err
    assert text.count("poll failed, will poll again") == 1
    assert text.count("lakeFS is back after") == 1


async def poll_once(hook: LakeFSHook, condition: Condition) -> str:
    return (await hook.drive(PollLoop(condition, pace=Pace(60), deadline=None))).state


def test_a_server_that_hangs_does_not_delay_the_polls_of_another(
    lakefs: Any, lakefs_repository: str, restartable: Any, monkeypatch: pytest.MonkeyPatch, connect: Any
) -> None:
    restartable.server.faults.add(Fault("*", action="delay", seconds=60, times=None))
    monkeypatch.setattr(hooks, "POLL_READ_TIMEOUT", 3.0)
    monkeypatch.setattr(polls, "QUEUE_TIMEOUT", 1.0)
    connect(host=lakefs.endpoint, login=lakefs.access_key_id, password=lakefs.secret_access_key)
    monkeypatch.setenv(
        "AIRFLOW_CONN_HUNG",
        f'{{"conn_type": "lakefs", "host": "{restartable.endpoint}", "login": "{ACCESS_KEY_ID}",'
        f' "password": "{SECRET_ACCESS_KEY}"}}',
    )

    async def timed(hook: LakeFSHook, condition: Any) -> tuple[str, float]:
        began = time.monotonic()
        try:
            result = await poll_once(hook, condition)
        except errors.TimedOut as error:
            result = "not sent" if error.sent is False else "no response"
        return result, time.monotonic() - began

    async def poll_both() -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        tag, branch = (TagExists(repository="lake", tag="v1"), NewCommit(repository="lake", branch="main", after=""))
        stuck = [asyncio.create_task(timed(LakeFSHook("hung"), condition)) for condition in (tag, branch) * 100]
        await asyncio.sleep(0.5)
        healthy = BranchExists(repository=lakefs_repository, branch="main")
        answered = await asyncio.gather(*(timed(LakeFSHook(), healthy) for _ in range(20)))
        await asyncio.sleep(3)
        restartable.server.faults.clear()
        return list(answered), await asyncio.gather(*stuck)

    answered, stuck = asyncio.run(poll_both())
    assert {state for state, _ in answered} == {"met"}
    assert max(seconds for _, seconds in answered) < 2.5
    assert sum(state == "not sent" for state, _ in stuck) > 100, "a waiter learns of the outage without its own poll"
    assert max(seconds for _, seconds in stuck) < 10


def test_polls_of_a_slow_server_wait_for_their_turn(
    restartable: Any, monkeypatch: pytest.MonkeyPatch, connect: Any
) -> None:
    restartable.server.faults.add(Fault("*", action="delay", seconds=0.2, times=None))
    monkeypatch.setattr(polls, "QUEUE_TIMEOUT", 0.5)
    connect(host=restartable.endpoint, login=ACCESS_KEY_ID, password=SECRET_ACCESS_KEY)
    absent = TagExists(repository="lake", tag="v1")

    async def poll_all() -> list[str]:
        # 16 at a time take 0.2 s, so the last ones wait longer than the timeout.
        return await asyncio.gather(*(poll_once(LakeFSHook(), absent) for _ in range(100)))

    assert asyncio.run(poll_all()) == ["waiting"] * 100
