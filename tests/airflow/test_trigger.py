"""The trigger: its stored arguments and its events."""

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.trigger import Trigger
from airflow.providers.common.compat.module_loading import import_string
from pytest_mock import MockerFixture

from airflow_provider.hooks import LakeFSHook, polls
from airflow_provider.hooks import lakefs as hooks
from airflow_provider.triggers import LakeFSConditionTrigger
from lakefs_ops import errors
from lakefs_ops.flows import waiting
from lakefs_ops.flows.conditions import NewCommit, ObjectExists, Verdict
from lakefs_ops.flows.polling import BranchPoller

WAITS = 200
CONDITION = NewCommit(repository="lake", branch="main", after="c0ffee")


STORED_BY_0_1 = {
    "lakefs_conn_id": "other", "condition": CONDITION.model_dump(), "poll_interval": 0.01, "end_time": 12.5
}  # fmt: skip


def fire(trigger: LakeFSConditionTrigger) -> dict[str, Any]:
    async def events() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(events())
    return payload


def waiting_for(condition: Any, **fields: Any) -> LakeFSConditionTrigger:
    return LakeFSConditionTrigger(condition=condition.model_dump(mode="json"), **{"poll_interval": 0.01} | fields)


@pytest.fixture
def poll(mocker: MockerFixture, connect: Callable[..., None]) -> Any:
    """Replaces the poll itself; its ``side_effect`` lists the results, verdicts or errors to raise."""
    connect(host="http://127.0.0.1:9", login="AKIA", password="hush-hush")
    return mocker.patch.object(BranchPoller, "poll")


def verdict(state: str, reason: str, **found: Any) -> Verdict:
    return Verdict(state=state, reason=reason, condition=CONDITION, found=found)


def test_is_recreated_from_its_stored_arguments() -> None:
    trigger = waiting_for(CONDITION, lakefs_conn_id="other", end_time=12.5)
    stored = Trigger.from_object(trigger)
    again = import_string(stored.classpath)(**stored.kwargs)
    assert again.serialize() == trigger.serialize()
    assert stored.classpath == "airflow_provider.triggers.lakefs.LakeFSConditionTrigger"
    assert stored.kwargs == STORED_BY_0_1 | {
        "tolerance": 900.0, "exponential_backoff": False, "max_wait": None, "silent_fail": False
    }, "deferred tasks rely on it"  # fmt: skip


def test_what_the_previous_version_stored_still_loads() -> None:
    assert (
        LakeFSConditionTrigger(**STORED_BY_0_1).serialize()
        == waiting_for(CONDITION, lakefs_conn_id="other", end_time=12.5).serialize()
    )


@pytest.mark.parametrize("kwargs", [{}, {"condition": {"kind": "of another version"}}, {"of_another_version": 1}])
def test_never_raises_when_it_is_recreated(kwargs: dict[str, Any]) -> None:
    payload = fire(LakeFSConditionTrigger(**kwargs))
    assert payload["state"] == "error"
    assert payload["reason"].startswith("not a condition")


def test_fires_what_met_the_condition(poll: Any) -> None:
    poll.side_effect = [verdict("waiting", "not yet"), verdict("met", "there", commit_id="bead")]
    assert fire(waiting_for(CONDITION)) == {"state": "met", "reason": "there", "found": {"commit_id": "bead"}}


def test_fires_what_can_never_be_met(poll: Any) -> None:
    poll.side_effect = [verdict("failed", "gone for good")]
    assert fire(waiting_for(CONDITION)) == {"state": "failed", "reason": "gone for good", "found": {}}


def test_times_out_with_the_state_last_seen(poll: Any) -> None:
    poll.side_effect = [*[verdict("waiting", "not yet")] * 1000]
    began = time.monotonic()
    payload = fire(waiting_for(CONDITION, poll_interval=60.0, end_time=time.time() + 0.2))
    assert time.monotonic() - began < 5
    assert payload == {"state": "timeout", "reason": "not yet", "found": {}}


def test_polls_a_last_time_at_the_end_time(poll: Any) -> None:
    poll.side_effect = [verdict("waiting", "not yet"), verdict("met", "just in time")]
    assert fire(waiting_for(CONDITION, poll_interval=60.0, end_time=time.time() + 0.1))["state"] == "met"


def test_waits_out_an_outage_up_to_its_tolerance(poll: Any) -> None:
    down = errors.ConnectionFailed("nothing listening", operation="getBranch", endpoint="http://x")
    poll.side_effect = [*[down] * 50, verdict("waiting", "not yet"), *[down] * 50, verdict("met", "there")]
    assert fire(waiting_for(CONDITION))["state"] == "met"
    poll.side_effect = itertools.repeat(down)
    began = time.monotonic()
    assert fire(waiting_for(CONDITION, tolerance=0.2)) == {
        "state": "error", "reason": "nothing listening", "found": {}
    }  # fmt: skip
    assert 0.2 <= time.monotonic() - began < 5


