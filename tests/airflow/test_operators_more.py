"""What single operators do beyond the table of test_operators_each.py."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow.sdk import DAG, task

from airflow_provider.exceptions import DirtyBranch
from airflow_provider.hooks import LakeFSHook
from airflow_provider.links import LakeFSCommitLink
from airflow_provider.operators import (
    LakeFSCreatePullRequestOperator,
    LakeFSCreateTagOperator,
    LakeFSDiffOperator,
    LakeFSDownloadFilesOperator,
    LakeFSGetObjectOperator,
    LakeFSHardResetBranchOperator,
    LakeFSImportOperator,
    LakeFSListCommitsOperator,
    LakeFSListObjectsOperator,
    LakeFSMergeOperator,
    LakeFSMergePullRequestOperator,
    LakeFSRevertOperator,
    LakeFSTransformOperator,
    LakeFSUploadOperator,
    LakeFSWaitForActionRunOperator,
)
from airflow_provider.operators import imports as imports_module
from airflow_provider.sensors import LakeFSBranchSensor
from lakefs_ops import LakeFSClient
from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.faults import Fault
from lakefs_ops.local.store import imports as local_imports

Running = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _connected(connection: Callable[..., None]) -> None:
    pass


@pytest.fixture
def client(lakefs) -> LakeFSClient:
    return lakefs.client


@pytest.fixture
def repo(client: LakeFSClient, lakefs_repository: str) -> str:
    """A repository with one commit on the branch ``dev``."""
    client.branches.create(lakefs_repository, name="dev", source="main")
    client.objects.upload(lakefs_repository, "dev", "a.txt", b"1")
    client.commits.create(lakefs_repository, "dev", message="one")
    return lakefs_repository


class Store(dict[str, Any]):
    """A task state store of Airflow 3.3."""

    set = dict.__setitem__


# Merges


def test_a_merge_takes_the_commit_that_was_checked(
    client: LakeFSClient, repo: str, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes and commits between the check and the merge."""
    real = type(client.branches).diff

    def diff(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = list(real(self, *args, **kwargs))
        client.objects.upload(repo, "dev", "late.txt", b"2")
        client.commits.create(repo, "dev", message="late")
        return found

    monkeypatch.setattr(type(client.branches), "diff", diff)
    merge = LakeFSMergeOperator(task_id="merge", repo=repo, source_ref="dev", destination_branch="main")
    merge.execute(running(merge))
    assert [entry.path for entry in client.objects.list(repo, "main")] == ["a.txt"]
    assert client.commits.get(repo, "main").message == "Merge 'dev' into 'main'"


def test_a_merged_branch_may_be_gone_when_its_merge_is_retried(
    client: LakeFSClient, repo: str, running: Running
) -> None:
    merge = LakeFSMergeOperator(task_id="merge", repo=repo, source_ref="dev", destination_branch="main", retries=1)
    merge_id = merge.execute(running(merge, run_id="r", max_tries=1))
    client.branches.delete(repo, "dev")
    assert merge.execute(running(merge, run_id="r", max_tries=1, try_number=2)) == merge_id


def test_a_pull_request_with_uncommitted_changes_is_not_merged(
    client: LakeFSClient, repo: str, running: Running
) -> None:
    opened = LakeFSCreatePullRequestOperator(
        task_id="open", repo=repo, source_branch="dev", destination_branch="main", title="t"
    )
    pull = opened.execute(running(opened, run_id="r"))
    client.objects.upload(repo, "dev", "late.txt", b"2")
    merge = LakeFSMergePullRequestOperator(task_id="merge", repo=repo, pull_request=pull)
    with pytest.raises(DirtyBranch, match=r"would leave out: late\.txt; commit or reset them, or set ignore_unc"):
        merge.execute(running(merge))
    client.branches.reset(repo, "dev", type="reset")
    merge.execute(running(merge))
    # The task that opened it is cleared after the merge, and opens another one.
    assert opened.execute(running(opened, run_id="r", try_number=2, max_tries=1)) != pull


def test_advice_for_a_conflict_of_a_pull_request(client: LakeFSClient, repo: str, running: Running) -> None:
    pull = client.pulls.create(repo, title="1", source_branch="dev", destination_branch="main")
    client.objects.upload(repo, "main", "a.txt", b"other")
    client.commits.create(repo, "main", message="other")
    merge = LakeFSMergePullRequestOperator(task_id="merge", repo=repo, pull_request=pull.id)
    with pytest.raises(AirflowFailException, match=r"resolve the conflicting paths on the source branch \(request"):
        merge.execute(running(merge))


# Uploads


@pytest.mark.parametrize("try_number", [1, 2])
def test_a_retried_upload_replaces_what_its_first_try_wrote_late(
    lakefs, client: LakeFSClient, repo: str, running: Running, try_number: int
) -> None:
    upload = LakeFSUploadOperator(task_id="upload", repo=repo, branch="dev", path="b.txt", content=b"new", retries=1)
    lakefs.faults.add(Fault("uploadObject", status=503))

    def late(*_: Any) -> None:
        client.objects.upload(repo, "dev", "b.txt", b"of the first try", content_type="text/plain")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", late)
        if try_number == 1:
            with pytest.raises(AirflowFailException, match="was kept"):
                upload.execute(running(upload, max_tries=1))
        else:
            upload.execute(running(upload, max_tries=1, try_number=2))
    expected = b"of the first try" if try_number == 1 else b"new"
    assert client.objects.get(repo, "dev", "b.txt") == expected


# Comparisons


def diff(repo: str, **changed: Any) -> LakeFSDiffOperator:
    return LakeFSDiffOperator(**{"task_id": "diff", "repo": repo, "left_ref": "main", "right_ref": "dev", **changed})


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, None),
        ({"larger_than": 2, "if_larger": "fail"}, None),
        ({"larger_than": 1, "if_larger": "skip"}, AirflowSkipException),
        ({"larger_than": 1, "if_larger": "fail"}, AirflowFailException),
        ({"larger_than": 0}, None),
        ({"prefix": "x/", "if_empty": "skip"}, AirflowSkipException),
        ({"prefix": "x/", "if_empty": "fail"}, AirflowFailException),
        ({"prefix": "x/"}, None),
    ],
)
def test_a_comparison_reacts_to_the_number_of_changes(
    client: LakeFSClient, repo: str, running: Running, arguments: dict[str, Any], error: type[Exception] | None
) -> None:
    client.objects.upload(repo, "dev", "b.txt", b"1")
    client.commits.create(repo, "dev", message="two")
    operator = diff(repo, limit=1, **arguments)
    if error is not None:
        with pytest.raises(error, match=r"'dev' has \d( or more)? changes against 'main'"):
            operator.execute(running(operator))
        return
    found = operator.execute(running(operator))
    count = 0 if "prefix" in arguments else 2
    assert (found["count"], len(found["changes"]), found["complete"]) == (count, min(count, 1), count <= 1)


