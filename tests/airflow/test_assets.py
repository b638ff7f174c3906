"""Assets: their URIs, and the events of tasks that create commits."""

from collections.abc import Callable
from typing import Any

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.sdk import DAG, Asset, AssetAlias
from airflow.utils.session import create_session

from airflow_provider.assets.events import record_commit
from airflow_provider.assets.lakefs import asset_uri, create_asset
from airflow_provider.operators import LakeFSCommitOperator, LakeFSMergeOperator, LakeFSUploadOperator


@pytest.mark.parametrize(
    ("uri", "sane"),
    [
        ("lakefs://lake/main/daily/2015.csv", "lakefs://lake/main/daily/2015.csv"),
        ("lakefs://lake/main/daily/", "lakefs://lake/main/daily"),
        ("lakefs://lakefs_default@lake/main/daily", "lakefs://lake/main/daily"),
        ("lakefs://lake/main", "lakefs://lake/main"),
        ("LakeFS://lake/main", "lakefs://lake/main"),
    ],
)
def test_a_uri_is_made_canonical(uri: str, sane: str) -> None:
    assert Asset(uri).uri == Asset(uri=uri).uri == sane


@pytest.mark.parametrize(
    ("uri", "reason"), [("lakefs:///main/a", "has no repository"), ("lakefs://lake/main/a?b=1", "write it as %3F")]
)
def test_a_uri_that_cannot_be_an_asset(uri: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Asset(uri)


@pytest.mark.parametrize(
    ("parts", "uri"),
    [
        (("lake",), "lakefs://lake"),
        (("lake", "main"), "lakefs://lake/main"),
        (("lake", "main~1", "daily/2 015.csv"), "lakefs://lake/main~1/daily/2%20015.csv"),
        (("lake", "main", "is it?/#1/100%"), "lakefs://lake/main/is%20it%3F/%231/100%25"),
        (("lake", "main", "daily/"), "lakefs://lake/main/daily"),
    ],
)
def test_a_uri_of_names(parts: tuple[str, ...], uri: str) -> None:
    assert asset_uri(*parts) == uri
    names = dict(zip(("repository", "ref", "path"), parts, strict=False))
    asset = create_asset(**names, extra={"team": "weather"})
    assert asset.uri.rstrip("/") == uri
    assert asset.extra == {"team": "weather"}
    assert asset == Asset(uri=uri, extra=asset.extra), "a producer and a consumer mean the same asset"


@pytest.fixture
def events(airflow_database: Any) -> Callable[[Any], list[tuple[str, dict[str, Any]]]]:
    """Returns the URI and the extra of the asset events of a DAG run."""

    def events(run: Any) -> list[tuple[str, dict[str, Any]]]:
        with create_session() as session:
            rows = session.query(AssetModel.uri, AssetEvent.extra).filter(AssetEvent.asset_id == AssetModel.id)
            found = rows.filter(AssetEvent.source_run_id == run.run_id, AssetEvent.source_dag_id == run.dag_id)
            return sorted(found.all(), key=lambda row: row[0])

    return events


@pytest.mark.usefixtures("connection")
def test_a_commit_and_a_merge_describe_themselves_in_their_events(
    lakefs: Any, lakefs_repository: str, run_dag: Callable[[DAG], Any], events: Any
) -> None:
    lakefs.client.branches.create(lakefs_repository, name="run", source="main")
    raw, published = Asset(f"lakefs://{lakefs_repository}/run/raw"), Asset("published weather")
    with DAG("events", schedule=None, default_args={"repo": lakefs_repository}, params={"branch": "main"}) as dag:
        (
            LakeFSUploadOperator(task_id="upload", branch="run", path="raw/a.csv", content="1")
            >> LakeFSCommitOperator(task_id="commit", branch="run", msg="Add", outlets=[raw])
            >> LakeFSMergeOperator(
                task_id="merge",
                source_ref="run",
                destination_branch="{{ params.branch }}",
                outlets=[published, AssetAlias("any branch"), {"not": "an asset"}],
            )
        )
    run = run_dag(dag)
    assert run.state == "success"
    ids = {branch: lakefs.client.branches.get(lakefs_repository, branch).commit_id for branch in ("run", "main")}

    def extra(ref: str) -> dict[str, Any]:
        return {
            "repository": lakefs_repository,
            "ref": ref,
            "commit_id": ids[ref],
            "uri": f"lakefs://{lakefs_repository}/{ids[ref]}",
            "url": lakefs.client.links.commit(lakefs_repository, ids[ref]),
        }

    assert events(run) == [
        (f"lakefs://{lakefs_repository}/main", extra("main")),
        (f"lakefs://{lakefs_repository}/run/raw", extra("run")),
        ("published weather", extra("main")),
    ]


def test_a_commit_of_an_authors_own_task(run_dag: Callable[[DAG], Any], events: Any) -> None:
    asset = Asset("lakefs://lake/main/daily")
    with DAG("own_task", schedule=None) as dag:

        @dag.task(outlets=[asset])
        def load(**context: Any) -> None:
            context["outlet_events"][asset].extra = {"rows": 3}
            record_commit(context, repository="lake", ref="main", commit_id="c0ffee", path="daily")

        load()
    assert events(run_dag(dag)) == [
        (
            "lakefs://lake/main/daily",
            {
                "rows": 3,
                "repository": "lake",
                "ref": "main",
                "commit_id": "c0ffee",
                "uri": "lakefs://lake/c0ffee/daily",
            },
        )
    ]


def test_a_commit_of_several_partitions(run_dag: Callable[[DAG], Any], airflow_database: Any) -> None:
    from airflow.sdk.execution_time.context import OutletEventAccessor

    if not hasattr(OutletEventAccessor, "add_partitions"):
        pytest.skip("partitions came with Airflow 3.3")
    with DAG("partitions", schedule=None) as dag:

        @dag.task(outlets=[Asset("lakefs://lake/main/hourly"), AssetAlias("hourly")])
        def load(**context: Any) -> None:
            record_commit(context, repository="lake", ref="main", commit_id="c0ffee", partition_keys=["01", "02"])

        load()
    run = run_dag(dag)
    with create_session() as session:
        keys = session.query(AssetEvent.partition_key).filter_by(source_run_id=run.run_id).all()
    assert sorted(key for (key,) in keys if key) == ["01", "02"]


def test_a_task_without_outlets(running: Callable[..., dict[str, Any]], mocker: Any) -> None:
    record_commit(running(mocker.Mock(outlets=[])), repository="lake", ref="main", commit_id="c0ffee")
