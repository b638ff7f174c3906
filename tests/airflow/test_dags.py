"""Whole DAGs in a real Airflow against a real server."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.operators import (
    LakeFSCommitOperator,
    LakeFSCreateBranchOperator,
    LakeFSDeleteBranchOperator,
    LakeFSGetCommitOperator,
    LakeFSGetObjectOperator,
    LakeFSMergeOperator,
    LakeFSUploadOperator,
)
from airflow_provider.sensors import LakeFSCommitSensor, LakeFSFileSensor
from lakefs_ops.flows.conditions import NewCommit
from lakefs_ops.flows.polling import BranchPoller

RunDag = Callable[[DAG], Any]


@pytest.fixture(autouse=True)
def _connected(connection: Callable[..., None]) -> None:
    pass


def log(lakefs: Any, repository: str, ref: str) -> list[str]:
    return [commit.message for commit in lakefs.client.refs.log(repository, ref)]


def xcom(run: Any, task_id: str, key: str = "return_value") -> Any:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = XComModel.get_many(dag_ids=run.dag_id, run_id=run.run_id, task_ids=task_id, key=key)
        (row,) = session.scalars(query)
        return XComModel.deserialize_value(row)


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def test_write_commit_merge(
    lakefs,
    lakefs_repository: str,
    run_dag: RunDag,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A DAG in the manner of the former provider: arguments in default_args, native rendering."""
    repo = lakefs_repository
    defaults = {"lakefs_conn_id": "lakefs_default", "repo": repo, "branch": "2024_01_05", "default-branch": "main"}
    with DAG("publish", schedule=None, default_args=defaults, render_template_as_native_obj=True) as dag:
        create = LakeFSCreateBranchOperator(
            task_id="create", branch="{{ dag.default_args.branch }}", source_branch="main"
        )
        upload = LakeFSUploadOperator(task_id="upload", path="daily/{{ dag.dag_id }}.csv", content=b"a,b\n1,2\n")
        commit = LakeFSCommitOperator(
            task_id="commit", msg="Land {{ dag.dag_id }}", metadata={"by": "{{ task.task_id }}"}
        )
        get = LakeFSGetCommitOperator(task_id="get", ref="{{ ti.xcom_pull('commit') }}", do_xcom_push=True)
        merge = LakeFSMergeOperator(
            task_id="merge",
            source_ref="{{ ti.xcom_pull('get').id }}",
            destination_branch="{{ dag.default_args['default-branch'] }}",
            msg="Publish",
        )
        read = LakeFSGetObjectOperator(task_id="read", ref="main", path="daily/publish.csv")
        delete = LakeFSDeleteBranchOperator(task_id="delete")
        create >> upload >> commit >> get >> merge >> read >> delete

    run = run_dag(dag)

    assert run.state == "success", states(run)
    published, landed, branched, created = lakefs.client.refs.log(repo, "main")
    assert [published.message, landed.message, created.message] == ["Publish", "Land publish", "Repository created"]
    assert published.parents == [created.id, landed.id]
    assert landed.metadata["by"] == "commit"
    assert landed.metadata["::lakefs::Airflow::dag_run_id"] == run.run_id
    assert "tasks/commit" in landed.metadata["::lakefs::Airflow::url[url:ui]"]
    assert "None" not in landed.metadata.values()
    assert (xcom(run, "create"), branched.parents) == (branched.id, [created.id])
    assert (xcom(run, "commit"), xcom(run, "get")["id"], xcom(run, "merge")) == (landed.id, landed.id, published.id)
    assert xcom(run, "read") == "a,b\n1,2\n"
    assert xcom(run, "merge", "_link_LakeFSCommitLink") == lakefs.client.links.commit(repo, published.id)
    assert [branch.id for branch in lakefs.client.branches.list(repo)] == ["main"]
    output = capsys.readouterr()
    assert lakefs.secret_access_key not in caplog.text + output.out + output.err