def test_a_comparison_chooses_the_tasks_to_follow(client: LakeFSClient, repo: str, run_dag: Callable[..., Any]) -> None:
    with DAG("branching", schedule=None) as dag:

        @task
        def size(found: dict[str, Any]) -> int:
            return found["count"]

        @task
        def nothing() -> None:
            pass

        for name, right in (("changed", "dev"), ("empty", "main"), ("larger", "dev")):
            compare = diff(
                repo,
                task_id=name,
                right_ref=right,
                larger_than=0 if name == "larger" else None,
                follow_task_ids_if_changed=f"{name}_a",
                follow_task_ids_if_empty=[f"{name}_b"] if name == "empty" else None,
                follow_task_ids_if_larger=[f"{name}_b"] if name == "larger" else None,
            )
            compare >> nothing.override(task_id=f"{name}_b")()
            size.override(task_id=f"{name}_a")(compare.output)
    run = run_dag(dag)
    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    assert {name: state for name, state in states.items() if "_" in name} == {
        "changed_a": "success", "changed_b": "skipped",
        "empty_a": "skipped", "empty_b": "success",
        "larger_a": "skipped", "larger_b": "success",
    }  # fmt: skip


# Lists, downloads, transformations


def test_a_list_that_is_too_long_for_an_xcom_is_refused(repo: str, running: Running) -> None:
    listed = LakeFSListObjectsOperator(task_id="list", repo=repo, ref="dev", limit=0)
    with pytest.raises(AirflowFailException, match="has more than 0 objects; raise limit"):
        listed.execute(running(listed))


