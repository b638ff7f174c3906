"""Publish groups that collect: all runs of a backfill reach the destination with one merge, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk import DAG, Asset, Param, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.operators import LakeFSCancelBackfillOperator, LakeFSFinishBackfillOperator
from airflow_provider.operators.publish import _partition
from airflow_provider.taskgroups import LakeFSPublishTaskGroup
from lakefs_ops.errors import InvalidArgument, UnpublishedChanges
from lakefs_ops.flows.backfill import Backfill, BackfillIncomplete
from tests.airflow.memory import Run

RunDag = Callable[[DAG], Any]
DAYS = [f"day-{number}" for number in range(4)]


class Lab:
    """A DAG whose runs write the partition that is their run id; the audit of ``self.spoiled`` fails."""

    def __init__(self, lakefs: Any, repository: str) -> None:
        self.client, self.repository = lakefs.client, repository
        self.spoiled: str | None = None
        self.backfill = Backfill(self.client, repository, "daily/g/fix")

    def dag(self, backfill: str | None = "fix", **options: Any) -> DAG:
        with DAG("daily", schedule=None, default_args={"retries": 0}) as dag:
            options = {"backfill": backfill, "partition": "{{ run_id }}", **options}
            with LakeFSPublishTaskGroup("g", repo=self.repository, **options) as group:

                @task
                def write(branch: str, run_id: Any = None) -> None:
                    with LakeFSHook().get_conn() as client:
                        client.objects.upload(self.repository, branch, run_id, b"1")

                write(group.branch)
                with group.audits:

                    @task
                    def check(ref: str, run_id: Any = None) -> list[str]:
                        return ["spoiled"] if run_id == self.spoiled else []

                    check(group.ref)
        return dag

    def run(self, day: str, state: str = "success", **options: Any) -> Run:
        run = Run(self.dag(**options), run_id=day)
        assert run.execute() == state, (run.states(), run.errors())
        return run

    def finish(self, running: Any, expected: Any = DAYS, runs: int = 0, **options: Any) -> Any:
        values = {"repo": self.repository, "backfill": "fix", "group": "g", "group_dag_id": "daily", **options}
        operator = LakeFSFinishBackfillOperator(task_id="finish", expected=expected, **values)
        self.context = running(operator, dag_id="publish")
        self.context["ti"].get_dr_count = lambda **_: runs
        return operator.execute(self.context)

    def objects(self, ref: str = "main") -> list[str]:
        return [entry.path for entry in self.client.objects.list(self.repository, ref)]

    def merges(self) -> list[Any]:
        log = self.client.refs.log(self.repository, "main", first_parent=True)
        return [commit for commit in log if len(commit.parents) > 1]

    def branches(self) -> list[str]:
        return [branch.id for branch in self.client.branches.list(self.repository) if branch.id != "main"]


@pytest.fixture
def lab(lakefs: Any, lakefs_repository: str, connection: Any) -> Lab:
    return Lab(lakefs, lakefs_repository)


def test_all_runs_are_published_with_one_merge(lab: Lab, running: Any) -> None:
    for day in DAYS:
        lab.run(day)
        assert lab.objects() == []
    assert lab.branches() == [lab.backfill.branch]
    merged = lab.finish(running)
    assert lab.objects() == DAYS
    assert [merge.id for merge in lab.merges()] == [merged]
    assert lab.merges()[0].metadata["airflow_task_id"] == "finish"
    xcoms = lab.context["ti"].xcoms
    assert xcoms["progress"]["collected"] == DAYS
    assert xcoms["progress"]["missing"] == []
    assert xcoms["_link_LakeFSCommitLink"] == lab.client.links.commit(lab.repository, merged)
    assert lab.branches() == []
    assert lab.finish(running) == merged


def test_an_ordinary_run_publishes_as_ever(lab: Lab) -> None:
    lab.run("one", backfill="{{ none }}")
    lab.run("two", backfill=None)
    assert lab.objects() == ["one", "two"]
    assert len(lab.merges()) == 2
    assert lab.branches() == []


def test_earlier_runs_that_a_backfill_processes_again(lab: Lab, running: Any) -> None:
    """One was published, and one was rejected: its branch, with data for main, is kept and not in the way."""
    dag, lab.spoiled = lab.dag(backfill="{{ params.backfill }}"), DAYS[1]
    runs = [Run(dag, day, {"backfill": None}) for day in DAYS[:2]]
    assert [run.execute() for run in runs] == ["success", "failed"]
    (rejected,) = lab.branches()
    lab.spoiled = None
    for run in runs:
        run.params = {"backfill": "fix"}
        run.clear()
        assert run.execute() == "success", run.errors()
    assert lab.finish(running, expected=DAYS[:2]) == lab.merges()[0].id
    assert lab.objects() == DAYS[:2]
    assert lab.branches() == [rejected]
    assert lab.objects(rejected) == DAYS[:2]


@pytest.mark.parametrize("policy", ["all", "passed", "nothing"])
def test_each_policy_with_a_failing_run(lab: Lab, running: Any, policy: str) -> None:
    lab.spoiled = DAYS[2]
    failed = {}
    for day in DAYS:
        failed[day] = lab.run(day, state="failed" if day == lab.spoiled else "success")
    others = [day for day in DAYS if day != lab.spoiled]
    if policy == "passed":
        lab.finish(running, policy=policy)
        assert lab.objects() == others
        assert len(lab.merges()) == 1
    else:
        with pytest.raises(BackfillIncomplete, match="3 of 4 partitions are collected; missing: day-2"):
            lab.finish(running, policy=policy)
        assert lab.objects() == []
        assert lab.context["ti"].xcoms["progress"]["missing"] == ["day-2"]
    assert (lab.backfill.branch in lab.branches()) == (policy == "all")
    lab.spoiled = None
    again = failed["day-2"]
    again.clear()
    if policy == "passed":  # too late
        assert again.execute() == "failed"
        assert "is published on 'main'" in again.errors()["g.open"]
        assert lab.objects() == others
    else:
        assert again.execute() == "success", again.errors()
        if policy == "all":
            lab.finish(running)
            assert lab.objects() == DAYS
            assert len(lab.merges()) == 1


@pytest.mark.parametrize("policy", ["passed", "nothing"])
def test_the_end_of_all_runs_is_waited_for(lab: Lab, running: Any, policy: Any) -> None:
    lab.run(DAYS[0])
    with pytest.raises(AirflowException, match="2 runs of DAG 'daily' have not ended"):
        lab.finish(running, policy=policy, runs=2)
    assert lab.backfill.progress().state == "open"
    assert lab.finish(running, expected=DAYS[:1], runs=2) == lab.merges()[0].id


def test_a_cleared_run_of_a_published_backfill_stays_green(lab: Lab, running: Any) -> None:
    run = lab.run(DAYS[0])
    lab.finish(running, expected=DAYS[:1])
    run.clear("g.publish")
    run.clear("g.close", downstream=False)
    for name in ("g.open", "g.write", "g.commit", "g.audits.check"):
        run.tis[name].state = "success"
    assert run.execute() == "success", run.errors()
    assert len(lab.merges()) == 1
    run.clear()
    assert run.execute() == "failed"
    assert "publish this run under another key" in run.errors()["g.open"]


def test_a_run_of_a_canceled_backfill_collects_all_of_its_data_or_nothing(lab: Lab, running: Any) -> None:
    run = lab.run(DAYS[0])
    lab.backfill.cancel(discard=True)
    run.clear("g.commit")
    assert run.execute() == "failed"
    assert "they would not run again: g.write; clear 'g.open'" in run.errors()["g.open"]
    run.clear("g.open")
    assert run.execute() == "success", run.errors()
    lab.finish(running, expected=DAYS[:1])
    run.clear("g.commit")
    assert run.execute() == "failed"
    assert "publish this run under another key" in run.errors()["g.open"]
    assert lab.objects() == DAYS[:1]


def test_cancel(lab: Lab, running: Any) -> None:
    lab.run(DAYS[0])

    def cancel(**options: Any) -> Any:
        values = {"repo": lab.repository, "backfill": "fix", "group": "g", "group_dag_id": "daily"}
        operator = LakeFSCancelBackfillOperator(task_id="cancel", **values, **options)
        return operator.execute(running(operator))

    with pytest.raises(AirflowFailException, match="is kept") as refused:
        cancel()
    assert isinstance(refused.value.__cause__, UnpublishedChanges)
    assert cancel(discard=True) is True
    assert cancel() is False
    assert (lab.objects(), lab.branches()) == ([], [])


def test_the_name_of_a_partition() -> None:
    def name(**fields: Any) -> str:
        return _partition({"dag_run": SimpleNamespace(run_id="manual__1", **fields)})  # type: ignore[typeddict-item]

    midnight = datetime(2015, 1, 31, tzinfo=UTC)
    assert name(logical_date=midnight) == "2015-01-31"
    assert name(logical_date=midnight + timedelta(hours=6)) == "2015-01-31T06:00:00+00:00"
    assert name(logical_date=midnight, partition_key="2015-01") == "2015-01"
    assert name(logical_date=None) == "manual__1"


def test_no_review_by_a_pull_request(lab: Lab) -> None:
    with (
        DAG("daily", schedule=None),
        pytest.raises(InvalidArgument, match="ask for an approval instead"),
        LakeFSPublishTaskGroup("g", repo="lake", backfill="fix") as group,
    ):
        group.review()


def test_the_page(lab: Lab) -> None:
    page = Path(__file__).parents[2] / "docs" / "backfills.md"
    (source,) = (code for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL) if "DAG(" in code)
    names: dict[str, Any] = {}
    exec(source.replace("my-repo", lab.repository), names)
    daily, publish = names["daily"], names["publish"]
    for key, commits in (("fix-2015", 0), (None, 1)):
        run = Run(daily, params={"backfill": key})
        assert run.execute() == "success", run.errors()
        assert len(lab.merges()) == commits
    run = Run(publish, params=publish.params.dump())
    assert run.execute() == "failed"
    assert "missing: 2015-01-01" in run.errors()["finish"]
    run = Run(publish, params=publish.params.dump() | {"days": ["2026-01-02T12:00:00+00:00"]})
    assert run.execute() == "success", run.errors()
    assert len(lab.merges()) == 2


# in a real Airflow ----------------------------------------------------------------------------------------------------


def backfill_dag(lab: Lab) -> DAG:
    with DAG("daily", schedule="@daily", start_date=datetime(2015, 1, 1, tzinfo=UTC), catchup=False) as dag:
        dag.params["backfill"] = Param(None, type=["null", "string"])
        with LakeFSPublishTaskGroup(
            "g", repo=lab.repository, backfill="{{ params.backfill }}", outlets=[Asset("lakefs://lake/main")]
        ) as group:

            @task
            def write(branch: str, run_id: Any = None, logical_date: Any = None) -> None:
                with LakeFSHook().get_conn() as client:
                    client.objects.upload(lab.repository, branch, f"{logical_date:%Y-%m-%d}", run_id.encode())

            write(group.branch)
            with group.audits:

                @task
                def check(ref: str) -> list[str]:
                    return []

                check(group.ref)
    return dag


def events() -> int:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        return int(session.scalar(select(func.count()).select_from(AssetEvent)) or 0)


def test_airflow_backfill(
    lab: Lab, store_dag: Callable[[DAG], None], run_dag: RunDag, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs that ``airflow backfill create`` makes, with the key in their configuration."""
    pytest.importorskip("airflow.serialization.definitions.dag")
    from airflow.models import DagRun, dagrun
    from airflow.models.backfill import ReprocessBehavior, _create_backfill
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.utils.session import create_session
    from sqlalchemy import select

    dag = backfill_dag(lab)
    store_dag(dag)
    _create_backfill(
        dag_id="daily",
        from_date=datetime(2015, 1, 1, tzinfo=UTC),
        to_date=datetime(2015, 1, 3, tzinfo=UTC),
        max_active_runs=2,
        reverse=False,
        dag_run_conf={"backfill": "fix"},
        triggering_user_name="tester",
        reprocess_behavior=ReprocessBehavior.NONE,
    )
    with create_session() as session:
        ids = list(session.scalars(select(DagRun.id).where(DagRun.backfill_id.is_not(None)).order_by(DagRun.id)))
    assert len(ids) == 3
    before = events()
    for id_ in ids:

        def created(*, dag: Any, session: Any, id_: int = id_, **_: Any) -> Any:
            run = session.get(DagRun, id_)
            run.dag, run.state = dag, "running"
            return run

        with monkeypatch.context() as patch:
            patch.setattr(SerializedDAG, "clear_dags", lambda **_: None)
            patch.setattr(dagrun, "get_or_create_dagrun", created)
            run = dag.test()
        assert run.state == "success", {ti.task_id: ti.state for ti in run.get_task_instances()}
        assert str(getattr(run.run_type, "value", run.run_type)) == "backfill"
    days = ["2015-01-01", "2015-01-02", "2015-01-03"]
    assert lab.objects() == []
    assert events() == before, "the destination has not changed yet"
    assert lab.backfill.progress(days).missing == ()

    with DAG("finish", schedule=None) as finish:
        LakeFSFinishBackfillOperator(
            task_id="finish", repo=lab.repository, backfill="{{ 'fix' }}", group="g", group_dag_id="daily",
            expected="{{ ['2015-01-01', '2015-01-02', '2015-01-03'] }}", policy="passed",
            outlets=[Asset("lakefs://lake/main")],
        )  # fmt: skip
    assert run_dag(finish).state == "success"
    assert lab.objects() == days
    assert len(lab.merges()) == 1
    assert events() == before + 1
    assert lab.branches() == []
