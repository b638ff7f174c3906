"""Lineage: what OpenLineage is told of a task's inputs and outputs."""

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import Asset

from airflow_provider.operators import (
    LakeFSCommitOperator,
    LakeFSDeleteBranchOperator,
    LakeFSGetCommitOperator,
    LakeFSGetObjectOperator,
    LakeFSMergeOperator,
    LakeFSUploadOperator,
)

pytest.importorskip("airflow.providers.openlineage", reason="openlineage is an optional package")
pytestmark = pytest.mark.usefixtures("connection")


def datasets(found: list[Any]) -> list[tuple[str, str, str | None]]:
    """Returns namespace, name and version."""
    versions = [dataset.facets.get("version") for dataset in found]
    return [(d.namespace, d.name, v and v.datasetVersion) for d, v in zip(found, versions, strict=True)]


def test_each_operator_reports_its_inputs_and_outputs(
    lakefs: Any, lakefs_repository: str, running: Callable[..., dict[str, Any]]
) -> None:
    from airflow.providers.openlineage.extractors import OperatorLineage

    def lineage(operator: type, **arguments: Any) -> tuple[list[Any], list[Any]]:
        task = operator(task_id="task", repo=lakefs_repository, **arguments)
        task.execute(running(task))
        found = task.get_openlineage_facets_on_complete(None)
        assert isinstance(found, OperatorLineage)
        return datasets(found.inputs), datasets(found.outputs)

    def head(branch: str) -> str:
        return lakefs.client.branches.get(lakefs_repository, branch).commit_id

    namespace = f"lakefs://{lakefs_repository}"
    lakefs.client.branches.create(lakefs_repository, name="run", source="main")
    written = (namespace, "run/a.csv", None)
    assert lineage(LakeFSUploadOperator, branch="run", path="a.csv", content="1") == ([], [written])
    assert lineage(LakeFSGetObjectOperator, ref="run", path="a.csv") == ([written], [])
    found = lineage(LakeFSCommitOperator, branch="run", msg="Add")
    committed = (namespace, "run", head("run"))
    assert found == ([], [committed])
    assert lineage(LakeFSGetCommitOperator, ref="run") == ([committed], [])
    found = lineage(LakeFSMergeOperator, source_ref="run", destination_branch="main")
    assert found == ([(namespace, "run", None)], [(namespace, "main", head("main"))])
    assert lineage(LakeFSDeleteBranchOperator, branch="run") == ([], [])


def test_an_asset_is_the_same_dataset() -> None:
    from airflow.providers.openlineage.utils.utils import translate_airflow_asset

    asset = Asset(uri="lakefs://lake/main/a%20b.csv", extra={"commit_id": "c0ffee"})
    assert datasets([translate_airflow_asset(asset, None)]) == [("lakefs://lake", "main/a b.csv", "c0ffee")]


def test_the_hook_reports_folders(lakefs_repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import lineage

    from airflow_provider.hooks import LakeFSHook, legacy

    collector = lineage.HookLineageCollector()
    monkeypatch.setattr(legacy, "get_hook_lineage_collector", lambda: collector)
    hook = LakeFSHook()
    for day in range(3):
        hook.upload(lakefs_repository, "main", f"daily/{day}.csv", b"1")
    hook.get_object(lakefs_repository, "main", "daily/0.csv")
    uri = f"lakefs://{lakefs_repository}/main/daily"
    assert [(each.asset.uri, each.count) for each in collector.collected_assets.outputs] == [(uri, 3)]
    assert [each.asset.uri for each in collector.collected_assets.inputs] == [uri]
