"""The README: short, and its code runs as it stands (its DAG: tests/airflow/test_readme.py)."""

import re
from pathlib import Path
from typing import Any

import pytest

from lakefs_ops.flows.publish import AuditFailed
from lakefs_ops.local.faults import Fault

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROMISE, CLIENT = (
    next(code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if text in code)
    for text in ("WriteAuditPublish", "experiment")
)


@pytest.fixture
def run(lakefs: Any, lakefs_repository: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LAKEFS_ENDPOINT", lakefs.endpoint)
    monkeypatch.setenv("LAKEFS_ACCESS_KEY_ID", lakefs.access_key_id)
    monkeypatch.setenv("LAKEFS_SECRET_ACCESS_KEY", lakefs.secret_access_key)
    return lambda code: exec(code.replace('"lake"', repr(lakefs_repository)), {})


def merges(lakefs: Any, repository: str) -> list[str]:
    return [commit.message for commit in lakefs.client.refs.log(repository, "main") if len(commit.parents) == 2]


def test_it_is_short_and_its_dagster_file_is_the_example() -> None:
    assert len(README.splitlines()) <= 180
    example = (ROOT / "example_dags/dagster/quick_start.py").read_text()
    assert example.partition("\n\n")[2] in README


def test_the_promise_holds_when_the_run_is_repeated(run: Any, lakefs: Any, lakefs_repository: str) -> None:
    run(PROMISE)
    run(PROMISE)
    assert merges(lakefs, lakefs_repository) == ["Publish daily/2015-02"]
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_promise_holds_when_a_reply_is_lost(run: Any, lakefs: Any, lakefs_repository: str, when: str) -> None:
    lakefs.faults.add(Fault("mergeIntoBranch", when=when, action="reset"))
    run(PROMISE)
    assert merges(lakefs, lakefs_repository) == ["Publish daily/2015-02"]


def test_the_promise_holds_when_the_audit_finds_a_problem(run: Any, lakefs: Any, lakefs_repository: str) -> None:
    with pytest.raises(AuditFailed, match=r"daily/2015-02\.csv is empty"):
        run(re.sub(r'b"day.*?"\)', 'b"")', PROMISE))
    assert merges(lakefs, lakefs_repository) == []
    assert len(list(lakefs.client.branches.list(lakefs_repository))) == 2


def test_the_client_snippet(run: Any, lakefs: Any, lakefs_repository: str) -> None:
    run(CLIENT)
    assert len(merges(lakefs, lakefs_repository)) == 1