def test_the_mapping_of_a_sensor_is_read_in_a_template(
    client: LakeFSClient, repo: str, run_dag: Callable[..., Any]
) -> None:
    """As on docs/operators.md."""
    with DAG("arrivals", schedule=None, default_args={"repo": repo}) as dag:
        arrived = LakeFSBranchSensor(task_id="arrived", branch="dev")
        tag = LakeFSCreateTagOperator(task_id="tag", tag="new", ref="{{ ti.xcom_pull('arrived')['commit_id'] }}")

        @task
        def read(found: dict[str, str]) -> str:
            return found["commit_id"]

        arrived >> tag >> read(arrived.output)
    run = run_dag(dag)
    head = client.branches.get(repo, "dev").commit_id
    assert client.tags.get(repo, "new").commit_id == head
    assert run.get_task_instance("read").xcom_pull("read") == head


def test_a_range_of_commits_that_is_longer_than_the_limit_is_refused(repo: str, running: Running) -> None:
    listed = LakeFSListCommitsOperator(task_id="first", repo=repo, ref="dev", limit=1)
    first = listed.execute(running(listed))
    assert len(first) == 1
    after = LakeFSListCommitsOperator(task_id="after", repo=repo, ref="dev", limit=1, since="main")
    assert after.execute(running(after)) == first
    none = LakeFSListCommitsOperator(task_id="none", repo=repo, ref="dev", limit=0, since="main")
    with pytest.raises(AirflowFailException, match="more than 0 commits after 'main'; raise limit"):
        none.execute(running(none))


def test_a_task_is_mapped_over_listed_objects(client: LakeFSClient, repo: str, run_dag: Callable[..., Any]) -> None:
    client.objects.upload(repo, "dev", "b.txt", b"2")
    with DAG("listed", schedule=None, default_args={"repo": repo, "ref": "dev"}) as dag:
        files = LakeFSListObjectsOperator(task_id="files")
        LakeFSGetObjectOperator.partial(task_id="read").expand(path=files.output)
    run = run_dag(dag)
    assert run.state == "success"
    assert {ti.map_index for ti in run.get_task_instances() if ti.task_id == "read"} == {0, 1}


def test_a_prefix_is_downloaded_and_continued(
    client: LakeFSClient, repo: str, running: Running, tmp_path: Path
) -> None:
    for name in ("1", "2"):
        client.objects.upload(repo, "dev", f"in/{name}", name.encode())
    download = LakeFSDownloadFilesOperator(task_id="get", repo=repo, ref="dev", prefix="in", target=tmp_path / "out")
    assert download.execute(running(download)) == {"objects": 2, "skipped": 0, "bytes": 2}
    (tmp_path / "out" / "2").unlink()
    assert download.execute(running(download)) == {"objects": 2, "skipped": 1, "bytes": 1}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"transform": lambda read, written: written.write_bytes(read.read_bytes() * 2)}, None),
        ({"command": ["sh", "-c", 'cat "$0" "$0" > "$1"; echo hello']}, None),
        ({"command": ["sh", "-c", "echo broken >&2; exit 3"]}, "command 'sh' ended with status 3: broken"),
        ({"command": ["no-such-program"]}, "command 'no-such-program' could not be started"),
        ({"command": ["true"]}, r"wrote no file 'b\.txt', so nothing was uploaded"),
        ({"transform": lambda read, written: 1 / 0}, "division by zero"),
    ],
)
def test_an_object_is_transformed_or_left(
    client: LakeFSClient, repo: str, running: Running, how: dict[str, Any], error: str | None
) -> None:
    operator = LakeFSTransformOperator(
        task_id="t", repo=repo, source_ref="dev", source_path="a.txt", branch="dev", path="in/b.txt", **how
    )
    if error is None:
        assert operator.execute(running(operator)) == "in/b.txt"
        assert client.objects.get(repo, "dev", "in/b.txt") == b"11"
        return
    with pytest.raises(Exception, match=error):
        operator.execute(running(operator))
    assert list(client.branches.diff(repo, "dev")) == []


