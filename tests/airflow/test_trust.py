"""A green run has published what it wrote, once; any other run has kept it."""

import copy
import logging
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from airflow.sdk import DAG, task

from airflow_provider.exceptions import DirtyBranch, UnpublishedChanges
from airflow_provider.hooks import LakeFSHook
from airflow_provider.naming import branch_id
from airflow_provider.operators import (
    LakeFSCommitOperator,
    LakeFSCreateBranchOperator,
    LakeFSDeleteBranchOperator,
    LakeFSGetCommitOperator,
    LakeFSGetObjectOperator,
    LakeFSMergeOperator,
    LakeFSUploadOperator,
)

Running = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _connected(connection: Callable[..., None]) -> None:
    pass


@pytest.fixture
def committed(lakefs, lakefs_repository: str) -> str:
    """A repository with one commit on the branch ``dev``."""
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    lakefs.client.objects.upload(lakefs_repository, "dev", "a.txt", b"1")
    lakefs.client.commits.create(lakefs_repository, "dev", message="one")
    return lakefs_repository


def merge_operator(repo: str, **changed: Any) -> LakeFSMergeOperator:
    return LakeFSMergeOperator(
        **{"task_id": "merge", "repo": repo, "source_ref": "dev", "destination_branch": "main", **changed}
    )


def test_a_merge_refuses_to_leave_out_uncommitted_changes(lakefs, committed: str, running: Running) -> None:
    lakefs.client.objects.upload(committed, "dev", "late.txt", b"2")
    before = lakefs.client.branches.get(committed, "main").commit_id
    merge = merge_operator(committed)
    with pytest.raises(DirtyBranch, match=r"would leave out: late\.txt; commit or reset them"):
        merge.execute(running(merge))
    assert lakefs.client.branches.get(committed, "main").commit_id == before
    for merge in (
        merge_operator(committed, ignore_uncommitted=True),
        merge_operator(committed, source_ref="dev@", if_nothing="succeed"),
    ):
        merge.execute(running(merge))
    assert [entry.path for entry in lakefs.client.objects.list(committed, "main")] == ["a.txt"]


@pytest.mark.parametrize("late", [True, False], ids=["uncommitted", "not merged"])
def test_an_unpublished_branch_is_kept(lakefs, committed: str, running: Running, late: bool) -> None:
    if late:
        lakefs.client.refs.merge(committed, "dev", "main")
        lakefs.client.objects.upload(committed, "dev", "late.txt", b"2")
    delete = LakeFSDeleteBranchOperator(task_id="delete", repo=committed, branch="dev")
    with pytest.raises(AirflowFailException, match=r"branch 'dev' of .* is kept: ") as caught:
        delete.execute(running(delete))
    assert isinstance(caught.value.__cause__, UnpublishedChanges)
    assert lakefs.client.branches.get(committed, "dev").id == "dev"
    delete = LakeFSDeleteBranchOperator(task_id="delete", repo=committed, branch="dev", discard=True)
    delete.execute(running(delete))
    assert [branch.id for branch in lakefs.client.branches.list(committed)] == ["main"]


def test_a_cleared_merge_that_was_reverted_is_not_green(lakefs, committed: str, running: Running) -> None:
    merge = merge_operator(committed, if_nothing="succeed")
    merge_id = merge.execute(running(merge, run_id="r"))
    lakefs.client.branches.revert(committed, "main", ref=merge_id, parent_number=1)
    with pytest.raises(AirflowFailException, match=r"on 'main' of .* but a later commit undid at least a part"):
        merge.execute(running(merge, run_id="r", try_number=2, max_tries=1))


def test_a_branch_of_another_run_is_not_taken(lakefs, lakefs_repository: str, running: Running) -> None:
    create = LakeFSCreateBranchOperator(task_id="create", repo=lakefs_repository, branch="b", source_branch="main")
    create.execute(running(create, run_id="run-1"))
    lakefs.client.objects.upload(lakefs_repository, "b", "rejected.txt", b"1")
    for run_id, try_number in (("run-10", 1), ("run-10", 2), ("run-", 2)):
        with pytest.raises(AirflowFailException, match="branch 'b'"):
            create.execute(running(create, run_id=run_id, try_number=try_number, max_tries=1))
    create.execute(running(create, run_id="run-1", try_number=2, max_tries=1))


def test_branch_ids_are_valid_and_different(lakefs, lakefs_repository: str) -> None:
    runs = [f"manual__2026-01-02T12:00:00.{micro:06}+00:00" for micro in (1, 4001)]
    ids = [("daily", run) for run in runs] + [
        ("a-b", "c"),
        ("a", "b-c"),
        ("ä", "ö"),
        ("x" * 200, "1"),
        ("x" * 200, "2"),
    ]
    names = [branch_id(*one) for one in ids]
    assert len(set(names)) == len(ids)
    for name in names:
        lakefs.client.branches.create(lakefs_repository, name=name, source="main")
    for wrong in ((), ("",), ("daily", None)):
        with pytest.raises(ValueError, match="needs ids that are not empty"):
            branch_id(*wrong)


@pytest.mark.parametrize("native", [True, False])
def test_the_macro_works_in_all_tasks(
    lakefs, lakefs_repository: str, run_dag: Callable[..., Any], native: bool
) -> None:
    name = "{{ macros.lakefs.branch_id(dag.dag_id, run_id) }}"
    with DAG(f"macro_{native}", schedule=None, render_template_as_native_obj=native) as dag:

        @task
        def other(branch: str) -> str:
            return branch

        create = LakeFSCreateBranchOperator(task_id="create", repo=lakefs_repository, branch=name, source_branch="main")
        create >> LakeFSGetCommitOperator(task_id="get", repo=lakefs_repository, ref=other(name))
    run = run_dag(dag)
    assert run.state == "success"
    assert lakefs.client.branches.get(lakefs_repository, branch_id(dag.dag_id, run.run_id))


