"""Each operator, mapped and rendered by Airflow, then retried and cleared, against a real server."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_provider import operators, sensors
from airflow_provider.operators import imports
from lakefs_ops import LakeFSClient
from lakefs_ops.errors import NotFound
from lakefs_ops.flows.backfill import Backfill
from lakefs_ops.local import LocalLakeFS

Running = Callable[..., dict[str, Any]]

HOOK = """
name: checks
on:
  post-commit:
hooks:
  - id: first
    type: lua
    properties:
      script: print("checked")
"""


@dataclass
class Lake:
    """A repository with the commits "one" (a.csv) and "two" (a.csv) on main, and "dev" (dev.csv) on the branch dev."""

    client: LakeFSClient
    repo: str
    folder: Path
    raw: Path
    commits: dict[str, str]

    def put(self, branch: str, path: str, content: bytes = b"1") -> None:
        self.client.objects.upload(self.repo, branch, path, content)

    def commit(self, branch: str, message: str, **objects: bytes) -> None:
        for path, content in objects.items():
            self.put(branch, path.replace("__", "/") + ".csv", content)
        self.commits[message] = self.client.commits.create(self.repo, branch, message=message).id

    def log(self, ref: str = "main") -> list[str]:
        return [commit.message for commit in self.client.refs.log(self.repo, ref)]

    def paths(self, ref: str = "main") -> list[str]:
        return [entry.path for entry in self.client.objects.list(self.repo, ref)]

    def state(self) -> Any:
        """Everything that an operator can change."""
        client, repo = self.client, self.repo
        return (
            [
                (ref.id, ref.commit_id, [(o.path, o.checksum) for o in client.objects.list(repo, ref.id)])
                for ref in client.branches.list(repo, show_hidden=True)
            ],
            [(tag.id, tag.commit_id) for tag in client.tags.list(repo)],
            [(pull.id, pull.status) for pull in client.pulls.list(repo)],
            sorted(rule.pattern for rule in client.repositories.get_branch_protection_rules(repo).rules),
            sorted(repository.id for repository in client.repositories.list()),
        )


@pytest.fixture
def lake(server: LocalLakeFS, raw: Path, tmp_path: Path, connect: Callable[..., None]) -> Iterator[Lake]:
    keys = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
    connect(host=server.endpoint, login=server.access_key_id, password=server.secret_access_key)
    with LakeFSClient(server.endpoint, **keys) as client:
        repo = f"lake-{uuid.uuid4().hex[:8]}"
        client.repositories.create(name=repo, storage_namespace=f"local://{repo}")
        lake = Lake(client, repo, tmp_path, raw, {})
        lake.commit("main", "one", a=b"1")
        lake.commit("main", "two", a=b"2")
        client.branches.create(repo, name="dev", source="main")
        lake.commit("dev", "dev", dev=b"3")
        yield lake


Case = tuple[Callable[[Lake], dict[str, Any]], Callable[[Lake, Any], bool]]


def another_repository(lake: Lake) -> dict[str, Any]:
    name = f"{lake.repo}-x"
    lake.client.repositories.create(name=name, storage_namespace=f"local://{name}")
    return {"repo": name, "confirm": name}


def staged(lake: Lake) -> dict[str, Any]:
    lake.put("dev", "b.csv")
    return {"branch": "dev"}


def tagged(lake: Lake) -> dict[str, Any]:
    lake.client.tags.create(lake.repo, id="v1", ref="main")
    return {"tag": "v1", "ref": lake.commits["two"]}


def pull_request(lake: Lake) -> dict[str, Any]:
    pull = lake.client.pulls.create(lake.repo, title="t", source_branch="dev", destination_branch="main")
    return {"pull_request": pull.id}


def directory(lake: Lake) -> str:
    (lake.folder / "in" / "b").mkdir(parents=True)
    (lake.folder / "in" / "b" / "1.csv").write_text("b1")
    (lake.folder / "in" / "2.csv").write_text("2")
    return str(lake.folder / "in")


def with_hook(lake: Lake) -> dict[str, Any]:
    lake.put("main", "_lakefs_actions/checks.yaml", HOOK.encode())
    lake.commit("main", "hooked")
    return {"commit_id": lake.commits["hooked"], "event_type": "post-commit"}


def backfill(lake: Lake) -> dict[str, Any]:
    with Backfill(lake.client, lake.repo, "daily/g/fix").member("day-1") as run:
        lake.put(run.branch, "day-1")
    return {"backfill": "fix", "group": "g", "expected": ["day-1"]}


CASES: dict[str, Case] = {
    "LakeFSCreateRepositoryOperator": (
        lambda lake: {"repo": f"{lake.repo}-n", "storage_namespace": f"local://{lake.repo}-n", "default_branch": "x"},
        lambda lake, found: lake.client.repositories.get(found).default_branch == "x",
    ),
    "LakeFSDeleteRepositoryOperator": (
        another_repository,
        lambda lake, found: f"{lake.repo}-x" not in {repo.id for repo in lake.client.repositories.list()},
    ),
    "LakeFSSetBranchProtectionOperator": (
        lambda lake: {"patterns": ["main", "release-*"]},
        lambda lake, found: lake.state()[3] == ["main", "release-*"],
    ),
    "LakeFSSetRetentionOperator": (
        lambda lake: {"default_retention_days": 7, "branch_retention_days": {"main": "365"}},
        lambda lake, found: (
            [(r.branch_id, r.retention_days) for r in lake.client.garbage_collection.get_rules(lake.repo).branches]
            == [("main", 365)]
        ),
    ),
    "LakeFSCreateBranchOperator": (
        lambda lake: {"branch": "new", "source_branch": "main"},
        lambda lake, found: lake.client.branches.get(lake.repo, "new").commit_id == found,
    ),
    "LakeFSDeleteBranchOperator": (
        lambda lake: {"branch": "dev", "into": "dev"},
        lambda lake, found: [ref.id for ref in lake.client.branches.list(lake.repo)] == ["main"],
    ),
    "LakeFSResetBranchOperator": (staged, lambda lake, found: lake.paths("dev") == ["a.csv", "dev.csv"]),
    "LakeFSHardResetBranchOperator": (
        lambda lake: {"branch": "main", "ref": lake.commits["one"], "expected_head": lake.commits["two"]},
        lambda lake, found: lake.log()[0] == "one" and found == lake.commits["one"],
    ),
    "LakeFSCommitOperator": (
        lambda lake: {**staged(lake), "msg": "three", "metadata": {"by": 7}},
        lambda lake, found: (
            lake.log("dev")[:2] == ["three", "dev"] and lake.client.commits.get(lake.repo, found).metadata["by"] == "7"
        ),
    ),
    "LakeFSGetCommitOperator": (lambda lake: {"ref": "dev"}, lambda lake, found: found["message"] == "dev"),
    "LakeFSListCommitsOperator": (
        lambda lake: {"ref": "dev", "limit": 5, "since": lake.commits["one"]},
        lambda lake, found: [commit["message"] for commit in found] == ["dev", "two"],
    ),
    "LakeFSMergeOperator": (
        lambda lake: {"source_ref": "dev", "destination_branch": "main"},
        lambda lake, found: (
            lake.log()[0] == "Merge 'dev' into 'main'" and lake.client.commits.get(lake.repo, "main").id == found
        ),
    ),
    "LakeFSRevertOperator": (
        lambda lake: {"branch": "main", "ref": lake.commits["two"], "msg": "undo"},
        lambda lake, found: lake.log()[0] == "undo" and lake.client.objects.get(lake.repo, found, "a.csv") == b"1",
    ),
    "LakeFSCherryPickOperator": (
        lambda lake: {"branch": "main", "ref": "dev"},
        lambda lake, found: lake.log()[:2] == ["dev", "two"] and lake.paths() == ["a.csv", "dev.csv"],
    ),
    "LakeFSCreateTagOperator": (
        lambda lake: {"tag": "v1", "ref": "main"},
        lambda lake, found: lake.state()[1] == [("v1", found)],
    ),
    "LakeFSDeleteTagOperator": (tagged, lambda lake, found: lake.state()[1] == []),
    "LakeFSDiffOperator": (
        lambda lake: {"left_ref": "main", "right_ref": "dev", "larger_than": "1"},
        lambda lake, found: (
            found
            == {
                "count": 1,
                "by_type": {"added": 1},
                "changes": [{"path": "dev.csv", "type": "added", "size_bytes": 1}],
                "complete": True,
            }
        ),
    ),
    "LakeFSChangedPartitionsOperator": (
        lambda lake: {"partitions": "{name}.csv", "ref": "dev", "since": "main"},
        lambda lake, found: found == [{"name": "dev"}],
    ),
    "LakeFSImportOperator": (
        lambda lake: {
            "branch": "main",
            "sources": [{"path": f"local://{lake.raw}/", "destination": "in/"}],
            "msg": "i",
        },
        lambda lake, found: lake.log()[0] == "i" and lake.client.branches.get(lake.repo, "main").commit_id == found,
    ),
    "LakeFSCreatePullRequestOperator": (
        lambda lake: {"source_branch": "dev", "destination_branch": "main", "title": "Dev", "description": "Why"},
        lambda lake, found: lake.state()[2] == [(found, "open")],
    ),
    "LakeFSMergePullRequestOperator": (
        pull_request,
        lambda lake, found: lake.client.branches.get(lake.repo, "main").commit_id == found,
    ),
    "LakeFSUploadOperator": (
        lambda lake: {"branch": "dev", "path": "b.csv", "content": b"b"},
        lambda lake, found: lake.client.objects.stat(lake.repo, "dev", "b.csv").physical_address == found,
    ),
    "LakeFSUploadFilesOperator": (
        lambda lake: {"branch": "dev", "path": "in/", "source": directory(lake)},
        lambda lake, found: lake.paths("dev") == ["a.csv", "dev.csv", "in/2.csv", "in/b/1.csv"],
    ),
    "LakeFSDownloadFilesOperator": (
        lambda lake: {"ref": "main", "path": "a.csv", "target": str(lake.folder / "out" / "a.csv")},
        lambda lake, found: (lake.folder / "out" / "a.csv").read_bytes() == b"2",
    ),
    "LakeFSTransformOperator": (
        lambda lake: {
            "source_ref": "main",
            "source_path": "a.csv",
            "branch": "dev",
            "path": "b.csv",
            "command": ["cp"],
        },
        lambda lake, found: lake.client.objects.get(lake.repo, "dev", found) == b"2",
    ),
    "LakeFSCopyObjectOperator": (
        lambda lake: {"branch": "dev", "path": "b.csv", "source_path": "a.csv", "source_ref": "main"},
        lambda lake, found: lake.client.objects.get(lake.repo, "dev", found) == b"2",
    ),
    "LakeFSDeleteObjectsOperator": (
        lambda lake: {"branch": "dev", "paths": ["a.csv", "missing.csv"]},
        lambda lake, found: lake.paths("dev") == ["dev.csv"] and found == 2,
    ),
    "LakeFSListObjectsOperator": (
        lambda lake: {"ref": "dev", "limit": "2"},
        lambda lake, found: found == ["a.csv", "dev.csv"],
    ),
    "LakeFSGetObjectOperator": (lambda lake: {"ref": "dev", "path": "dev.csv"}, lambda lake, found: found == "3"),
    "LakeFSCreateSymlinkOperator": (
        lambda lake: {"branch": "main"},
        lambda lake, found: found.startswith("local://"),
    ),
    "LakeFSSweepOperator": (
        lambda lake: {"older_than": timedelta(0), "prefix": "de", "dry_run": True},
        lambda lake, found: found == [],  # the branch dev is not published
    ),
    "LakeFSFinishBackfillOperator": (
        backfill,
        lambda lake, found: lake.client.commits.get(lake.repo, "main").id == found and "day-1" in lake.paths(),
    ),
    "LakeFSCancelBackfillOperator": (
        lambda lake: {"backfill": "fix", "group": "g"},
        lambda lake, found: found is False,
    ),
    "LakeFSWaitForActionRunOperator": (
        with_hook,
        lambda lake, found: found["hooks"] == [{"action": "checks", "hook_id": "first", "status": "completed"}],
    ),
}
"""For each operator its arguments, without the repository, and a check of the lake and the XCom after it has run."""

REPEATED_WHEN_CLEARED = {"LakeFSImportOperator"}
"""A cleared task does its work again; all others have nothing new to do here."""

XCOM_VARIES = {"LakeFSUploadOperator", "LakeFSUploadFilesOperator", "LakeFSDownloadFilesOperator"}
"""Operators that return another physical address, or how many files existed already."""


def run(cls: Any, values: dict[str, Any], running: Running, **fields: Any) -> tuple[Any, dict[str, Any], Any]:
    """Map, render and execute an operator as Airflow does; return its XCom, the context and the operator."""
    fixed = {name: value for name, value in values.items() if name not in cls.template_fields}
    templates = {name: f"{{{{ value.{name} }}}}" for name in values if name in cls.template_fields}
    repo = templates.pop("repo")
    with DAG("daily", schedule=None, render_template_as_native_obj=True) as dag:
        mapped = cls.partial(task_id="task", **fixed, **templates).expand(repo=[repo])
    operator = mapped.unmap({"repo": repo})
    context = {**running(operator, run_id="r", **fields), "dag": dag, "value": values}
    operator.render_template_fields(context, dag.get_template_env())
    return operator.execute(context), context, operator


@pytest.mark.parametrize("name", operators.__all__)
def test_mapped_rendered_retried_and_cleared(
    name: str,
    lake: Lake,
    running: Running,
    server: LocalLakeFS,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(imports, "SETTLE", 0.0)  # no earlier import is still running
    caplog.set_level("INFO")
    cls, (prepare, check) = getattr(operators, name), CASES[name]
    values = {"repo": lake.repo, **prepare(lake)}
    first, context, operator = run(cls, values, running)
    assert check(lake, first)
    after = lake.state()

    again, *_ = run(cls, values, running, try_number=2)
    assert lake.state() == after
    assert name in XCOM_VARIES or again == first

    cleared, *_ = run(cls, values, running, try_number=2, max_tries=1)
    if name in REPEATED_WHEN_CLEARED:
        assert cleared != first
        assert check(lake, cleared)
    else:
        assert lake.state() == after
        assert name in XCOM_VARIES or cleared == first

    fields = {field: getattr(operator, field) for field in cls.template_fields}
    assert server.secret_access_key not in repr((caplog.text, context["ti"].xcoms, fields, first))
    assert json.dumps(first) is not None


def test_a_dag_with_every_operator_survives_serialization() -> None:
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    lake: Any = Lake(None, "lake", Path("/"), Path("/"), dict.fromkeys(("one", "two", "hooked"), "0" * 64))
    values = {
        "LakeFSDeleteRepositoryOperator": {"repo": "x", "confirm": "x"},
        "LakeFSFinishBackfillOperator": {"backfill": "fix", "group": "g", "expected": ["day-1"]},
        "LakeFSDeleteTagOperator": {"tag": "v1", "ref": "main"},
        "LakeFSResetBranchOperator": {"branch": "dev", "prefix": "x/"},
        "LakeFSCommitOperator": {"branch": "dev", "msg": "three", "metadata": {"by": "7"}},
        "LakeFSMergePullRequestOperator": {"pull_request": "1"},
        "LakeFSUploadFilesOperator": {"branch": "dev", "path": "in/", "source": "/in"},
        "LakeFSWaitForActionRunOperator": {"commit_id": "0", "event_type": "post-commit"},
    }
    with DAG("every", schedule=None) as dag:
        for name in operators.__all__:
            getattr(operators, name)(**{"task_id": name, "repo": "lake", **(values.get(name) or CASES[name][0](lake))})
    data = json.loads(json.dumps(LazyDeserializedDAG.from_dag(dag).data))
    tasks = {task["__var"]["task_id"]: task["__var"] for task in data["dag"]["tasks"]}
    assert set(tasks) == set(operators.__all__)
    for name, task in tasks.items():
        cls = getattr(operators, name)
        assert set(task["template_fields"]) == set(cls.template_fields)
        for field in cls.template_fields:
            if getattr(dag.get_task(name), field) is not None:
                assert field in task, (name, field)
        links = {link.name for link in cls.operator_extra_links}
        assert set(task.get("_operator_extra_links", {})) == links
    assert set(_deserialize(data).task_dict) == set(tasks)


def _deserialize(data: dict[str, Any]) -> Any:
    from airflow.serialization import serialized_objects

    name = "DagSerialization" if hasattr(serialized_objects, "DagSerialization") else "SerializedDAG"
    return getattr(serialized_objects, name).from_dict(data)


UNREACHABLE = "http://127.0.0.1:9"

WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "other repository to delete": (
        "LakeFSDeleteRepositoryOperator", {"confirm": "lake-2"}, "confirm must be the name of the repository to delete",
    ),
    "patterns as text": ("LakeFSSetBranchProtectionOperator", {"patterns": "main"}, "patterns must be a list such as"),
    "no retention": ("LakeFSSetRetentionOperator", {"default_retention_days": 0}, "must be at least 1"),
    "retention as text": (
        "LakeFSSetRetentionOperator",
        {"default_retention_days": 1, "branch_retention_days": {"main": "long"}},
        r"branch_retention_days\['main'\] must be a whole number",
    ),
    "path and prefix to reset": (
        "LakeFSResetBranchOperator", {"branch": "b", "path": "a", "prefix": "b"}, "not both",
    ),
    "range with a parent": (
        "LakeFSRevertOperator", {"branch": "b", "ref": "r", "since": "s", "parent_number": 1}, "is for a single commit",
    ),
    "revert if nothing": (
        "LakeFSRevertOperator", {"branch": "b", "ref": "r", "if_nothing": "x"}, "if_nothing must be one of",
    ),
    "parent as text": (
        "LakeFSCherryPickOperator", {"branch": "b", "ref": "r", "parent_number": "a"}, "must be a whole number",
    ),
    "type of a comparison": (
        "LakeFSDiffOperator", {"left_ref": "a", "right_ref": "b", "diff_type": "x"}, "diff_type must be one of",
    ),
    "reaction without a number": (
        "LakeFSDiffOperator", {"left_ref": "a", "right_ref": "b", "if_larger": "fail"}, "need larger_than",
    ),
    "unknown policy": (
        "LakeFSFinishBackfillOperator",
        {"backfill": "fix", "group": "g", "expected": ["a"], "policy": "some"},
        "policy must be one of 'all', 'passed', 'nothing'",
    ),
    "template of partitions": ("LakeFSChangedPartitionsOperator", {"partitions": "x"}, "is not a path template"),
    "prefix that is a number": (
        "LakeFSSweepOperator", {"older_than": timedelta(days=1), "prefix": 5}, "prefix must be text or a list of texts",
    ),
    "range without its end": (
        "LakeFSChangedPartitionsOperator", {"partitions": "{a}", "since": "b"}, "since needs ref",
    ),
    "nothing to import": ("LakeFSImportOperator", {"branch": "b", "sources": [], "msg": "m"}, "sources is empty"),
    "import without an address": (
        "LakeFSImportOperator", {"branch": "b", "sources": [{"path": "raw/"}], "msg": "m"}, "must have a path",
    ),
    "import to everything": (
        "LakeFSImportOperator",
        {"branch": "b", "sources": [{"path": "s3://raw/"}], "msg": "m"},
        "would replace all objects of the branch",
    ),
    "misspelled import": (
        "LakeFSImportOperator",
        {"branch": "b", "sources": [{"path": "s3://raw/", "dest": "x"}], "msg": "m"},
        "unknown field 'dest'",
    ),
    "import of an unknown type": (
        "LakeFSImportOperator",
        {"branch": "b", "sources": [{"path": "s3://raw/", "destination": "x", "type": "folder"}], "msg": "m"},
        "type 'common_prefix' or 'object'",
    ),
    "no file to upload": (
        "LakeFSUploadFilesOperator", {"branch": "b", "path": "p", "source": "/no/such/file"}, "does not exist on this",
    ),
    "nothing to download": ("LakeFSDownloadFilesOperator", {"ref": "r", "target": "t"}, "pass either path or prefix"),
    "two ways to transform": (
        "LakeFSTransformOperator",
        {"source_ref": "r", "source_path": "p", "branch": "b", "command": ["cp"], "transform": print},
        "pass either command or transform, not both",
    ),
    "transform by text": (
        "LakeFSTransformOperator",
        {"source_ref": "r", "source_path": "p", "branch": "b", "transform": "cp"},
        "transform must be a function of two paths",
    ),
    "command as text": (
        "LakeFSTransformOperator",
        {"source_ref": "r", "source_path": "p", "branch": "b", "command": "cp -v"},
        "command must be a list such as",
    ),
    "nothing to delete": ("LakeFSDeleteObjectsOperator", {"branch": "b"}, "pass either paths or prefix"),
    "one path to delete": ("LakeFSDeleteObjectsOperator", {"branch": "b", "paths": "a.csv"}, "must be a list such"),
    "limit as text": ("LakeFSListObjectsOperator", {"ref": "r", "limit": "all"}, "limit must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "values", "text"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_refused_before_anything_is_sent(
    name: str, values: dict[str, Any], text: str, connect: Callable[..., None], running: Running
) -> None:
    connect(host=UNREACHABLE, login="a", password="b")
    with pytest.raises((AirflowFailException, ValueError), match=text) as caught:
        operator = getattr(operators, name)(task_id="task", repo="lake", **values)
        operator.execute(running(operator))
    assert "\n" not in str(caught.value)


MORE: dict[str, Any] = {
    "LakeFSChangedPartitionsOperator": {"partitions": "{day}.csv"},
    "LakeFSDeleteObjectsOperator": {"prefix": "x"},
    "LakeFSDownloadFilesOperator": {"path": "x"},
    "LakeFSImportOperator": {"sources": []},
    "LakeFSSetBranchProtectionOperator": {"patterns": []},
    "LakeFSCancelBackfillOperator": {"group": "g"},
    "LakeFSFinishBackfillOperator": {"group": "g", "expected": []},
    "LakeFSSweepOperator": {"older_than": timedelta(0)},
    "LakeFSTransformOperator": {"command": []},
    "LakeFSUploadOperator": {"content": b""},
    "LakeFSCommitMatchSensor": {"message": "x"},
    "LakeFSPrefixUnchangedSensor": {"quiet_for": 1},
}
"""The further arguments that an operator or sensor needs."""


@pytest.mark.parametrize("name", operators.__all__)
def test_a_missing_repository_name_is_refused_before_anything_is_sent(
    name: str, connect: Callable[..., None], running: Running
) -> None:
    connect(host=UNREACHABLE, login="a", password="b")
    cls = getattr(operators, name)
    operator = cls(**{"task_id": "task", **_needed(cls), "repo": None})
    with pytest.raises(AirflowFailException, match="task 'task': repo must not be empty"):
        operator.execute(running(operator))


@pytest.mark.parametrize("name", [*operators.__all__, *sensors.__all__])
def test_required_arguments_may_come_from_default_args(name: str) -> None:
    cls = getattr(operators if name in operators.__all__ else sensors, name)
    with DAG("without", schedule=None), pytest.raises(TypeError, match=r"^missing keyword arguments? .*'repo'"):
        cls(task_id="task", **{field: value for field, value in _needed(cls).items() if field != "repo"})
    with DAG("with", schedule=None, default_args=_needed(cls)):
        assert cls(task_id="task").repo == "1"


def _needed(cls: Any) -> dict[str, Any]:
    needed = {field: "1" for field in cls.template_fields if field not in cls.optional_fields}
    return needed | MORE.get(cls.__name__, {})


def test_the_tables_have_every_operator_and_sensor() -> None:
    assert set(CASES) == set(operators.__all__)
    page = (Path(__file__).parents[2] / "docs" / "operators.md").read_text()
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == {*operators.__all__, *sensors.__all__}


def test_a_missing_object_may_appear_later(lake: Lake, running: Running) -> None:
    for name, values in (
        ("LakeFSDownloadFilesOperator", {"ref": "main", "path": "not/yet", "target": str(lake.folder / "x")}),
        ("LakeFSTransformOperator", {"source_ref": "main", "source_path": "no", "branch": "dev", "command": ["cp"]}),
    ):
        operator = getattr(operators, name)(task_id="task", repo=lake.repo, **values)
        with pytest.raises(NotFound):
            operator.execute(running(operator))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("LakeFSCopyObjectOperator", {"branch": "dev", "path": "b", "source_path": "a.txt", "source_ref": "no"}),
        ("LakeFSDownloadFilesOperator", {"ref": "no", "path": "a.txt", "target": "/tmp/never"}),
        ("LakeFSGetObjectOperator", {"ref": "no", "path": "a.txt"}),
        (
            "LakeFSTransformOperator",
            {"source_ref": "no", "source_path": "a.txt", "branch": "dev", "command": ["cp"]},
        ),
    ],
)
def test_a_missing_ref_is_not_worth_a_retry(lake: Lake, running: Running, name: str, values: dict[str, Any]) -> None:
    operator = getattr(operators, name)(task_id="task", repo=lake.repo, **values)
    with pytest.raises(AirflowFailException, match="check the commit ID"):
        operator.execute(running(operator))
