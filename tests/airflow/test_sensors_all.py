"""All sensors: the same in each mode, whatever they wait for."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    PokeReturnValue,
    TaskDeferred,
)
from airflow.sdk import DAG
from airflow.serialization import serialized_objects

from airflow_provider import sensors
from airflow_provider.exceptions import InvalidArgument
from airflow_provider.operators import LakeFSWaitForActionRunOperator
from airflow_provider.sensors.base import LakeFSSensor
from lakefs_ops.flows.conditions import load
from lakefs_ops.local.faults import Fault

Running = Callable[..., dict[str, Any]]
MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}


class Case(NamedTuple):
    """A sensor, what meets its condition, and what it then returns."""

    sensor: str
    arguments: dict[str, Any]
    meet: Callable[[Any, str], dict[str, Any]]


def write(client: Any, repository: str, path: str = "new/1", branch: str = "main") -> None:
    client.objects.upload(repository, branch, path, b"1")


def commit(client: Any, repository: str, branch: str = "main") -> dict[str, Any]:
    write(client, repository, branch=branch)
    return {"commit_id": client.commits.create(repository, branch, message="Daily", metadata={"day": "1"}).id}


def prefix(client: Any, repository: str) -> dict[str, Any]:
    write(client, repository)
    write(client, repository, "new/2")
    return {"objects": 2, "size_bytes": 2}


def file(client: Any, repository: str) -> dict[str, Any]:
    write(client, repository)
    stats = client.objects.stat(repository, "main", "new/1")
    return {"checksum": stats.checksum, "size_bytes": 1, "mtime": stats.mtime}


def tag(client: Any, repository: str) -> dict[str, Any]:
    return {"commit_id": client.tags.create(repository, id="v1", ref="main").commit_id}


def branch(client: Any, repository: str) -> dict[str, Any]:
    return {"commit_id": client.branches.create(repository, name="dev", source="main")}


def merged(client: Any, repository: str) -> dict[str, Any]:
    client.refs.merge(repository, "side", "main")
    return {}


def gone(client: Any, repository: str) -> dict[str, Any]:
    client.branches.delete(repository, "side")
    return {}


CASES = [
    Case("LakeFSCommitSensor", {"branch": "main", "prev_commit_id": "main"}, commit),
    Case("LakeFSCommitMatchSensor", {"branch": "main", "metadata": {"day": 1}, "message": "^Daily", "prefix": "new/"},
         commit),
    Case("LakeFSFileSensor", {"branch": "main", "path": "new/1"}, file),
    Case("LakeFSPrefixSensor", {"branch": "main", "prefix": "new/", "min_objects": 2, "min_bytes": 2}, prefix),
    Case("LakeFSPrefixUnchangedSensor", {"branch": "main", "prefix": "new/", "inactivity_period": 0}, prefix),
    Case("LakeFSTagSensor", {"tag": "v1"}, tag),
    Case("LakeFSBranchSensor", {"branch": "dev"}, branch),
    Case("LakeFSBranchSensor", {"branch": "side", "gone": True}, gone),
    Case("LakeFSMergedSensor", {"source_ref": "side", "destination_branch": "main"}, merged),
]  # fmt: skip
"""Sensors whose condition can be met with a few requests; the others have tests of their own below."""


@pytest.fixture(autouse=True)
def _connected(connection: Callable[..., None]) -> None:
    pass


@pytest.fixture
def side(lakefs: Any, lakefs_repository: str) -> None:
    """A branch with a commit that main lacks."""
    lakefs.client.branches.create(lakefs_repository, name="side", source="main")
    lakefs.client.objects.upload(lakefs_repository, "side", "side/1", b"1")
    lakefs.client.commits.create(lakefs_repository, "side", message="side")


def resumed(sensor: LakeFSSensor, running: Running, event: dict[str, Any]) -> Any:
    return sensor.resume_execution("execute_complete", {"event": event}, running(sensor))


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sensor)
def test_waits_and_returns_what_met_the_condition(
    lakefs: Any, lakefs_repository: str, running: Running, case: Case
) -> None:
    def sensor(**options: Any) -> Any:
        return getattr(sensors, case.sensor)(task_id="wait", repo=lakefs_repository, **case.arguments, **options)

    waiting, deferrable = sensor(), sensor(deferrable=True)
    context = running(waiting)
    assert not waiting.poke(context)
    with pytest.raises(TaskDeferred) as deferred:
        deferrable.execute(running(deferrable))
    condition = load(deferred.value.trigger.condition)
    expected = case.meet(lakefs.client, lakefs_repository)
    if case.sensor == "LakeFSPrefixUnchangedSensor":
        assert not waiting.poke(context)
        condition = condition.poll(lakefs.client).condition
    result = waiting.poke(context)
    assert isinstance(result, PokeReturnValue)
    assert (result.is_done, result.xcom_value) == (True, expected)
    (link,) = waiting.operator_extra_links
    url = context["ti"].xcoms[link.xcom_key]
    assert url.startswith(lakefs.endpoint)
    verdict = condition.poll(lakefs.client)
    event = {"state": verdict.state, "reason": verdict.reason, "found": verdict.found}
    again = sensor(deferrable=True)
    context = running(again)
    assert again.resume_execution("execute_complete", {"event": event}, context) == expected
    assert context["ti"].xcoms[link.xcom_key] == url


@pytest.mark.parametrize("case", CASES[:-1], ids=lambda case: case.sensor)
def test_a_missing_repository_fails_at_once_unless_the_sensor_waits_for_objects(
    lakefs: Any, running: Running, case: Case
) -> None:
    sensor = getattr(sensors, case.sensor)(task_id="wait", repo="no-such-repository", **case.arguments)
    if sensor.operator_extra_links[0].name == "lakeFS object":
        assert not sensor.poke(running(sensor))
    else:
        with pytest.raises(AirflowFailException, match="repository not found"):
            sensor.poke(running(sensor))


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("option", [None, "soft_fail", "never_fail", "silent_fail"])
def test_a_failed_poll_is_treated_alike_in_every_mode(
    lakefs: Any, lakefs_repository: str, running: Running, option: str | None
) -> None:
    """One rule: an outage is waited out, an error that no retry can fix fails; options change it as documented."""
    fails = AirflowSkipException if option == "never_fail" else AirflowFailException
    for case in CASES:
        for mode, options in MODES.items():
            arguments = {**case.arguments, **options, **({option: True} if option else {}), "repo": lakefs_repository}

            def sensor(arguments: Any = arguments, case: Any = case) -> Any:
                return getattr(sensors, case.sensor)(task_id="wait", **arguments)

            for status, error in ((503, None), (401, fails)):
                lakefs.faults.add(Fault("*", status=status, times=None))
                task = sensor()
                if mode == "deferrable":
                    expected = error or TaskDeferred
                    with pytest.raises(expected):
                        task.execute(running(task))
                elif error is None:
                    assert not task.poke(running(task)), (case, mode, status)
                else:
                    with pytest.raises(fails):
                        _poke_as_airflow_does(task, running(task))
                lakefs.faults.clear()
            task = sensor()
            failed = {"state": "failed", "reason": "wrong credentials", "found": {}}
            with pytest.raises(fails):
                resumed(task, running, failed)
            with pytest.raises(AirflowSkipException if option == "soft_fail" else AirflowSensorTimeout):
                resumed(task, running, {"state": "timeout", "reason": "nothing", "found": {}})
            other = AirflowSkipException if option == "never_fail" else AirflowException
            with pytest.raises(other, match=r"nothing|never_fail"):
                resumed(task, running, {"state": "error", "reason": "nothing", "found": {}})


def _poke_as_airflow_does(task: Any, context: Any) -> None:
    task.timeout = 0
    task.poke_interval = 0
    if task.reschedule:
        context["ti"].get_first_reschedule_date = lambda _: None
    task.execute(context)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("option", "error"),
    [(None, AirflowSensorTimeout), ("soft_fail", AirflowSkipException), ("never_fail", AirflowSensorTimeout)],
)
def test_a_timeout_is_treated_alike_in_every_mode(
    lakefs_repository: str, running: Running, mode: str, option: str | None, error: type[Exception]
) -> None:
    options = MODES[mode] | ({option: True} if option else {})
    sensor = sensors.LakeFSTagSensor(task_id="wait", repo=lakefs_repository, tag="later", timeout=0, **options)
    with pytest.raises(error):
        if mode == "deferrable":
            resumed(sensor, running, {"state": "timeout", "reason": "not yet", "found": {}})
        _poke_as_airflow_does(sensor, {**running(sensor), "task_state_store": Store()})


class Store(dict[str, Any]):
    """A task state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def test_a_pull_request(lakefs: Any, lakefs_repository: str, side: None, running: Running) -> None:
    client = lakefs.client
    number = client.pulls.create(lakefs_repository, source_branch="side", destination_branch="main", title="side").id
    sensor = sensors.LakeFSPullRequestSensor(task_id="wait", repo=lakefs_repository, pull_request=number)
    context = running(sensor)
    assert not sensor.poke(context)
    client.pulls.update(lakefs_repository, number, status="closed")
    with pytest.raises(AirflowFailException, match="is closed"):
        sensor.poke(context)
    (link,) = sensor.operator_extra_links
    assert context["ti"].xcoms[link.xcom_key] == client.links.pull(lakefs_repository, number)
    closed = sensors.LakeFSPullRequestSensor(
        task_id="wait", repo=lakefs_repository, pull_request=number, closed_counts=True
    )
    assert closed.poke(running(closed)).xcom_value == {"status": "closed"}


