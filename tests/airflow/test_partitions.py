"""A commit knows its partitions: mapped tasks and asset events for exactly those that it changed."""

from collections.abc import Callable
from typing import Any

import pytest
from airflow.models.asset import AssetEvent
from airflow.sdk import DAG
from airflow.sdk.execution_time.context import OutletEventAccessor
from airflow.utils.session import create_session

from airflow_provider.assets.lakefs import PARTITIONS, create_asset
from airflow_provider.hooks import LakeFSHook
from airflow_provider.operators import LakeFSChangedPartitionsOperator, LakeFSRevertOperator
from airflow_provider.taskgroups import LakeFSPublishTaskGroup
from lakefs_ops.errors import InvalidArgument

TEMPLATE = "days/{day}.csv"
YEAR = [f"2015-{number:03}" for number in range(1, 366)]
THREE = ["2015-017", "2015-100", "2015-365"]


@pytest.fixture
def repo(lakefs: Any, lakefs_repository: str, connection: Any) -> str:
    """A repository with 365 days on main."""
    write(lakefs.client, lakefs_repository, YEAR)
    return lakefs_repository


def write(client: Any, repo: str, days: list[str], content: bytes = b"1", branch: str = "main") -> str:
    for path in ("readme.md", *(TEMPLATE.format(day=day) for day in days)):
        client.objects.upload(repo, branch, path, content)
    return client.commits.create(repo, branch, message="Add days").id


def test_365_days_and_a_commit_of_3_are_3_tasks_and_a_revert_too(
    lakefs: Any, repo: str, run_dag: Callable[[DAG], Any]
) -> None:
    made = write(lakefs.client, repo, THREE, b"2")
    for ref in (made, "main"):
        if ref == "main":
            lakefs.client.branches.revert(repo, "main", ref=made, parent_number=1)
        with DAG("changed", schedule=None) as dag:
            changed = LakeFSChangedPartitionsOperator(task_id="changed", repo=repo, partitions=TEMPLATE, ref=ref)

            @dag.task
            def report(day: str) -> None: ...

            report.expand_kwargs(changed.output)
        run = run_dag(dag)
        assert run.state == "success"
        reports = [ti for ti in run.get_task_instances() if ti.task_id == "report"]
        assert sorted(ti.map_index for ti in reports) == [0, 1, 2]


def test_a_range_the_removed_ones_and_several_fields(lakefs: Any, repo: str, running: Callable[..., Any]) -> None:
    client = lakefs.client
    start = client.branches.get(repo, "main").commit_id
    write(client, repo, THREE, b"2")
    client.objects.delete(repo, "main", "days/2015-001.csv")
    client.commits.create(repo, "main", message="Remove")

    def changed(**arguments: Any) -> tuple[Any, Any]:
        arguments = {"repo": repo, "partitions": TEMPLATE, "ref": "main", "since": start} | arguments
        context = running(operator := LakeFSChangedPartitionsOperator(task_id="changed", **arguments))
        return operator.execute(context), context["ti"].xcoms["removed"]

    removed = [{"day": "2015-001"}]
    three = [{"day": day} for day in THREE]
    assert changed() == (removed + three, removed)
    assert changed(include_removed=False) == (three, removed)
    assert changed(since=None) == (removed, removed)
    assert changed(since="main") == ([], [])
    assert changed(ref=start, since=None)[0] == [{"day": day} for day in YEAR]
    write(client, repo, [], b"3", branch="main")
    assert changed(partitions="days/{year}-{day}.csv")[0][0] == {"year": "2015", "day": "001"}
    with pytest.raises(Exception, match="no-such"):
        changed(ref="no-such")


def test_the_publish_group_reports_the_partitions_that_it_published(
    lakefs: Any, repo: str, run_dag: Callable[[DAG], Any]
) -> None:
    if not hasattr(OutletEventAccessor, "add_partitions"):
        pytest.skip("came with Airflow 3.3")
    outlet = create_asset(repository=repo, ref="main", path="days", partitions=TEMPLATE)
    assert outlet.extra == {PARTITIONS: TEMPLATE}
    with DAG("publishing", schedule=None) as dag:
        with LakeFSPublishTaskGroup("load", repo=repo, outlets=[outlet], allow_unaudited=True) as group:

            @dag.task
            def write_days(branch: str) -> None:
                client = LakeFSHook().get_conn()
                for day in THREE:
                    client.objects.upload(repo, branch, TEMPLATE.format(day=day), b"2")

            write_days(group.branch)
        revert = LakeFSRevertOperator(
            task_id="revert", repo=repo, branch="main", ref="{{ ti.xcom_pull('load.publish') }}", outlets=[outlet],
            parent_number=1,
        )  # fmt: skip
        group >> revert
    run = run_dag(dag)
    assert run.state == "success"
    with create_session() as session:
        events = session.query(AssetEvent.source_task_id, AssetEvent.partition_key).filter_by(source_run_id=run.run_id)
        found = sorted(map(tuple, events))
    assert found == [(task, day) for task in ("load.publish", "revert") for day in THREE]


def test_a_wrong_template_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidArgument, match="not a path template"):
        create_asset(repository="lake", ref="main", partitions="days/")
