"""Operators against a real server, one at a time; whole DAGs are in test_dags.py."""

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator
from pytest_mock import MockerFixture

from airflow_provider import operators
from airflow_provider.exceptions import LakeFSError, MergeConflict, NotFound
from airflow_provider.links import LakeFSBranchLink, LakeFSCommitLink, LakeFSCompareLink, LakeFSObjectLink
from airflow_provider.operators import (
    LakeFSCherryPickOperator,
    LakeFSCommitOperator,
    LakeFSCreateBranchOperator,
    LakeFSCreateSymlinkOperator,
    LakeFSDeleteBranchOperator,
    LakeFSGetCommitOperator,
    LakeFSGetObjectOperator,
    LakeFSMergeOperator,
    LakeFSUploadOperator,
)
from lakefs_ops.flows.attempts import KEY

Running = Callable[..., dict[str, Any]]

TEMPLATED = {
    "LakeFSCreateBranchOperator": {"repo", "branch", "source_branch"},
    "LakeFSDeleteBranchOperator": {"repo", "branch", "into"},
    "LakeFSUploadOperator": {"repo", "branch", "path"},
    "LakeFSCommitOperator": {"repo", "branch", "msg", "metadata"},
    "LakeFSMergeOperator": {"repo", "source_ref", "destination_branch", "msg", "metadata"},
    "LakeFSGetCommitOperator": {"repo", "ref"},
    "LakeFSGetObjectOperator": {"repo", "ref", "path"},
    "LakeFSCreateSymlinkOperator": {"repo", "branch", "location"},
}


@pytest.fixture(autouse=True)
def _connected(connection: Callable[..., None]) -> None:
    pass


def log(lakefs: Any, repository: str, ref: str) -> list[str]:
    return [commit.message for commit in lakefs.client.refs.log(repository, ref)]


@pytest.mark.parametrize("name", TEMPLATED)
def test_templated_fields_are_those_of_the_former_provider(name: str) -> None:
    assert set(getattr(operators, name).template_fields) == TEMPLATED[name] | {"lakefs_conn_id"}


def test_branch_and_object(lakefs, lakefs_repository: str, running: Running) -> None:
    repo = lakefs_repository
    head = lakefs.client.branches.get(repo, "main").commit_id
    create = LakeFSCreateBranchOperator(task_id="create", repo=repo, branch="dev", source_branch="main")
    context = running(create)
    first = lakefs.client.commits.get(repo, create.execute(context))
    assert (first.id, first.parents) == (lakefs.client.branches.get(repo, "dev").commit_id, [head])
    assert context["ti"].xcoms[LakeFSBranchLink().xcom_key] == lakefs.client.links.objects(repo, "dev")

    upload = LakeFSUploadOperator(
        task_id="upload", repo=repo, branch="dev", path="a/{{ ds }}", content="{{ Grüße }}", content_type="text/plain"
    )
    context = running(upload)
    stats_address = upload.execute(context)
    stats = lakefs.client.objects.stat(repo, "dev", "a/{{ ds }}")
    assert (stats.physical_address, stats.content_type) == (stats_address, "text/plain")
    assert context["ti"].xcoms[LakeFSObjectLink().xcom_key] == lakefs.client.links.objects(repo, "dev", "a/{{ ds }}")

    read = LakeFSGetObjectOperator(task_id="read", repo=repo, ref="dev", path="a/{{ ds }}")
    assert read.execute(running(read)) == "{{ Grüße }}"

    delete = LakeFSDeleteBranchOperator(task_id="delete", repo=repo, branch="dev", discard=True)
    assert delete.execute(running(delete)) is None
    assert delete.execute(running(delete, try_number=2)) is None
    assert [branch.id for branch in lakefs.client.branches.list(repo)] == ["main"]


def test_symlinks_are_written_with_the_client_of_the_task(lakefs, lakefs_repository: str, running: Running) -> None:
    symlinks = LakeFSCreateSymlinkOperator(
        task_id="symlinks", repo=lakefs_repository, branch="main", location="daily/", lakefs_conn_id="not_there"
    )
    lakefs.client.objects.upload(lakefs_repository, "main", "daily/a.csv", b"1")  # without one, lakeFS 1.84 crashes
    namespace = lakefs.client.repositories.get(lakefs_repository).storage_namespace
    assert symlinks.work(lakefs.client, running(symlinks)).startswith(namespace)


