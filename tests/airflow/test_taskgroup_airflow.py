"""The publish group in a real Airflow: write, audit, publish around a DAG author's own tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import DAG, TaskGroup, task, task_group

from airflow_provider.hooks import LakeFSHook
from airflow_provider.naming import group_branch
from airflow_provider.operators import LakeFSGetObjectOperator, LakeFSUploadOperator
from airflow_provider.taskgroups import LakeFSPublishTaskGroup, audit

RunDag = Callable[[DAG], Any]


class Lab:
    """Runs DAGs with publish groups in a repository, clears their tasks, and reads what they left."""

    def __init__(self, lakefs: Any, repository: str, run_dag: RunDag, patch: pytest.MonkeyPatch) -> None:
        self.client, self.repository = lakefs.client, repository
        self._run_dag, self._patch = run_dag, patch
        self.content: dict[str, str] = {"a": "1"}
        self.problems: list[str] = []

    def group(self, group_id: str = "g", **options: Any) -> LakeFSPublishTaskGroup:
        return LakeFSPublishTaskGroup(group_id, repo=self.repository, **options)

    def write(self, path: str = "a", **options: Any) -> Any:
        @task(task_id=f"write_{path}", **options)
        def write(branch: str) -> None:
            with LakeFSHook().get_conn() as client:
                client.objects.upload(self.repository, branch, path, self.content[path].encode())

        return write

    def check(self, **options: Any) -> Any:
        @task(**options)
        def check(ref: str) -> list[str]:
            with LakeFSHook().get_conn() as client:
                assert len(ref) == 64
                next(iter(client.objects.list(self.repository, ref)))
            return self.problems

        return check

    def simple(self, dag_id: str = "simple", retries: int = 0, **options: Any) -> DAG:
        defaults = {"retries": retries, "retry_delay": timedelta(0)}
        with DAG(dag_id, schedule=None, default_args=defaults) as dag, self.group(**options) as run:
            self.write()(run.branch)
            with run.audits:
                self.check()(run.ref)
        return dag

    def run(self, dag: DAG, state: str = "success", again: bool = False) -> Any:
        if not again:
            self.run_of = self._run_dag(dag)
        assert self.run_of.state == state, self.states()
        return self.run_of

    def clear(self, dag: DAG, *tasks: str, downstream: bool = True, state: str = "success") -> None:
        """Clear tasks of the last run as the UI does, and run the DAG again; skips the rest of the test before 3.2."""
        pytest.importorskip("airflow.serialization.definitions.dag")
        from airflow.models import DagRun, dagrun
        from airflow.serialization.definitions.dag import SerializedDAG
        from airflow.serialization.serialized_objects import DagSerialization
        from airflow.utils.session import create_session

        stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
        chosen = set(tasks) or set(stored.task_dict)
        if downstream:
            chosen |= set(stored.partial_subset(chosen, include_downstream=True, include_upstream=False).task_dict)
        with create_session() as session:
            stored.clear(run_id=self.run_of.run_id, task_ids=sorted(chosen), session=session, dag_run_state="running")

        def cleared(*, dag: Any, session: Any, **_: Any) -> Any:
            run = session.get(DagRun, self.run_of.id)
            run.dag = dag
            return run

        with self._patch.context() as patch:
            patch.setattr(SerializedDAG, "clear_dags", lambda **_: None)
            patch.setattr(dagrun, "get_or_create_dagrun", cleared)
            self.run_of = dag.test()
        self.run(dag, state, again=True)

    def states(self) -> dict[str, str]:
        return {
            ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": str(ti.state)
            for ti in self.run_of.get_task_instances()
        }

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        with create_session() as session:
            query = XComModel.get_many(dag_ids=self.run_of.dag_id, run_id=self.run_of.run_id, task_ids=task_id, key=key)
            (row,) = session.scalars(query)
            return XComModel.deserialize_value(row)

    def published(self) -> dict[str, str]:
        return {
            entry.path: self.client.objects.get(self.repository, "main", entry.path).decode()
            for entry in self.client.objects.list(self.repository, "main")
        }

    def merges(self) -> list[Any]:
        log = self.client.refs.log(self.repository, "main", first_parent=True)
        return [commit for commit in log if len(commit.parents) > 1]

    def branches(self) -> list[str]:
        return [branch.id for branch in self.client.branches.list(self.repository) if branch.id != "main"]

    def branch(self, group_id: str = "g") -> str:
        return group_branch(self.run_of.dag_id, self.run_of.run_id, group_id)


@pytest.fixture
def lab(lakefs: Any, lakefs_repository: str, connection: Any, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(lakefs, lakefs_repository, run_dag, monkeypatch)


def test_publishes_what_all_kinds_of_tasks_wrote(lab: Lab) -> None:
    lab.content |= {f"m{number}": str(number) for number in range(2)}

    @task
    def land(branch: str, name: str) -> str:
        with LakeFSHook().get_conn() as client:
            client.objects.upload(lab.repository, branch, name, lab.content[name].encode())
        return name

    @task
    def names(ref: str) -> list[str]:
        with LakeFSHook().get_conn() as client:
            return [entry.path for entry in client.objects.list(lab.repository, ref)]

    @task
    def not_empty(ref: str, name: str) -> None:
        with LakeFSHook().get_conn() as client:
            assert client.objects.get(lab.repository, ref, name)

    @audit
    def complete(ref: str) -> Iterator[str]:
        with LakeFSHook().get_conn() as client:
            found = {entry.path for entry in client.objects.list(lab.repository, ref)}
        for missing in {*lab.content, "nested", "classic"} - found:
            yield f"{missing} is missing"

    with DAG("kinds", schedule=None, default_args={"repo": lab.repository}) as dag:
        with LakeFSPublishTaskGroup("g", message="Land {{ dag.dag_id }}", metadata={"by": "{{ run_id }}"}) as run:
            LakeFSUploadOperator(task_id="classic", branch=run.branch, path="classic", content="c")
            with TaskGroup("nested"):
                LakeFSUploadOperator(task_id="upload", branch=f"{run.branch}", path="nested", content="n")
            landed = land.partial(branch=run.branch).expand(name=["m0", "m1"])
            landed >> lab.write()(run.branch)
            with run.audits:
                not_empty.partial(ref=run.ref).expand(name=names(run.ref))
                complete(run.ref)
                LakeFSGetObjectOperator(task_id="read", ref=f"{run.ref}", path="nested")
        LakeFSGetObjectOperator(task_id="after", ref=run.published, path="classic")
    lab.run(dag)
    assert lab.published() == lab.content | {"nested": "n", "classic": "c"}
    (merge,) = lab.merges()
    sealed = lab.client.commits.get(lab.repository, merge.parents[1])
    assert (sealed.message, merge.message) == ("Land kinds", "Land kinds")
    assert (sealed.metadata["by"], merge.metadata["by"]) == (lab.run_of.run_id, lab.run_of.run_id)
    assert merge.metadata["lakefs-ops.checks"] == "8 passed"
    assert (lab.xcom("g.commit"), lab.xcom("g.publish"), lab.xcom("after")) == (sealed.id, merge.id, "c")
    assert lab.branches() == []
    assert [check["name"] for check in lab.xcom("g.publish", "checks")][:3] == [
        "g.audits.names", "complete", "g.audits.read",
    ]  # fmt: skip


def test_a_failed_audit_keeps_the_branch_and_a_cleared_task_goes_on_with_it(lab: Lab) -> None:
    lab.problems = ["a is too small"]
    dag = lab.simple()
    lab.run(dag, "failed")
    assert (lab.published(), lab.branches()) == ({}, [lab.branch()])
    assert lab.states() == {
        "g.open": "success", "g.write_a": "success", "g.commit": "success", "g.audits.check": "success",
        "g.publish": "failed", "g.close": "failed",
    }  # fmt: skip
    sealed = lab.xcom("g.commit")
    for task_id in ("g.commit", "g.audits.check", "g.publish"):
        assert f"compare={sealed}" in lab.xcom(task_id, "_link_LakeFSCompareLink")
    lab.problems = []
    lab.content["a"] = "2"
    lab.clear(dag, "g.write_a")
    assert (lab.published(), lab.branches()) == ({"a": "2"}, [])
    # Published: the same data again, then new ones.
    lab.clear(dag)
    assert len(lab.merges()) == 1
    lab.content["a"] = "3"
    lab.clear(dag, "g.write_a")
    assert (lab.published(), len(lab.merges()), lab.branches()) == ({"a": "3"}, 2, [])


def test_skipped_write_tasks_and_audits(lab: Lab) -> None:
    """The trigger rules: a join after a branch, a group of which all write tasks are skipped, a skipped audit."""

    def group(name: str, *, chosen: str, skip_audit: bool = False) -> None:
        with lab.group(name) as run:

            @task.branch
            def choose() -> str | None:
                return f"{name}.{chosen}" if chosen else None

            @task
            def upload(branch: str) -> None:
                with LakeFSHook().get_conn() as client:
                    client.objects.upload(lab.repository, branch, name, b"1")

            choose() >> [upload.override(task_id="x")(run.branch), upload.override(task_id="y")(run.branch)]
            with run.audits:

                @task
                def check() -> None:
                    if skip_audit:
                        raise AirflowSkipException

                check()

    with DAG("skips", schedule=None) as dag:
        group("some", chosen="x")
        group("all", chosen="")
        group("audit", chosen="y", skip_audit=True)
    lab.run(dag, "failed")
    states = lab.states()
    assert [states[f"some.{name}"] for name in ("x", "y", "commit", "publish", "close")] == [
        "success", "skipped", "success", "success", "success",
    ]  # fmt: skip
    assert [states[f"all.{name}"] for name in ("x", "y", "commit", "audits.check", "publish", "close")] == [
        *["skipped"] * 5, "success",
    ]  # fmt: skip
    assert [states[f"audit.{name}"] for name in ("commit", "audits.check", "publish", "close")] == [
        "success", "skipped", "failed", "failed",
    ]  # fmt: skip
    assert (lab.published(), lab.branches()) == ({"some": "1"}, [lab.branch("audit")])


@pytest.mark.parametrize("wrong", ["", "f2"])
def test_write_tasks_and_audits_in_mapped_groups(lab: Lab, wrong: str) -> None:
    with DAG("mapped_groups", schedule=None) as dag, lab.group() as run:

        @task_group
        def station(branch: str, path: str) -> None:
            @task
            def write(branch: str, path: str) -> None:
                lab.client.objects.upload(lab.repository, branch, path, b"1")

            write(branch, path)

        station.partial(branch=run.branch).expand(path=["f1", "f2"])
        with run.audits:

            @task
            def paths(ref: str) -> list[str]:
                return [entry.path for entry in lab.client.objects.list(lab.repository, ref)]

            @task_group
            def each(ref: str, path: str) -> None:
                @task
                def check(ref: str, path: str) -> list[str]:
                    return ["too small"] if path == wrong else []

                check(ref, path)

            each.partial(ref=run.ref).expand(path=paths(run.ref))
    lab.run(dag, "failed" if wrong else "success")
    assert [(check["name"], check["problems"]) for check in lab.xcom("g.publish", "checks")] == [
        ("g.audits.paths", []),
        ("g.audits.each.check[0]", []),
        ("g.audits.each.check[1]", ["too small"] if wrong else []),
    ]
    assert lab.published() == ({} if wrong else {"f1": "1", "f2": "1"})


def test_instances_and_tasks_of_the_same_name(lab: Lab) -> None:
    """Airflow calls the instance ``write[1]`` ``write_1``, too."""
    with DAG("names", schedule=None) as dag, lab.group() as run:

        @task
        def write(branch: str, path: str = "") -> None:
            if not path:
                raise ValueError("wrong")
            lab.client.objects.upload(lab.repository, branch, path, b"1")

        mapped = write.partial(branch=run.branch).expand(path=["a", "b"])
        [mapped, write.override(task_id="write_1")(run.branch)] >> lab.write(trigger_rule="all_done")(run.branch)
        with run.audits:
            lab.check()(run.ref)
    lab.run(dag, "failed")
    assert (lab.states()["g.commit"], lab.published()) == ("failed", {})


def test_comes_back_from_the_database_with_its_links(lab: Lab, store_dag: Callable[[DAG], None]) -> None:
    from airflow.models.serialized_dag import SerializedDagModel

    dag = lab.simple("stored")
    store_dag(dag)
    stored = SerializedDagModel.get_dag("stored")
    assert stored is not None
    links = {task.task_id: sorted(task.operator_extra_link_dict) for task in stored.tasks}
    assert links["g.audits.check"] == ["lakeFS comparison"]
    assert links["g.publish"] == ["lakeFS commit", "lakeFS comparison"]
    assert stored.get_task("g.close").is_teardown
    assert stored.get_task("g.open").is_setup
