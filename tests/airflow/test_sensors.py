"""Sensors, one poll at a time; whole DAGs are in test_dags.py."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    TaskDeferred,
)
from pytest_mock import MockerFixture

from airflow_provider.exceptions import Unavailable
from airflow_provider.links import LakeFSCommitLink, LakeFSObjectLink
from airflow_provider.sensors import LakeFSCommitSensor, LakeFSFileSensor
from airflow_provider.sensors import base as sensors
from lakefs_ops.local.faults import Fault

Running = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _connected(connection: Callable[..., None]) -> None:
    pass


class Store(dict[str, Any]):
    """A task state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def commit(lakefs: Any, repository: str, branch: str = "main") -> str:
    lakefs.client.objects.upload(repository, branch, "new.csv", b"1")
    return lakefs.client.commits.create(repository, branch, message="new", allow_empty=True).id


def test_commit_sensor_only_remembers_at_first(lakefs, lakefs_repository: str, running: Running) -> None:
    sensor = LakeFSCommitSensor(task_id="wait", repo=lakefs_repository, branch="main")
    context = running(sensor)
    assert not sensor.poke(context)
    assert context["ti"].xcoms[LakeFSCommitLink().xcom_key] == lakefs.client.links.commits(lakefs_repository, "main")
    assert not sensor.poke(context)
    made = commit(lakefs, lakefs_repository)
    result = sensor.poke(context)
    assert (result.is_done, result.xcom_value) == (True, {"commit_id": made})
    assert context["ti"].xcoms[LakeFSCommitLink().xcom_key] == lakefs.client.links.commit(lakefs_repository, made)


def test_commit_sensor_with_a_known_commit(lakefs, lakefs_repository: str, running: Running) -> None:
    before = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    sensor = LakeFSCommitSensor(task_id="wait", repo=lakefs_repository, branch="main", prev_commit_id=before)
    assert not sensor.poke(running(sensor))
    commit(lakefs, lakefs_repository)
    assert sensor.poke(running(sensor))


@pytest.mark.parametrize("text", ["None", "null", " ", "", "\n", None])
def test_a_missing_watermark_counts_as_not_given(text: str | None) -> None:
    sensor = LakeFSCommitSensor(task_id="wait", repo="lake", branch="main", prev_commit_id=text)
    assert sensor.condition() == LakeFSCommitSensor(task_id="wait", repo="lake", branch="main").condition()


def test_commit_sensor_with_an_unknown_commit(lakefs_repository: str, running: Running) -> None:
    sensor = LakeFSCommitSensor(task_id="wait", repo=lakefs_repository, branch="main", prev_commit_id="no-such-ref")
    with pytest.raises(AirflowFailException, match="after 'no-such-ref': the repository has no such commit"):
        sensor.poke(running(sensor))


@pytest.mark.parametrize("try_number", [1, 2])
def test_a_rescheduled_sensor_remembers_when_the_outage_began(
    lakefs, lakefs_repository: str, running: Running, mocker: MockerFixture, try_number: int
) -> None:
    """Each poke is a process of its own; a retry begins with a new tolerance."""
    clock = mocker.patch.object(sensors, "time").time
    store = Store()

    def poke(now: float, try_number: int = 1) -> bool:
        clock.return_value = now
        sensor = LakeFSCommitSensor(
            task_id="wait", repo=lakefs_repository, branch="main", mode="reschedule", tolerance=60
        )
        return bool(sensor.poke({**running(sensor, try_number=try_number), "task_state_store": store}))

    lakefs.faults.add(Fault("getBranch", status=503, times=None))
    assert not poke(100)
    assert not poke(159)
    if try_number == 1:
        with pytest.raises(Unavailable):
            poke(160)
    else:
        assert not poke(160, try_number)
    lakefs.faults.clear()
    assert not poke(170, try_number)
    lakefs.faults.add(Fault("getBranch", status=503, times=None))
    assert not poke(300, try_number), "the outage before has ended"


def test_a_rescheduled_sensor_without_a_state_store_tolerates_outages_until_its_timeout(
    lakefs, lakefs_repository: str, running: Running
) -> None:
    sensor = LakeFSCommitSensor(
        task_id="wait", repo=lakefs_repository, branch="main", mode="reschedule", tolerance=timedelta(0)
    )
    lakefs.faults.add(Fault("getBranch", status=503, times=None))
    assert not sensor.poke(running(sensor))
    assert sensor.mode == "reschedule", "there is nothing to remember yet"