def test_an_import(lakefs: Any, lakefs_repository: str, running: Running, tmp_path: Any) -> None:
    sensor = sensors.LakeFSImportSensor(task_id="wait", repo=lakefs_repository, branch="main", import_id="no-such")
    with pytest.raises(Exception, match="no-such"):
        sensor.poke(running(sensor))
    failed = {"state": "failed", "reason": "import 1 failed", "found": {"ingested_objects": 0}}
    context = running(sensor)
    with pytest.raises(AirflowFailException, match="import 1 failed"):
        sensor.resume_execution("execute_complete", {"event": failed}, context)
    (link,) = sensor.operator_extra_links
    assert context["ti"].xcoms[link.xcom_key] == lakefs.client.links.commits(lakefs_repository, "main")


ACTION = """
name: after the commit
on:
  post-commit:
hooks:
  - id: nothing
    type: lua
    properties:
      script: x = 1
"""


def test_an_action_run(lakefs: Any, lakefs_repository: str, running: Running) -> None:
    client = lakefs.client
    client.objects.upload(lakefs_repository, "main", "_lakefs_actions/a.yaml", ACTION.encode())
    made = client.commits.create(lakefs_repository, "main", message="one").id
    sensor = sensors.LakeFSActionRunSensor(
        task_id="wait", repo=lakefs_repository, commit_id=made, event_type="post-commit", poke_interval=0.1, timeout=30
    )
    context = running(sensor)
    found = sensor.execute(context)
    assert list(found) == ["run_id"]
    urls = [context["ti"].xcoms[link.xcom_key] for link in sensor.operator_extra_links]
    assert urls == [
        client.links.action_run(lakefs_repository, found["run_id"]), client.links.commit(lakefs_repository, made)
    ]  # fmt: skip