def test_an_error_that_a_retry_cannot_fix_ends_it_at_once(poll: Any) -> None:
    poll.side_effect = [errors.AuthenticationFailed("check the access key"), verdict("met", "there")]
    assert fire(waiting_for(CONDITION)) == {"state": "failed", "reason": "check the access key", "found": {}}


def test_another_error_ends_it_unless_it_fails_silently(poll: Any) -> None:
    other = errors.ObjectNotFound("no such object")
    poll.side_effect = [other, verdict("met", "there")]
    assert fire(waiting_for(CONDITION)) == {"state": "error", "reason": "no such object", "found": {}}
    poll.side_effect = [other, other, verdict("met", "there")]
    assert fire(waiting_for(CONDITION, silent_fail=True))["state"] == "met"
    poll.side_effect = [errors.AuthenticationFailed("check the access key")]
    assert fire(waiting_for(CONDITION, silent_fail=True))["state"] == "failed"


@pytest.mark.parametrize(
    ("options", "pauses"),
    [
        ({}, [4, 4, 4, 4, 4]),
        ({"max_wait": 10}, [4, 4, 4, 4, 4]),
        ({"exponential_backoff": True}, [4, 8, 16, 32, 64]),
        ({"exponential_backoff": True, "max_wait": 10}, [4, 8, 10, 10, 10]),
    ],
)
def test_backs_off_as_a_sensor_on_a_worker_does(
    poll: Any, mocker: MockerFixture, options: dict[str, Any], pauses: list[float]
) -> None:
    mocker.patch.object(waiting.random, "uniform", return_value=1)
    clock, polled = mocker.patch.object(polls, "time"), []
    clock.monotonic.return_value = 1000.0

    class Condition(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            clock.monotonic.return_value += timeout
            return False

    def look(_: Any) -> Verdict:
        polled.append(clock.monotonic.return_value)
        return verdict("waiting", "not yet") if len(polled) < 6 else verdict("met", "there")

    mocker.patch.object(polls, "threading", SimpleNamespace(**vars(threading) | {"Condition": Condition}))
    polls.shared_polls.cache_clear()
    poll.side_effect = look
    fire(waiting_for(CONDITION, poll_interval=4.0, **options))
    assert [later - earlier for earlier, later in pairwise(polled)] == pauses


def test_against_a_server(lakefs, lakefs_repository: str, connection: Callable[..., None]) -> None:
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    lakefs.client.objects.upload(lakefs_repository, "main", "a.txt", b"1")
    assert fire(waiting_for(ObjectExists(repository=lakefs_repository, ref="main", path="a.txt")))["state"] == "met"
    commit = lakefs.client.commits.create(lakefs_repository, "main", message="one")
    payload = fire(waiting_for(NewCommit(repository=lakefs_repository, branch="main", after=head)))
    assert (payload["state"], payload["found"]) == ("met", {"commit_id": commit.id})
    connection(password="not-the-secret")
    payload = fire(waiting_for(NewCommit(repository=lakefs_repository, branch="main", after=head)))
    assert payload["state"] == "failed"
    assert "check the access key and the secret" in payload["reason"]


def test_a_missing_connection_fires_an_error() -> None:
    payload = fire(waiting_for(CONDITION, lakefs_conn_id="there_is_no_such_connection"))
    assert payload["state"] == "error"
    assert "there_is_no_such_connection" in payload["reason"]


@pytest.mark.usefixtures("connection")
def test_a_poll_without_news_leaves_no_objects_behind(lakefs, lakefs_repository: str, mocker: MockerFixture) -> None:
    """Thousands of waits would otherwise cause full garbage collections, each of which stops the triggerer."""
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    trigger = waiting_for(NewCommit(repository=lakefs_repository, branch="main", after=head), poll_interval=0.1)
    polled, real_poll = [], BranchPoller.poll

    def count(self: BranchPoller, condition: Any) -> Verdict:
        polled.append(None)
        return real_poll(self, condition)

    mocker.patch.object(BranchPoller, "poll", count)

    async def until(polls: int) -> None:
        while len(polled) < polls:
            await asyncio.sleep(0.01)

    async def new_objects() -> int:
        waits = [asyncio.create_task(anext(trigger.run())) for _ in range(WAITS)]
        await until(3 * WAITS)
        gc.collect()
        gc.freeze()
        try:
            await until(6 * WAITS)
            return len(gc.get_objects())
        finally:
            gc.unfreeze()
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    assert asyncio.run(new_objects()) < WAITS


def test_an_outage_does_not_read_the_connection_for_each_failed_poll(poll: Any, mocker: MockerFixture) -> None:
    poll.side_effect = errors.ConnectionFailed("nothing listening", operation="getBranch", endpoint="http://x")
    trigger, waits = waiting_for(CONDITION, poll_interval=0.05), 20
    reads = mocker.spy(LakeFSHook, "read_config_async")

    async def outage() -> None:
        tasks = [asyncio.create_task(anext(trigger.run())) for _ in range(waits)]
        while poll.call_count < 10 * waits:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    began = time.monotonic()
    asyncio.run(outage())
    assert reads.call_count <= waits + (time.monotonic() - began) / hooks.READ_AGAIN_AFTER + 1