def test_commit_carries_where_it_comes_from(lakefs, lakefs_repository: str, running: Running) -> None:
    repo = lakefs_repository
    lakefs.client.objects.upload(repo, "main", "a.txt", b"1")
    commit = LakeFSCommitOperator(
        task_id="commit", repo=repo, branch="main", msg="one", metadata={"rows": 7, "nothing": None}, date=1_700_000_000
    )
    context = running(commit, run_id="scheduled__x", map_index=3)
    commit_id = commit.execute(context)
    made = lakefs.client.commits.get(repo, "main")
    assert (made.id, made.message, made.creation_date) == (commit_id, "one", 1_700_000_000)
    assert {key: value for key, value in made.metadata.items() if not key.startswith("lakefs-ops.")} == {
        "rows": "7",
        "airflow_task_id": "commit",
        "::lakefs::Airflow::dag_id": "daily",
        "::lakefs::Airflow::dag_run_id": "scheduled__x",
        "::lakefs::Airflow::logical_date[iso8601]": "2026-01-02T12:00:00+00:00",
        "::lakefs::Airflow::data_interval_start[iso8601]": "2026-01-02T12:00:00+00:00",
        "::lakefs::Airflow::run_type": "scheduled",
        "::lakefs::Airflow::external_trigger[boolean]": "false",
        "::lakefs::Airflow::url[url:id]": "http://airflow/log",
        "::lakefs::Airflow::url[url:ui]": "http://airflow/log",
    }
    assert made.metadata[KEY] == "daily/scheduled__x/commit/3"
    assert context["ti"].xcoms[LakeFSCommitLink().xcom_key] == lakefs.client.links.commit(repo, commit_id)

    read = LakeFSGetCommitOperator(task_id="get_commit", repo=repo, ref="main")
    fields = read.execute(running(read))
    assert (fields["id"], fields["parents"]) == (commit_id, made.parents)


def test_empty_commit(lakefs, lakefs_repository: str, running: Running) -> None:
    commit = LakeFSCommitOperator(task_id="commit", repo=lakefs_repository, branch="main", msg="x", allow_empty=True)
    commit.execute(running(commit))
    assert log(lakefs, lakefs_repository, "main") == ["x", "Repository created"]


def test_a_retried_commit_is_the_commit(lakefs, lakefs_repository: str, running: Running) -> None:
    repo = lakefs_repository
    lakefs.client.objects.upload(repo, "main", "a.txt", b"1")
    commit = LakeFSCommitOperator(task_id="commit", repo=repo, branch="main", msg="one", retries=2)
    commit_id = commit.execute(running(commit, run_id="r", max_tries=2))
    lakefs.client.objects.upload(repo, "main", "b.txt", b"somebody else's")
    assert commit.execute(running(commit, run_id="r", max_tries=2, try_number=2)) == commit_id
    assert log(lakefs, repo, "main") == ["one", "Repository created"]


def test_a_cleared_commit_takes_what_is_new(lakefs, lakefs_repository: str, running: Running) -> None:
    repo = lakefs_repository
    commit = LakeFSCommitOperator(task_id="commit", repo=repo, branch="main", msg="one", retries=1)

    def attempt(content: bytes, **fields: int) -> str:
        lakefs.client.objects.upload(repo, "main", "a.txt", content)
        return commit.execute(running(commit, run_id="r", **fields))

    first = attempt(b"1", try_number=1, max_tries=1)
    # Cleared after one try: Airflow raises max_tries to the tries made plus the retries.
    second = attempt(b"2", try_number=2, max_tries=2)
    assert second != first
    assert attempt(b"2", try_number=3, max_tries=2) == second
    # Cleared again, and nothing is new.
    assert attempt(b"2", try_number=4, max_tries=4) == second
    assert log(lakefs, repo, "main") == ["one", "one", "Repository created"]