def test_tasks_that_fail_after_the_server_committed(lakefs, lakefs_repository: str, run_dag: RunDag) -> None:
    """As if the worker was killed before it could report: the retry finds what the first try made."""
    repo = lakefs_repository

    def die(context: Any, result: Any = None) -> None:
        if context["ti"].try_number == 1:
            raise RuntimeError("killed")

    again = {"repo": repo, "retries": 1, "retry_delay": timedelta(0), "post_execute": die}
    with DAG("killed", schedule=None, default_args=again) as dag:
        create = LakeFSCreateBranchOperator(task_id="create", branch="dev", source_branch="main")
        upload = LakeFSUploadOperator(task_id="upload", branch="dev", path="a.csv", content=b"1")
        commit = LakeFSCommitOperator(task_id="commit", branch="dev", msg="land", allow_empty=True)
        merge = LakeFSMergeOperator(
            task_id="merge", source_ref="dev", destination_branch="main", msg="publish", allow_empty=True
        )
        delete = LakeFSDeleteBranchOperator(task_id="delete", branch="dev")
        create >> upload >> commit >> merge >> delete

    run = run_dag(dag)

    assert run.state == "success", states(run)
    assert {ti.try_number for ti in run.get_task_instances()} == {2}
    assert log(lakefs, repo, "main") == ["publish", "land", "Create branch dev", "Repository created"]


def test_mapped_commits_have_keys_of_their_own(lakefs, lakefs_repository: str, run_dag: RunDag) -> None:
    repo = lakefs_repository
    branches = ["run-a", "run-b"]
    for branch in branches:
        lakefs.client.branches.create(repo, name=branch, source="main")
        lakefs.client.objects.upload(repo, branch, "a.csv", b"1")
    with DAG("mapped", schedule=None) as dag:
        LakeFSCommitOperator.partial(task_id="commit", repo=repo, msg="land").expand(branch=branches)
    assert run_dag(dag).state == "success"
    keys = [lakefs.client.commits.get(repo, branch).metadata["lakefs-ops.key"] for branch in branches]
    assert [key.rpartition("/commit/")[2] for key in keys] == ["0", "1"]