@pytest.mark.parametrize("how", ["times out", "is killed"])
def test_a_command_ends_with_its_task(
    client: LakeFSClient, repo: str, running: Running, tmp_path: Path, how: str
) -> None:
    """A command that ends as if it had succeeded when it is killed, or that ignores the signal, uploads nothing."""
    trap, pid = "exit 0" if how == "is killed" else "", tmp_path / "pid"
    script = f'trap "{trap}" TERM; cp "$0" "$1"; sleep 60 & echo $! > {pid}; sleep 1; kill -ALRM $PPID; wait; sleep 60'
    operator = LakeFSTransformOperator(
        task_id="t", repo=repo, source_ref="dev", source_path="a.txt", branch="dev", path="b.txt",
        command=["sh", "-c", script],
    )  # fmt: skip

    def interrupt(*_: object) -> None:
        if how == "times out":
            raise AirflowTaskTimeout
        operator.on_kill()  # Airflow calls it in the handler of SIGTERM, and lets the task go on.

    before = signal.signal(signal.SIGALRM, interrupt)
    started = time.monotonic()
    with pytest.raises((AirflowTaskTimeout, RuntimeError)) as caught:
        operator.execute(running(operator))
    signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 50
    assert how == "times out" or "the task was killed during the transformation" in str(caught.value)
    with pytest.raises(ProcessLookupError):
        _wait_for_end(int(pid.read_text()))
    assert list(client.branches.diff(repo, "dev")) == []


def _wait_for_end(pid: int) -> None:
    for _ in range(50):
        os.kill(pid, 0)
        if "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            raise ProcessLookupError  # ended, and only not reaped yet
        time.sleep(0.1)


# History


def test_a_branch_that_moved_is_not_reset(client: LakeFSClient, repo: str, running: Running) -> None:
    head = client.branches.get(repo, "dev").commit_id
    first = client.branches.get(repo, "main").commit_id
    reset = LakeFSHardResetBranchOperator(task_id="r", repo=repo, branch="dev", ref="main", expected_head=first)
    with pytest.raises(Exception, match=f"points to commit {head}, not to {first}; it was not moved"):
        reset.execute(running(reset))
    assert client.branches.get(repo, "dev").commit_id == head


def test_a_published_range_is_taken_back(client: LakeFSClient, repo: str, running: Running) -> None:
    before = client.branches.get(repo, "main").commit_id
    for number in range(2):
        client.objects.upload(repo, "dev", f"{number}", b"1")
        client.commits.create(repo, "dev", message=f"{number}")
        client.refs.merge(repo, "dev", "main")
    last = client.branches.get(repo, "main").commit_id
    undo = LakeFSRevertOperator(task_id="undo", repo=repo, branch="main", ref=last, since=before)
    context = running(undo, run_id="r")
    commit_id = undo.execute(context)
    assert list(client.objects.list(repo, "main")) == []
    assert client.commits.get(repo, "main").metadata["airflow_task_id"] == "undo"
    assert context["ti"].xcoms[LakeFSCommitLink().xcom_key] == client.links.commit(repo, commit_id)
    with pytest.raises(AirflowFailException, match="ref must be a commit id or a tag"):
        LakeFSRevertOperator(task_id="undo", repo=repo, branch="main", ref="main").execute(running(undo))


