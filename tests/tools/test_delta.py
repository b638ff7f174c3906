"""Delta tables on the branch of a run: all of a run's writes are published, or none; and what deltalake leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.flows.publish import AuditFailed, WriteAuditPublish
from lakefs_ops.flows.sweep import sweep
from lakefs_ops.local.faults import Fault
from lakefs_ops.pytest_plugin import LakeFS

AHEAD = timedelta(seconds=-5)
"""An age that lies in the future, so that every branch is older."""

WRITER = """
import sys
import deltalake, pyarrow as pa
from lakefs_ops import LakeFSClient

address, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with LakeFSClient() as client:
    options = client.storage_options("deltalake")
for number in range(count):
    rows = pa.table({"writer": [name] * 10, "number": [number] * 10})
    deltalake.write_deltalake(address, rows, mode="append", storage_options=options)
    print(number, flush=True)
"""


class Table:
    """A Delta table in a repository."""

    def __init__(self, client: LakeFSClient, repository: str) -> None:
        self.client, self.repository = client, repository
        self.options = client.storage_options("deltalake")

    def address(self, ref: str, scheme: str = "s3") -> str:
        return f"{scheme}://{self.repository}/{ref}/tables/sales"

    def write(self, ref: str, *ids: int, mode: str = "append", scheme: str = "s3") -> None:
        rows = pa.table({"id": list(ids), "value": ["written"] * len(ids)})
        address = self.address(ref, scheme)
        deltalake.write_deltalake(address, rows, mode=mode, storage_options=self.options)  # type: ignore[call-overload]

    def merge(self, ref: str, *ids: int) -> None:
        rows = pa.table({"id": list(ids), "value": ["merged"] * len(ids)})
        (
            deltalake.DeltaTable(self.address(ref), storage_options=self.options)
            .merge(rows, "t.id = s.id", source_alias="s", target_alias="t")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute()
        )

    def read(self, ref: str) -> dict[int, str]:
        table = deltalake.DeltaTable(self.address(ref), storage_options=self.options).to_pyarrow_table()
        return dict(zip(table["id"].to_pylist(), table["value"].to_pylist(), strict=True))


@pytest.fixture
def table(client: LakeFSClient, lakefs_repository: str) -> Table:
    return Table(client, lakefs_repository)


@pytest.fixture
def on_main(table: Table) -> Table:
    """The table with one row on ``main``."""
    table.write("main", 1)
    table.client.commits.create(table.repository, "main", message="Create the table")
    return table


def test_a_run_publishes_all_of_its_writes_at_once(table: Table) -> None:
    found = []

    def complete(run: WriteAuditPublish) -> list[str]:
        found.append(table.read(run.ref))
        return []

    with WriteAuditPublish(table.client, table.repository, key="sales") as run:
        table.write(run.branch, 1)
        table.write(run.branch, 2)
        table.merge(run.branch, 2, 3)
        run.audit(complete)
        assert not list(table.client.objects.list(table.repository, "main"))
    expected = {1: "written", 2: "merged", 3: "merged"}
    assert found == [expected]
    assert table.read("main") == table.read(str(run.published)) == expected
    assert [branch.id for branch in table.client.branches.list(table.repository)] == ["main"]


def test_a_refused_run_leaves_the_table_as_it_was(on_main: Table) -> None:
    with pytest.raises(AuditFailed), WriteAuditPublish(on_main.client, on_main.repository, key="sales") as run:
        on_main.write(run.branch, 2)
        run.audit(lambda _: ["wrong"])
    assert on_main.read("main") == {1: "written"}
    assert on_main.read(run.branch) == {1: "written", 2: "written"}


@pytest.fixture
def start(lakefs: LakeFS) -> Any:
    """Starts a process that appends to a table."""
    started: list[subprocess.Popen[str]] = []
    environment = {
        **os.environ,
        "LAKEFS_ENDPOINT": lakefs.endpoint,
        "LAKEFS_ACCESS_KEY_ID": lakefs.access_key_id,
        "LAKEFS_SECRET_ACCESS_KEY": lakefs.secret_access_key,
    }

    def start(address: str, name: str, count: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, address, name, str(count)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_two_writers_at_once_of_which_one_is_killed(table: Table, start: Callable[..., Any]) -> None:
    with WriteAuditPublish(table.client, table.repository, key="sales") as run:
        address = table.address(run.branch)
        # Of two writers that both create the table, one would fail.
        first = pa.table({"writer": ["first"] * 10, "number": [0] * 10})
        deltalake.write_deltalake(address, first, storage_options=table.options)
        killed, other = start(address, "killed", 1000), start(address, "other", 10)
        for _ in range(3):
            assert killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
        assert other.wait() == 0
        assert killed.wait() == -signal.SIGKILL
    rows = deltalake.DeltaTable(table.address("main"), storage_options=table.options).to_pyarrow_table()
    counts = rows.group_by(["writer", "number"]).aggregate([([], "count_all")])
    assert set(counts["count_all"].to_pylist()) == {10}  # each append is there once and as a whole
    numbers: dict[str, list[int]] = {"first": [], "killed": [], "other": []}
    for row in counts.to_pylist():
        numbers[row["writer"]].append(row["number"])
    assert sorted(numbers["other"]) == list(range(10))
    assert sorted(numbers["killed"]) == list(range(len(numbers["killed"])))
    assert len(numbers["killed"]) >= 3


def test_runs_that_wrote_to_the_same_table_conflict(on_main: Table) -> None:
    client, repository = on_main.client, on_main.repository
    first, second = (WriteAuditPublish(client, repository, key=key) for key in ("first", "second"))
    for run, number in ((first, 2), (second, 3)):
        run.open()
        on_main.write(run.branch, number)
        run.audit()
    first.publish()
    with pytest.raises(errors.MergeConflict) as raised:
        second.publish()
    assert "both wrote to the Delta table tables/sales: repeat the write on a new branch from 'main'" in str(
        raised.value
    )
    assert "source-wins" not in str(raised.value)
    assert on_main.read("main") == {1: "written", 2: "written"}
    with WriteAuditPublish(client, repository, key="second, again") as again:
        on_main.write(again.branch, 3)
    assert on_main.read("main") == {1: "written", 2: "written", 3: "written"}


def test_other_conflicts_keep_their_advice(client: LakeFSClient, lakefs_repository: str) -> None:
    client.branches.create(lakefs_repository, name="dev", source="main")
    for branch in ("dev", "main"):
        client.objects.upload(lakefs_repository, branch, "delta_log/1.json", branch.encode())
        client.commits.create(lakefs_repository, branch, message="work")
    with pytest.raises(errors.MergeConflict, match="choose the strategy source-wins or dest-wins"):
        client.refs.merge(lakefs_repository, "dev", "main")


def test_lakefs_addresses_commit_by_themselves(on_main: Table) -> None:
    with WriteAuditPublish(on_main.client, on_main.repository, key="sales") as run:
        opened = on_main.client.branches.get(on_main.repository, run.branch).commit_id
        on_main.write(run.branch, 2, scheme="lakefs")
        head = on_main.client.branches.get(on_main.repository, run.branch).commit_id
        assert head != opened
        assert not list(on_main.client.branches.diff(on_main.repository, run.branch))
        run.audit()
        assert run.audited == head
    assert on_main.read("main") == {1: "written", 2: "written"}


def test_lakefs_addresses_refuse_next_to_uncommitted_changes(on_main: Table, branch: str) -> None:
    on_main.client.objects.upload(on_main.repository, branch, "other.csv", b"1")
    with pytest.raises(deltalake.exceptions.DeltaError, match="uncommitted changes"):
        on_main.write(branch, 2, scheme="lakefs")
    assert on_main.read(branch) == {1: "written"}
    assert [change.path for change in on_main.client.branches.diff(on_main.repository, branch)] == ["other.csv"]


def transactions(table: Table) -> list[str]:
    branches = table.client.branches.list(table.repository, prefix="delta-tx-", show_hidden=True)
    return [branch.id for branch in branches]


def test_the_branch_of_a_killed_transaction_is_swept(
    on_main: Table, branch: str, lakefs: LakeFS, start: Callable[..., Any]
) -> None:
    client, repository = on_main.client, on_main.repository
    lakefs.faults.add(Fault("commit", when="after", action="delay", seconds=60))
    writer = start(f"lakefs://{repository}/{branch}/tables/other", "killed", 1)
    while not [name for name in transactions(on_main) if _has_commit(client, repository, name)]:
        assert writer.poll() is None
    writer.kill()
    writer.wait()
    lakefs.faults.clear()
    (left,) = transactions(on_main)
    assert left not in [found.id for found in client.branches.list(repository)]  # it is hidden

    asked = []
    options: dict[str, Any] = {"is_alive": lambda *names: asked.append(names) or True}
    assert list(sweep(client, repository, older_than=timedelta(hours=1), **options)) == []
    assert list(sweep(client, repository, older_than=AHEAD, dry_run=True, **options)) == [left]
    assert transactions(on_main) == [left]
    assert list(sweep(client, repository, older_than=AHEAD, **options)) == [left]
    assert transactions(on_main) == asked == []
    assert on_main.read(branch) == {1: "written"}


def _has_commit(client: LakeFSClient, repository: str, branch: str) -> bool:
    head = client.branches.get(repository, branch).commit_id
    return client.commits.get(repository, head).message.startswith("Delta commit {")


def test_only_branches_of_transactions_with_writes_are_swept(on_main: Table) -> None:
    client, repository = on_main.client, on_main.repository
    identifier = "0b7f6a1e-0d5e-4c5b-9b0a-3a5d5f0f7c0"
    names = [f"delta-tx-{identifier}{number}" for number in range(3)]
    for name in (*names, "delta-tx-mine"):
        client.branches.create(repository, name=name, source="main", hidden=True)
    for name in (names[0], "delta-tx-mine"):
        client.objects.upload(repository, name, "tables/sales/part.parquet", b"1")
    # A transaction that began a moment ago: its head is an old commit of somebody else, on another branch.
    client.branches.create(repository, name="dev", source="main")
    client.commits.create(repository, "dev", message="work", allow_empty=True)
    client.branches.create(repository, name=f"delta-tx-{identifier}3", source="dev", hidden=True)
    assert list(sweep(client, repository, older_than=AHEAD)) == [names[0]]
    assert transactions(on_main) == [*names[1:], f"delta-tx-{identifier}3", "delta-tx-mine"]
