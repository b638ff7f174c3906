"""The README's DAG, as a reader runs it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

README = Path(__file__).parents[2] / "README.md"


def test_the_dag_publishes(
    lakefs: Any, lakefs_repository: str, connection: Callable[..., None], run_dag: Callable[[DAG], Any]
) -> None:
    (source,) = (code for code in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "DAG(" in code)
    names: dict[str, Any] = {}
    exec(source.replace('"lake"', repr(lakefs_repository)), names)
    assert run_dag(names["dag"]).state == "success"
    merge, commit, _, created = lakefs.client.refs.log(lakefs_repository, "main")
    assert (commit.message, commit.metadata["source"]) == ("Station 7", "thermometer")
    assert merge.parents == [created.id, commit.id]
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]
    # The same data again: nothing to publish, and main stays as it is.
    assert run_dag(names["dag"]).state == "success"
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == merge.id
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]