# Imports and action runs


@pytest.fixture(scope="module")
def importer(server: LocalLakeFS) -> Iterator[LakeFSClient]:
    with LakeFSClient(
        server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
    ) as client:
        client.repositories.create(name="lake", storage_namespace="local://lake")
        yield client


@pytest.fixture
def importing(
    importer: LakeFSClient, raw: Path, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., LakeFSImportOperator]:
    """Creates an operator that imports to a new branch."""
    config = importer.config
    connect(host=config.endpoint, login=config.access_key_id, password=config.secret_access_key)
    monkeypatch.setattr(imports_module, "SETTLE", 0.0)
    branch = f"b-{time.monotonic_ns()}"
    importer.branches.create("lake", name=branch, source="main")

    def create(source: str = "", **changed: Any) -> LakeFSImportOperator:
        sources = [{"path": source or f"local://{raw}/", "destination": "in/"}]
        defaults = {"branch": branch, "sources": sources, "msg": "import", "poll_interval": 0.1, "retries": 2}
        return LakeFSImportOperator(**{"task_id": "import", "repo": "lake", **defaults, **changed})

    return create


def messages(client: LakeFSClient, operator: LakeFSImportOperator) -> list[str]:
    return [commit.message for commit in client.refs.log("lake", operator.branch, first_parent=True)]


def fired(trigger: Any) -> dict[str, Any]:
    async def first() -> Any:
        return await anext(trigger.run())

    return asyncio.run(first()).payload


def test_an_import_waits_in_the_triggerer(importer: LakeFSClient, importing, running: Running) -> None:
    operator = importing(deferrable=True)
    context = {**running(operator, run_id="r", max_tries=2), "task_state_store": Store()}
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    event = fired(deferred.value.trigger)
    commit_id = getattr(importing(), deferred.value.method_name)(context, event)
    assert importer.branches.get("lake", operator.branch).commit_id == commit_id
    assert messages(importer, operator)[0] == "import"
    for state, error in (("timeout", "gave up after 86400 s"), ("error", "lakeFS is down")):
        with pytest.raises(AirflowException, match=error):
            operator.execute_complete(context, {"state": state, "reason": "lakeFS is down", "found": {}})
    with pytest.raises(AirflowFailException, match="wrong key"):
        operator.execute_complete(context, {"state": "failed", "reason": "wrong key", "found": {}})