@pytest.mark.parametrize("operator", ["commit", "merge"])
def test_nothing_to_do_is_a_choice(lakefs, lakefs_repository: str, running: Running, operator: str) -> None:
    head = lakefs.client.branches.create(lakefs_repository, name="dev", source="main")

    def execute(**choice: Any) -> str:
        if operator == "merge":
            made: Any = merge_operator(lakefs_repository, **choice)
        else:
            made = LakeFSCommitOperator(task_id="commit", repo=lakefs_repository, branch="dev", msg="m", **choice)
        return made.execute(running(made))

    with pytest.raises(AirflowFailException):
        execute()
    with pytest.raises(AirflowSkipException):
        execute(if_nothing="skip")
    assert execute(if_nothing="succeed") == head
    with pytest.raises(ValueError, match="if_nothing must be one of 'fail', 'skip', 'succeed', got 'ignore'"):
        execute(if_nothing="ignore")


def test_used_operators_and_hooks_can_be_copied(lakefs, lakefs_repository: str, running: Running) -> None:
    get = LakeFSGetCommitOperator(task_id="get", repo=lakefs_repository, ref="main")
    used = LakeFSHook()
    used.get_conn().branches.get(lakefs_repository, "main")
    get.execute(running(get))
    for copied in (copy.deepcopy(get), pickle.loads(pickle.dumps(get))):
        assert copied.execute(running(copied))["message"] == "Repository created"
    for hook in (copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
        assert hook.get_branch_commit_id(lakefs_repository, "main")


def upload(repo: str, content: Any) -> LakeFSUploadOperator:
    return LakeFSUploadOperator(task_id="upload", repo=repo, branch="main", path="a.txt", content=content)


def test_content_may_be_a_file_or_the_output_of_a_task(
    lakefs, lakefs_repository: str, running: Running, run_dag: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(b"from a file")
    operator = upload(lakefs_repository, tmp_path / "a.txt")
    operator.execute(running(operator))
    assert lakefs.client.objects.get(lakefs_repository, "main", "a.txt") == b"from a file"
    with DAG("content", schedule=None) as dag:

        @task
        def produce() -> str:
            return "from {{ a }} task"

        upload(lakefs_repository, produce())
    assert dag.get_task("upload").upstream_task_ids == {"produce"}
    assert run_dag(dag).state == "success"
    assert lakefs.client.objects.get(lakefs_repository, "main", "a.txt") == b"from {{ a }} task"


def test_other_content_is_refused_in_the_constructor(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with (tmp_path / "a.txt").open("rb") as file:
        for wrong in (BytesIO(b"x"), file, None, 7, ["a"]):
            with pytest.raises(ValueError, match=r"content must be bytes, a string, a pathlib\.Path or"):
                upload("lake", wrong)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\xff\x00", "is not UTF-8 text"), (b"x" * (1 << 20) + b"x", "has more than 1048576 bytes")],
    ids=["binary", "large"],
)
def test_an_object_unfit_for_an_xcom_is_refused(
    lakefs, lakefs_repository: str, running: Running, content: bytes, expected: str
) -> None:
    lakefs.client.objects.upload(lakefs_repository, "main", "a", content)
    read = LakeFSGetObjectOperator(task_id="read", repo=lakefs_repository, ref="main", path="a")
    with pytest.raises(AirflowFailException, match=expected):
        read.execute(running(read))
    if expected.startswith("has more"):
        read.max_bytes = len(content)
        assert read.execute(running(read)) == content.decode()


@pytest.mark.parametrize("change", [{"repo": "no-such-repository"}, {"ref": "no-such-ref"}])
def test_misspelled_names_are_not_retried(
    lakefs, lakefs_repository: str, running: Running, change: dict[str, str]
) -> None:
    for cls, more in ((LakeFSGetCommitOperator, {}), (LakeFSGetObjectOperator, {"path": "a"})):
        read = cls(**{"task_id": "read", "repo": lakefs_repository, "ref": "main", **more, **change})
        with pytest.raises(AirflowFailException, match="not found"):
            read.execute(running(read))


def test_a_bad_strategy_is_found_in_the_constructor() -> None:
    with pytest.raises(ValueError, match="strategy must be one of None, 'source-wins', 'dest-wins', got 'theirs'"):
        merge_operator("lake", strategy="theirs")


def test_metadata_with_line_breaks(lakefs, lakefs_repository: str, running: Running) -> None:
    commit = LakeFSCommitOperator(
        task_id="commit", repo=lakefs_repository, branch="main", msg="m", metadata={"note": "a\nb"}, allow_empty=True
    )
    commit_id = commit.execute(running(commit))
    assert lakefs.client.commits.get(lakefs_repository, commit_id).metadata["note"] == "a\nb"


def test_the_log_tells_whose_effect_was_found(
    lakefs, lakefs_repository: str, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    lakefs.client.objects.upload(lakefs_repository, "main", "a.txt", b"1")
    commit = LakeFSCommitOperator(task_id="commit", repo=lakefs_repository, branch="main", msg="m", retries=1)
    with caplog.at_level(logging.INFO, logger="lakefs_ops"):
        commit_id = commit.execute(running(commit, run_id="r", max_tries=1))
        assert "earlier attempt" not in caplog.text
        commit.execute(running(commit, run_id="r", max_tries=1, try_number=2))
    assert f"an earlier attempt took effect: {commit_id}" in caplog.text