ARGUMENTS = {
    **{case.sensor: case.arguments for case in CASES},
    "LakeFSImportSensor": {"branch": "main", "import_id": "1"},
    "LakeFSPullRequestSensor": {"pull_request": "1"},
    "LakeFSActionRunSensor": {"commit_id": "c0ffee", "event_type": "post-commit"},
}


def test_all_sensors_can_be_mapped_and_survive_serialization() -> None:
    assert set(ARGUMENTS) == set(sensors.__all__)
    with DAG("all", schedule=None, default_args={"repo": "lake"}) as dag:
        for name, arguments in ARGUMENTS.items():
            getattr(sensors, name)(task_id=name, **arguments)
            getattr(sensors, name).partial(task_id=f"mapped_{name}", **arguments).expand(lakefs_conn_id=["a", "b"])
    # The class has another name in Airflow 3.1.
    serialization: Any = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
    again = serialization.from_dict(serialization.to_dict(dag))
    for name in ARGUMENTS:
        links = {link.name for link in getattr(sensors, name).operator_extra_links}
        assert set(again.task_dict[name].extra_links) == links
        assert again.task_dict[name].template_fields == list(getattr(sensors, name).template_fields)


@pytest.mark.parametrize("tolerance", [None, -1, "60", float("nan")])
def test_a_tolerance_that_is_none_is_refused_at_once(tolerance: Any) -> None:
    with pytest.raises(InvalidArgument, match="tolerance must be a timedelta or seconds"):
        sensors.LakeFSBranchSensor(task_id="wait", repo="lake", branch="main", tolerance=tolerance)
    action = {"task_id": "wait", "repo": "lake", "commit_id": "c", "event_type": "post-commit"}
    with pytest.raises(InvalidArgument, match="tolerance must be a timedelta or seconds"):
        LakeFSWaitForActionRunOperator(**action, tolerance=tolerance)
    assert LakeFSWaitForActionRunOperator(**action, tolerance=timedelta(minutes=1)).tolerance == 60


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_field_that_is_missing_after_rendering_fails_before_anything_is_sent(
    lakefs: Any, running: Running, name: str
) -> None:
    lakefs.faults.add(Fault("*", status=500, times=None))
    cls = getattr(sensors, name)
    sensor = cls(task_id="wait", repo="lake", **ARGUMENTS[name])
    for field in set(cls.template_fields) - set(cls.optional_fields):
        value = getattr(sensor, field)
        setattr(sensor, field, None)
        with pytest.raises(AirflowFailException, match=f"task 'wait': {field}"):
            sensor.poke(running(sensor))
        setattr(sensor, field, value)
    lakefs.faults.clear()


def test_a_duration_and_defaults(lakefs_repository: str) -> None:
    sensor = sensors.LakeFSPrefixUnchangedSensor(
        task_id="wait", repo="lake", branch="main", inactivity_period=timedelta(minutes=2)
    )
    condition = sensor.condition()
    assert (condition.seconds, condition.prefix, condition.objects) == (120, "", 1)


def test_a_match_needs_something_to_match() -> None:
    with pytest.raises(InvalidArgument, match="metadata, message or prefix must be given"):
        sensors.LakeFSCommitMatchSensor(task_id="wait", repo="lake", branch="main")