@pytest.mark.parametrize("kept", [True, False], ids=["3.3", "3.1"])
def test_a_retried_import_finds_that_of_its_first_try(
    importer: LakeFSClient, importing, running: Running, kept: bool
) -> None:
    store = {"task_state_store": Store()} if kept else {}
    operator = importing(deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({**running(operator, run_id="r", max_tries=2), **store})
    if not kept:
        fired(deferred.value.trigger)
    # As if the worker or the triggerer had died.
    retried = importing()
    with pytest.MonkeyPatch.context() as patch:
        if kept:
            patch.delattr("lakefs_ops.flows.step.Step.start_import")  # It knows the import, so it starts no other one.
        commit_id = retried.execute({**running(retried, run_id="r", max_tries=2, try_number=2), **store})
    assert importer.branches.get("lake", operator.branch).commit_id == commit_id
    assert messages(importer, operator).count("import") == 1
    cleared = importing()
    assert commit_id != cleared.execute({**running(cleared, run_id="r", max_tries=4, try_number=3), **store})


def test_a_failed_import_is_started_again_by_a_retry(
    importer: LakeFSClient, importing, running: Running, raw: Path
) -> None:
    store = {"task_state_store": Store()}
    operator = importing(source=f"local://{raw}/later/")
    with pytest.raises(AirflowException, match=r"import .* failed: import error") as failed:
        operator.execute({**running(operator, run_id="r", max_tries=2), **store})
    assert not isinstance(failed.value, AirflowFailException)
    (raw / "later").mkdir()
    (raw / "later" / "y.csv").write_text("y")
    retried = importing(source=f"local://{raw}/later/")
    retried.execute({**running(retried, run_id="r", max_tries=2, try_number=2), **store})
    assert [entry.path for entry in importer.objects.list("lake", operator.branch)] == ["in/y.csv"]


@pytest.mark.parametrize(
    ("if_nothing", "error"), [("fail", AirflowFailException), ("skip", AirflowSkipException), ("succeed", None)]
)
def test_an_import_that_finds_nothing(
    importer: LakeFSClient, importing, running: Running, raw: Path, if_nothing: str, error: type[Exception] | None
) -> None:
    (raw / "empty").mkdir(exist_ok=True)
    operator = importing(source=f"local://{raw}/empty/", if_nothing=if_nothing)
    context = {**running(operator, run_id="r", max_tries=2), "task_state_store": Store()}
    if error is None:
        assert operator.execute(context) == importer.branches.get("lake", operator.branch).commit_id
    else:
        found_nothing = r"found no objects at 'local://.*/empty/', and created commit"
        with pytest.raises(error, match=found_nothing):
            operator.execute(context)
        # As if the worker had died before it knew, on an Airflow that does not keep the import's id.
        retried = importing(source=f"local://{raw}/empty/", if_nothing=if_nothing)
        with pytest.raises(error, match=found_nothing):
            retried.execute(running(retried, run_id="r", max_tries=2, try_number=2))
        assert messages(importer, operator).count("import") == 1


@pytest.mark.parametrize("where", ["worker", "triggerer"])
def test_a_killed_import_is_cancelled(
    importer: LakeFSClient, importing, running: Running, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(local_imports, "REFRESH", 2)
    operator = importing(deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(running(operator, run_id="r", max_tries=2))
    trigger = deferred.value.trigger
    status = (operator.repo, operator.branch, trigger.condition["id"])
    assert importer.imports.status(*status).error is None
    if where == "worker":
        operator.on_kill()
        importing().on_kill()  # nothing to cancel
    else:
        path, arguments = trigger.serialize()
        assert path == "airflow_provider.triggers.imports.LakeFSImportTrigger"
        asyncio.run(type(trigger)(**arguments).on_kill())
    error = importer.imports.status(*status).error
    assert error is not None
    assert "Canceled" in error.message


FAILING = """
name: checks
on:
  post-commit:
hooks:
  - id: first
    type: lua
    properties:
      script: error("3 rows without a date")
"""


def test_a_failed_hook_shows_its_output(client: LakeFSClient, repo: str, running: Running) -> None:
    client.objects.upload(repo, "main", "_lakefs_actions/checks.yaml", FAILING.encode())
    commit_id = client.commits.create(repo, "main", message="one").id
    for deferrable in (False, True):
        wait = LakeFSWaitForActionRunOperator(
            task_id="w", repo=repo, commit_id=commit_id, event_type="post-commit", deferrable=deferrable, timeout=20
        )
        with pytest.raises(AirflowFailException, match=r"is failed: checks/first: .*3 rows without a date") as caught:
            wait.execute(running(wait))
        assert "/actions/" in str(caught.value)
    wait = LakeFSWaitForActionRunOperator(
        task_id="w", repo=repo, commit_id=commit_id, event_type="post-merge", timeout=0
    )
    with pytest.raises(Exception, match=r"gave up after 0 s: no post-merge run for commit .* has finished yet"):
        wait.execute(running(wait))


# The hook


def test_a_client_outlives_a_temporary_hook(repo: str, recwarn: pytest.WarningsRecorder) -> None:
    client = LakeFSHook().get_conn()
    client.branches.get(repo, "dev")
    del client
    assert [warning for warning in recwarn if warning.category is ResourceWarning] == []