def test_other_retries_in_a_changed_dag_file_do_not_confuse_retries_and_clears(
    lakefs, lakefs_repository: str, running: Running
) -> None:
    """Airflow takes the retries of the run's DAG version, and a worker has the newest file."""
    repo = lakefs_repository

    def attempt(path: str, retries: int, **fields: int) -> str:
        lakefs.client.objects.upload(repo, "main", path, b"1")
        commit = LakeFSCommitOperator(task_id="commit", repo=repo, branch="main", msg="one", retries=retries)
        return commit.execute(running(commit, run_id="r", **fields))

    first = attempt("a", retries=0, try_number=1, max_tries=0)
    cleared = attempt("b", retries=2, try_number=2, max_tries=1)
    assert cleared != first
    assert lakefs.client.branches.diff(repo, "main").first() is None
    assert attempt("somebody else's", retries=0, try_number=3, max_tries=1) == cleared


def test_a_cleared_run_finds_its_commit_though_its_branch_was_merged_and_created_again(
    lakefs, lakefs_repository: str, running: Running
) -> None:
    repo, client = lakefs_repository, lakefs.client
    commit = LakeFSCommitOperator(task_id="commit", repo=repo, branch="run", msg="one")

    def attempt(**fields: int) -> str:
        client.branches.create(repo, name="run", source="main")
        client.objects.upload(repo, "run", "a.txt", b"1")
        return commit.execute(running(commit, run_id="r", **fields))

    first = attempt()
    client.refs.merge(repo, "run", "main")
    client.branches.delete(repo, "run")
    assert attempt(try_number=2, max_tries=1) == first


def test_nothing_to_commit_fails_without_further_tries(lakefs_repository: str, running: Running) -> None:
    commit = LakeFSCommitOperator(task_id="commit", repo=lakefs_repository, branch="main", msg="x")
    with pytest.raises(AirflowFailException, match="nothing to commit on 'main'"):
        commit.execute(running(commit))


@pytest.fixture
def ready_to_merge(lakefs, lakefs_repository: str) -> str:
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    lakefs.client.objects.upload(lakefs_repository, "dev", "a.txt", b"dev")
    lakefs.client.commits.create(lakefs_repository, "dev", message="dev")
    return lakefs_repository


def test_merge(lakefs, ready_to_merge: str, running: Running) -> None:
    repo = ready_to_merge
    merge = LakeFSMergeOperator(
        task_id="merge", repo=repo, source_ref="dev", destination_branch="main", msg="publish", metadata={"k": "v"}
    )
    context = running(merge, run_id="r")
    merge_id = merge.execute(context)
    made = lakefs.client.commits.get(repo, "main")
    assert (made.id, made.message, made.metadata["k"], made.metadata[KEY]) == (
        merge_id,
        "publish",
        "v",
        "daily/r/merge",
    )
    assert context["ti"].xcoms[LakeFSCommitLink().xcom_key] == lakefs.client.links.commit(repo, merge_id)
    assert context["ti"].xcoms[LakeFSCompareLink().xcom_key] == lakefs.client.links.compare(repo, "main", "dev")
    # Cleared with nothing new, and retried.
    assert merge.execute(running(merge, run_id="r", try_number=2, max_tries=1)) == merge_id
    assert merge.execute(running(merge, run_id="r", try_number=2, max_tries=0)) == merge_id
    assert log(lakefs, repo, "main") == ["publish", "dev", "Repository created"]


def test_a_retried_cherry_pick_of_a_branch_that_has_moved_is_the_first_one(
    lakefs, ready_to_merge: str, running: Running
) -> None:
    repo = ready_to_merge
    pick = LakeFSCherryPickOperator(task_id="pick", repo=repo, branch="main", ref="dev", retries=1)
    commit_id = pick.execute(running(pick, run_id="r", max_tries=1))
    lakefs.client.objects.upload(repo, "dev", "later.txt", b"1")
    lakefs.client.commits.create(repo, "dev", message="later")
    assert pick.execute(running(pick, run_id="r", max_tries=1, try_number=2)) == commit_id
    assert log(lakefs, repo, "main") == ["dev", "Repository created"]


def test_squash_merge(lakefs, ready_to_merge: str, running: Running) -> None:
    repo = ready_to_merge
    merge = LakeFSMergeOperator(
        task_id="merge", repo=repo, source_ref="dev", destination_branch="main", squash_merge=True
    )
    merge.execute(running(merge))
    assert len(lakefs.client.commits.get(repo, "main").parents) == 1