def test_the_log_of_a_failed_task_says_what_to_do(
    lakefs_repository: str, run_dag: RunDag, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with DAG("wrong", schedule=None, default_args={"retries": 3}) as dag:
        LakeFSCreateBranchOperator(task_id="create", repo=lakefs_repository, branch="not/one", source_branch="main")
    with caplog.at_level(logging.INFO):
        run = run_dag(dag)
    (ti,) = run.get_task_instances()
    assert (run.state, ti.try_number) == ("failed", 1)
    output = capsys.readouterr()
    text = caplog.text + output.out + output.err
    assert "branch id must consist of letters, digits, underscores and dashes" in text


def test_a_task_of_ones_own(lakefs, lakefs_repository: str, run_dag: RunDag) -> None:
    repo = lakefs_repository
    with DAG("own", schedule=None) as dag:

        @task
        def tag() -> str:
            with LakeFSHook().get_conn() as client:
                return client.tags.create(repo, id="v1", ref="main").commit_id

        tag()
    run = run_dag(dag)
    assert xcom(run, "tag") == lakefs.client.tags.get(repo, "v1").commit_id


@pytest.fixture
def commit_after(lakefs, lakefs_repository: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Lets somebody commit to main after the n-th look of a trigger; returns what the looks saw, as it grows."""
    real_look = BranchPoller.poll

    def prepare(number: int) -> list[str]:
        seen: list[str] = []

        def look(self: BranchPoller, condition: Any) -> Any:
            verdict = real_look(self, condition)
            seen.append(verdict.state)
            if len(seen) == number:
                lakefs.client.objects.upload(lakefs_repository, "main", "new.csv", b"1")
                lakefs.client.commits.create(lakefs_repository, "main", message="meanwhile")
            return verdict

        monkeypatch.setattr(BranchPoller, "poll", look)
        return seen

    return prepare


def test_sensor_defers_and_resumes_on_a_commit_made_meanwhile(
    lakefs, lakefs_repository: str, run_dag: RunDag, commit_after: Callable[[int], list[str]]
) -> None:
    repo = lakefs_repository
    seen = commit_after(2)
    with DAG("waits", schedule=None) as dag:
        wait = LakeFSCommitSensor(
            task_id="wait", repo=repo, branch="main", deferrable=True, poke_interval=0.05, timeout=30
        )
        file = LakeFSFileSensor(task_id="file", repo=repo, branch="main", path="new.csv", deferrable=True)
        wait >> file
    run = run_dag(dag)
    assert run.state == "success", states(run)
    assert seen == ["waiting", "waiting", "met"]
    head = lakefs.client.branches.get(repo, "main").commit_id
    assert xcom(run, "wait") == {"commit_id": head}
    assert xcom(run, "wait", "_link_LakeFSCommitLink") == lakefs.client.links.commit(repo, head)
    assert xcom(run, "file")["size_bytes"] == 1


@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_deferred_sensor_times_out(
    lakefs_repository: str, run_dag: RunDag, commit_after: Callable[[int], list[str]], soft_fail: bool, state: str
) -> None:
    seen = commit_after(1_000_000)
    with DAG(f"waits_in_vain_{state}", schedule=None, default_args={"retries": 3}) as dag:
        LakeFSCommitSensor(
            task_id="wait",
            repo=lakefs_repository,
            branch="main",
            deferrable=True,
            poke_interval=0.1,
            timeout=2,
            soft_fail=soft_fail,
        )
    run = run_dag(dag)
    (ti,) = run.get_task_instances()
    assert (str(ti.state), ti.try_number) == (state, 1)
    assert len(seen) > 1
    assert set(seen) == {"waiting"}


def test_rescheduled_sensor_remembers(
    lakefs, lakefs_repository: str, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each poke is a process of its own in production; what the first saw must reach the second."""
    real_look, looks = NewCommit.poll, []

    def look(self: NewCommit, client: Any) -> Any:
        verdict = real_look(self, client)
        looks.append(self.after)
        if len(looks) == 1:
            lakefs.client.objects.upload(lakefs_repository, "main", "new.csv", b"1")
            lakefs.client.commits.create(lakefs_repository, "main", message="meanwhile")
        return verdict

    monkeypatch.setattr(NewCommit, "poll", look)
    before = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    with DAG("reschedules", schedule=None) as dag:
        LakeFSCommitSensor(
            task_id="wait", repo=lakefs_repository, branch="main", mode="reschedule", poke_interval=0.1, timeout=30
        )
    run = run_dag(dag)
    assert run.state == "success", states(run)
    assert looks == [None, before]


def test_comes_back_from_the_database_with_its_links(store_dag: Callable[[DAG], None]) -> None:
    from airflow.models.serialized_dag import SerializedDagModel

    with DAG("stored", schedule=None) as dag:
        LakeFSCreateBranchOperator(task_id="create", repo="lake", branch="dev", source_branch="main")
        LakeFSCommitOperator(task_id="commit", repo="lake", branch="dev", msg="m", metadata={"k": "v"})
        LakeFSMergeOperator(task_id="merge", repo="lake", source_ref="dev", destination_branch="main")
        LakeFSUploadOperator(task_id="upload", repo="lake", branch="dev", path="a", content=b"\x00\xff")
        LakeFSCommitSensor(task_id="wait", repo="lake", branch="main", deferrable=True)
    store_dag(dag)
    stored = SerializedDagModel.get_dag("stored")
    links = {task_id: set(stored.get_task(task_id).extra_links) for task_id in dag.task_ids}
    assert links == {
        "create": {"lakeFS branch"},
        "commit": {"lakeFS commit"},
        "merge": {"lakeFS commit", "lakeFS comparison"},
        "upload": {"lakeFS object"},
        "wait": {"lakeFS commit"},
    }
    assert tuple(stored.get_task("commit").template_fields) == ("lakefs_conn_id", "repo", "branch", "msg", "metadata")