def test_commit_sensor_waits_for_a_branch_but_not_for_a_repository(
    lakefs, lakefs_repository: str, running: Running
) -> None:
    sensor = LakeFSCommitSensor(task_id="wait", repo=lakefs_repository, branch="later")
    assert not sensor.poke(running(sensor))
    sensor = LakeFSCommitSensor(task_id="wait", repo="no-such-repository", branch="main")
    with pytest.raises(AirflowFailException, match="repository not found"):
        sensor.poke(running(sensor))


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_what_was_seen_survives_the_process(lakefs, lakefs_repository: str, running: Running, mode: str) -> None:
    store = Store()

    def poke(**fields: Any) -> Any:
        sensor = LakeFSCommitSensor(task_id="wait", **{"repo": lakefs_repository, "branch": "main"} | fields, mode=mode)
        return sensor.poke({**running(sensor), "task_state_store": store})

    assert not poke()
    wanted = {"kind": "new_commit", "repository": lakefs_repository, "branch": "main", "after": None}
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    assert store == {"lakefs_condition": {"wanted": wanted, "seen": wanted | {"after": head}}}, (
        "running tasks rely on it"
    )
    commit(lakefs, lakefs_repository)
    assert poke()
    # What was seen on one branch does not count for another.
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    assert not poke(branch="dev")


def test_falls_back_to_poking_where_airflow_cannot_persist_state(lakefs_repository: str, running: Running) -> None:
    sensor = LakeFSCommitSensor(task_id="wait", repo=lakefs_repository, branch="main", mode="reschedule")
    assert not sensor.poke(running(sensor))
    assert sensor.mode == "poke"
    sensor = LakeFSFileSensor(task_id="wait", repo=lakefs_repository, branch="main", path="x", mode="reschedule")
    assert not sensor.poke(running(sensor))
    assert sensor.mode == "reschedule"


def test_file_sensor(lakefs, lakefs_repository: str, running: Running) -> None:
    for repo, branch in (("no-such-repository", "main"), (lakefs_repository, "later"), (lakefs_repository, "main")):
        sensor = LakeFSFileSensor(task_id="wait", repo=repo, branch=branch, path="new.csv")
        context = running(sensor)
        assert not sensor.poke(context)
        assert context["ti"].xcoms[LakeFSObjectLink().xcom_key].startswith(f"{lakefs.endpoint}/repositories/{repo}/")
    lakefs.client.objects.upload(lakefs_repository, "main", "new.csv", b"1")
    assert sensor.poke(context).xcom_value["size_bytes"] == 1


def test_wrong_keys_fail_without_further_tries(
    lakefs_repository: str, running: Running, connection: Callable[..., None]
) -> None:
    connection(password="not-the-secret")
    sensor = LakeFSCommitSensor(task_id="wait", repo=lakefs_repository, branch="main")
    with pytest.raises(AirflowFailException, match="check the access key and the secret"):
        sensor.poke(running(sensor))


def test_polls_before_it_defers(lakefs, lakefs_repository: str, running: Running) -> None:
    before = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    made = commit(lakefs, lakefs_repository)
    sensor = LakeFSCommitSensor(
        task_id="wait", repo=lakefs_repository, branch="main", prev_commit_id=before, deferrable=True
    )
    assert sensor.execute(running(sensor)) == {"commit_id": made}


def test_defers_with_what_it_saw(lakefs, lakefs_repository: str, running: Running) -> None:
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    sensor = LakeFSCommitSensor(
        task_id="wait", repo=lakefs_repository, branch="main", deferrable=True, poke_interval=7, timeout=100
    )
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(running(sensor))
    _, kwargs = caught.value.trigger.serialize()
    assert kwargs["condition"] == {
        "kind": "new_commit", "repository": lakefs_repository, "branch": "main", "after": head
    }  # fmt: skip
    assert (kwargs["lakefs_conn_id"], kwargs["poll_interval"]) == ("lakefs_default", 7)
    assert caught.value.timeout > timedelta(seconds=100)
    assert lakefs.secret_access_key not in repr(kwargs)


@pytest.mark.parametrize(
    ("state", "error"),
    [("timeout", AirflowSensorTimeout), ("failed", AirflowFailException), ("error", AirflowException)],
)
def test_resumes_with_the_error_of_the_event(state: str, error: type[Exception], running: Running) -> None:
    sensor = LakeFSCommitSensor(task_id="wait", repo="lake", branch="main", deferrable=True)
    with pytest.raises(error, match="not yet") as caught:
        sensor.execute_complete(running(sensor), {"state": state, "reason": "not yet", "found": {}})
    assert type(caught.value) is error


def test_does_not_defer_by_default() -> None:
    assert LakeFSFileSensor(task_id="wait", repo="lake", branch="main", path="x").deferrable is False