def test_conflict_fails_without_further_tries_and_names_the_paths(
    lakefs, ready_to_merge: str, running: Running
) -> None:
    repo = ready_to_merge
    lakefs.client.objects.upload(repo, "main", "a.txt", b"main")
    lakefs.client.commits.create(repo, "main", message="main")
    merge = LakeFSMergeOperator(task_id="merge", repo=repo, source_ref="dev", destination_branch="main")
    context = running(merge)
    with pytest.raises(AirflowFailException, match=r"both changed a\.txt") as caught:
        merge.execute(context)
    assert isinstance(caught.value.__cause__, MergeConflict)
    assert context["ti"].xcoms[LakeFSCompareLink().xcom_key] == lakefs.client.links.compare(repo, "main", "dev")

    merge.strategy = "source-wins"
    merge.execute(running(merge))
    assert lakefs.client.objects.get(repo, "main", "a.txt") == b"dev"


def test_a_branch_of_somebody_else_is_not_taken(lakefs, ready_to_merge: str, running: Running) -> None:
    create = LakeFSCreateBranchOperator(task_id="create", repo=ready_to_merge, branch="dev", source_branch="main")
    for try_number in (1, 2):
        with pytest.raises(AirflowFailException, match="branch 'dev' exists"):
            create.execute(running(create, try_number=try_number, max_tries=1))


def test_a_retried_branch_may_hold_commits_of_its_run(lakefs, lakefs_repository: str, running: Running) -> None:
    repo = lakefs_repository
    create = LakeFSCreateBranchOperator(task_id="create", repo=repo, branch="dev", source_branch="main", retries=1)
    create.execute(running(create, run_id="r", max_tries=1))
    lakefs.client.objects.upload(repo, "dev", "a.txt", b"1")
    commit = LakeFSCommitOperator(task_id="commit", repo=repo, branch="dev", msg="one")
    commit_id = commit.execute(running(commit, run_id="r"))
    assert create.execute(running(create, run_id="r", max_tries=1, try_number=2)) == commit_id


WRONG = {
    "missing repository": ({"repo": "no-such-repository"}, {}, "check the repository's name and the endpoint"),
    "invalid branch name": ({"branch": "no/such name"}, {}, "branch id"),
    "wrong keys": ({}, {"password": "not-the-secret"}, "check the access key and the secret"),
    "wrong endpoint": ({}, {"host": "http://127.0.0.1:9"}, "nothing listening at http://127.0.0.1:9"),
}


@pytest.mark.parametrize(("arguments", "fields", "text"), WRONG.values(), ids=WRONG.keys())
def test_one_clear_sentence(
    lakefs_repository: str,
    running: Running,
    connection: Callable[..., None],
    mocker: MockerFixture,
    arguments: dict[str, Any],
    fields: dict[str, Any],
    text: str,
) -> None:
    mocker.patch("time.sleep")
    connection(**fields)
    right = {"repo": lakefs_repository, "branch": "dev", "source_branch": "main"}
    create = LakeFSCreateBranchOperator(task_id="create", **right | arguments)
    with pytest.raises((AirflowFailException, LakeFSError)) as caught:
        create.execute(running(create))
    said = str(caught.value)
    assert text in said
    assert "\n" not in said
    assert "not-the-secret" not in said


def test_what_may_appear_later_is_worth_a_retry(lakefs_repository: str, running: Running) -> None:
    read = LakeFSGetObjectOperator(task_id="read", repo=lakefs_repository, ref="main", path="not/yet")
    with pytest.raises(NotFound):
        read.execute(running(read))


def test_an_id_of_digits_may_arrive_as_a_number(lakefs, lakefs_repository: str, running: Running) -> None:
    lakefs.client.branches.create(lakefs_repository, name="20240105", source="main")
    read = LakeFSGetCommitOperator(task_id="get_commit", repo=lakefs_repository, ref=20240105)
    assert read.execute(running(read))["message"] == "Repository created"


def test_connection_is_read_only_when_the_task_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_LAKEFS_DEFAULT")
    task = LakeFSDeleteBranchOperator(task_id="delete", repo="lake", branch="dev", lakefs_conn_id="not_there")
    assert isinstance(task, BaseOperator)
