"""What a run reads and writes: its branch, its snapshot, its re-executions, its checks; and isolation by asset."""

from __future__ import annotations

import functools
import io
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.tags import BACKFILL_ID_TAG

from dagster_resources import LakeFSIOManager, LakeFSResource, RunBranch, build_lakefs_publish_asset, isolation
from dagster_resources.snapshots import TAG_PREFIX
from lakefs_ops import errors
from lakefs_ops.flows.publish import WriteAuditPublish
from lakefs_ops.local.faults import Fault

REPOSITORY, ROWS, FAILS = "IO_REPOSITORY", "IO_ROWS", "IO_FAILS"


# A job that can be re-executed is imported afresh, so its behavior comes through the environment.
@dg.asset
def counted() -> pl.DataFrame:
    return pl.DataFrame({"n": range(int(os.environ[ROWS]))})


@dg.asset_check(asset=counted, blocking=True)
def not_empty(counted: pl.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=counted.height > 0)


@dg.asset
def doubled(counted: pl.LazyFrame) -> pl.LazyFrame:
    if os.environ[FAILS] == "yes":
        raise RuntimeError("fails")
    return counted.select(pl.col("n") * 2)


@dg.asset(deps=[doubled])
def published(context, lakefs: LakeFSResource) -> dg.MaterializeResult:
    merge = lakefs.run_branch(context, os.environ[REPOSITORY]).publish("Publish")
    return dg.MaterializeResult(metadata={"commit": merge})


def job() -> dg.JobDefinition:
    lakefs = LakeFSResource(
        endpoint=dg.EnvVar("IO_ENDPOINT"),
        access_key_id=dg.EnvVar("IO_KEY"),
        secret_access_key=dg.EnvVar("IO_SECRET"),
    )
    return dg.Definitions(
        [counted, doubled, published],
        asset_checks=[not_empty],
        jobs=[dg.define_asset_job("io", executor_def=dg.in_process_executor)],
        resources={
            "lakefs": lakefs,
            "io_manager": LakeFSIOManager(lakefs=lakefs, repository=dg.EnvVar(REPOSITORY)),
        },
    ).resolve_job_def("io")


class Jobs:
    """The job and its repository."""

    def __init__(self, lakefs, repository, instance, monkeypatch):
        self.client, self.repository, self.instance = lakefs.client, repository, instance
        self._setenv = monkeypatch.setenv
        for name, value in {
            "IO_ENDPOINT": lakefs.endpoint,
            "IO_KEY": lakefs.access_key_id,
            "IO_SECRET": lakefs.secret_access_key,
            REPOSITORY: repository,
        }.items():
            self._setenv(name, value)

    def run(self, *, rows=3, fails="no", after=None):
        self._setenv(ROWS, str(rows))
        self._setenv(FAILS, fails)
        again = dg.ReexecutionOptions.from_failure(after.run_id, self.instance) if after else None
        return dg.execute_job(dg.reconstructable(job), self.instance, reexecution_options=again)

    def rows(self, path, ref="main"):
        return pl.read_parquet(self.client.objects.get(self.repository, ref, path))["n"].to_list()

    @property
    def log(self):
        return [commit.message for commit in self.client.refs.log(self.repository, "main")]

    @property
    def branches(self):
        return [branch.id for branch in self.client.branches.list(self.repository)]


@pytest.fixture
def jobs(lakefs, lakefs_repository, instance, monkeypatch):
    return Jobs(lakefs, lakefs_repository, instance, monkeypatch)


def test_a_run_publishes_what_its_checks_read(jobs):
    assert jobs.run().success
    assert jobs.rows("doubled.parquet") == [0, 2, 4]
    assert jobs.log == ["Publish", "Publish", "Repository created"]
    assert jobs.branches == ["main"]


def test_a_failed_check_publishes_nothing(jobs):
    run = jobs.run(rows=0)
    assert not run.success
    assert jobs.log == ["Repository created"]
    assert jobs.branches == [f"dagster-{run.run_id}", "main"]


def test_a_re_execution_reads_the_branch_of_its_root(jobs):
    failed = jobs.run(fails="yes")
    assert not failed.success
    assert jobs.rows("counted.parquet", f"dagster-{failed.run_id}") == [0, 1, 2]
    jobs.client.objects.upload(jobs.repository, "main", "other", b"")
    jobs.client.commits.create(jobs.repository, "main", message="Other")
    assert jobs.run(rows=99, after=failed).success  # 99 rows are never produced: that step succeeded
    assert jobs.rows("doubled.parquet") == [0, 2, 4]
    assert jobs.branches == ["main"]


def test_what_a_check_read_and_somebody_else_replaced_is_not_published(jobs, sentence):
    failed = jobs.run(fails="yes")
    jobs.client.objects.upload(jobs.repository, f"dagster-{failed.run_id}", "counted.parquet", other_rows())
    run = jobs.run(after=failed)
    assert not run.success
    assert "counted.parquet" in sentence(run)
    assert jobs.log == ["Repository created"]


def other_rows():
    file = io.BytesIO()
    pl.DataFrame({"n": [0, 1, 2, 3]}).write_parquet(file)
    return file.getvalue()


# one snapshot ---------------------------------------------------------------------------------------------------------


@dg.asset(metadata={"lakefs/format": "text"})
def upstream() -> str:
    return "of this run"


def reader(name, after=(), then=lambda: None):
    """Return an asset that returns what it reads."""

    @dg.asset(name=name, deps=after)
    def asset(upstream: str) -> bytes:
        then()
        return upstream.encode()

    return asset


def test_a_run_reads_one_snapshot_and_its_branch_starts_there(
    io_run, commit_to_main, instance, lakefs, lakefs_repository
):
    before = commit_to_main({"upstream.txt": b"old"})

    def change():
        commit_to_main({"upstream.txt": b"new"})

    first = reader("first", then=change)
    second = reader("second", [first], then=change)
    result = io_run(upstream, first, second, selection=[first, second])
    assert result.success
    assert instance.get_run_by_id(result.run_id).tags[f"{TAG_PREFIX}{lakefs_repository}/main"] == before
    client, branch = lakefs.client, f"dagster-{result.run_id}"
    assert client.branches.get(lakefs_repository, branch).commit_id == before
    assert client.objects.get(lakefs_repository, branch, "second.parquet") == b"old"


def test_a_run_that_only_reads_reads_one_snapshot(io_run, commit_to_main, lakefs, lakefs_repository):
    commit_to_main({"upstream.txt": b"old"})
    seen = []

    def sink(name, after=()):
        @dg.asset(name=name, deps=after)
        def asset(upstream: str) -> None:
            seen.append(upstream)
            commit_to_main({"upstream.txt": b"new"})

        return asset

    first = sink("first")
    second = sink("second", [first])
    assert io_run(upstream, first, second, selection=[first, second]).success
    assert io_run(upstream, first, selection=[first]).success
    assert seen == ["old", "old", "new"]
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_a_run_reads_what_it_published(io_run, resource, lakefs_repository, commit_to_main):
    @dg.asset(deps=[upstream])
    def publish(context) -> None:
        resource.run_branch(context, lakefs_repository).publish("Publish")
        commit_to_main({"upstream.txt": b"newer"})

    later = reader("later", [publish])
    result = io_run(upstream, publish, later, reader("last", [later]))
    assert result.success
    with resource.get_client() as client:
        assert client.objects.get(lakefs_repository, f"dagster-{result.run_id}", "last.parquet") == b"of this run"


def test_a_branch_that_was_deleted_during_the_run_is_missed(io_run, sentence, lakefs, lakefs_repository):
    def delete():
        (branch,) = [each.id for each in lakefs.client.branches.list(lakefs_repository) if each.id != "main"]
        lakefs.client.branches.delete(lakefs_repository, branch)

    first = reader("first", then=delete)

    @dg.asset(deps=[first])
    def second(upstream: str) -> None: ...

    result = io_run(upstream, first, second)
    assert not result.success
    assert "was deleted during the run" in sentence(result)


def test_a_branch_that_another_step_creates_at_the_same_moment_is_not_missed(io_run, monkeypatch):
    head, late = RunBranch._head, []

    def head_before_the_other_step(self):
        if self._step_key == "second" and not late:
            late.append(1)
            raise errors.BranchNotFound("not yet", status=404, reason="", operation="getBranch")
        return head(self)

    @dg.asset
    def first() -> bytes:
        return b""

    @dg.asset(deps=[first])
    def second() -> bytes:
        return b""

    monkeypatch.setattr(RunBranch, "_head", head_before_the_other_step)
    assert io_run(first, second).success
    assert late


def test_one_more_asset_costs_two_requests_to_write_and_three_to_read(io_run, lakefs):
    second = reader("second")

    def calls(*assets):
        lakefs.faults.clear()
        assert io_run(*assets).success
        return lakefs.faults.calls

    assert calls(upstream, second) - calls(upstream) == {
        "getBranch": 2,
        "uploadObject": 1,
        "statObject": 1,
        "getObject": 1,
    }


# by asset and on the base ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "operation"), [("asset", "mergeIntoBranch"), ("none", "commit")])
def test_the_same_bytes_are_committed_once(kind, operation, io_run, lakefs, lakefs_repository):
    lakefs.faults.add(Fault(operation, when="after", action="reset"))
    for _ in range(2):
        assert io_run(upstream, settings={"isolation": kind}).success
    log = [commit.message for commit in lakefs.client.refs.log(lakefs_repository, "main", first_parent=True)]
    assert log == ["Materialize upstream", "Repository created"]
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_an_attempt_that_died_after_its_merge_is_found(io_run, lakefs, lakefs_repository, monkeypatch):
    deaths = [RuntimeError("died after the merge")]
    merged = isolation.commit_metadata

    def dying(*arguments):
        if deaths:
            raise deaths.pop()
        return merged(*arguments)

    monkeypatch.setattr(isolation, "commit_metadata", dying)

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def retried() -> bytes:
        return b"same"

    result = io_run(retried, settings={"isolation": "asset"})
    assert result.success
    log = [commit.message for commit in lakefs.client.refs.log(lakefs_repository, "main", first_parent=True)]
    assert log == ["Materialize retried", "Repository created"]
    (event,) = result.asset_materializations_for_node("retried")
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    assert event.metadata["lakefs/commit_id"].value == head


def test_a_conflict_keeps_the_branch_and_is_not_retried(io_run, commit_to_main, lakefs, lakefs_repository, monkeypatch):
    attempts, seal = [], WriteAuditPublish.seal

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=3), metadata={"lakefs/path": "x"})
    def conflicting():
        attempts.append(1)
        return b"mine"

    def seal_late(self):
        commit_to_main({"x": b"theirs"})
        return seal(self)

    monkeypatch.setattr(WriteAuditPublish, "seal", seal_late)
    result = io_run(conflicting, settings={"isolation": "asset"})
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    message = event.step_failure_data.user_failure_data.description
    assert "both changed x" in message
    assert "'main' is unchanged; to write the output again, delete branch 'dagster-" in message
    assert lakefs.client.objects.get(lakefs_repository, "main", "x") == b"theirs"
    assert len(attempts) == 1


# outside of a run -----------------------------------------------------------------------------------------------------


def test_a_value_is_loaded_outside_of_a_run(io_manager, io_run, instance, lakefs, lakefs_repository):
    @dg.asset
    def frame() -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    def parts(context) -> pl.DataFrame:
        return pl.DataFrame({"n": [context.partition_key]})

    assert io_run(frame, settings={"isolation": "none"}).success
    lakefs.client.tags.create(lakefs_repository, id="v1", ref="main")
    for key in ("a", "b"):
        assert io_run(parts, settings={"isolation": "asset"}, partition_key=key).success
    lakefs.client.objects.upload(lakefs_repository, "main", "frame.parquet", b"uncommitted")

    at_main, at_v1 = (
        dg.Definitions([frame, parts], resources={"io_manager": io_manager(ref=ref)}) for ref in (None, "v1")
    )
    lazy = at_main.load_asset_value("frame", python_type=pl.LazyFrame, instance=instance)
    assert lazy.filter(pl.col("n") > 0).collect()["n"].to_list() == [1]  # its file outlives the loader
    part = at_main.load_asset_value("parts", python_type=pl.DataFrame, partition_key="b", instance=instance)
    assert part["n"].to_list() == ["b"]
    with pytest.raises(FileNotFoundError, match="materialize partition 'b' of parts first"):
        at_v1.load_asset_value("parts", python_type=pl.DataFrame, partition_key="b", instance=instance)


def test_files_of_lazy_values_are_deleted_when_the_run_ends(io_run, tmp_path):
    @dg.asset
    def lazy() -> pl.LazyFrame:
        return pl.LazyFrame({"n": [1]})

    @dg.asset
    def reads(lazy: pl.LazyFrame) -> pl.DataFrame:
        assert len(list(tmp_path.rglob("*.parquet"))) == 1
        return lazy.collect()

    assert io_run(lazy, reads, settings={"temporary_directory": str(tmp_path)}).success
    assert not list(tmp_path.iterdir())


def test_none_writes_nothing_and_is_none_again(io_run, lakefs, lakefs_repository):
    @dg.asset
    def nothing() -> pl.DataFrame | None:
        return None

    @dg.asset
    def read(nothing: pl.DataFrame | None) -> None:
        assert nothing is None

    result = io_run(nothing, read)
    assert result.success
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]


def test_the_page_of_the_documentation_runs(lakefs, lakefs_repository, monkeypatch, capsys):
    for name in ("endpoint", "access_key_id", "secret_access_key"):
        monkeypatch.setenv(f"LAKEFS_{name.upper()}", getattr(lakefs, name))
    page = Path(__file__).parents[2] / "docs" / "io-manager.md"
    text = page.read_text().replace("my-repo", lakefs_repository)
    snippets = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert len(snippets) == 5
    names: dict[str, object] = {}
    with pytest.warns(dg.BetaWarning):
        for snippet in snippets:
            line = text[: snippet.start()].count("\n") + 1
            exec(compile("\n" * line + snippet.group(1), str(page), "exec", dont_inherit=True), names)
    assert "2015-01-02" in capsys.readouterr().out
    paths = [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "main")]
    assert paths == ["warm_days.parquet", "weather.parquet"]


# backfills ------------------------------------------------------------------------------------------------------------

TWO_DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday"])


@pytest.fixture
def backfill(io_manager, resource, instance, lakefs_repository):
    """Two assets of one backfill, which Dagster executes in different runs, and a function that executes one."""

    @dg.asset(partitions_def=TWO_DAYS)
    def daily(context) -> pl.DataFrame:
        return pl.DataFrame({"day": [context.partition_key]})

    @dg.asset
    def total(daily: dict[str, pl.DataFrame]) -> pl.DataFrame:
        return pl.DataFrame({"days": [len(daily)]})

    def run(*assets, key=None, id_="some-id"):
        return dg.materialize(
            list({daily, *assets}), selection=assets, instance=instance, partition_key=key, tags={BACKFILL_ID_TAG: id_},
            resources={"io_manager": io_manager(), "lakefs": resource}, raise_on_error=False,
        )  # fmt: skip

    publication = functools.partial(build_lakefs_publish_asset, repository=lakefs_repository)
    return SimpleNamespace(daily=daily, total=total, run=run, publication=publication)


def test_a_run_of_a_backfill_waits_for_the_publication_of_what_it_reads(backfill, io_run, instance):
    assert io_run(backfill.daily, partition_key="tuesday", settings={"isolation": "none"}).success
    held, writes = threading.Event(), threading.Event()

    @dg.asset(deps=[backfill.daily], partitions_def=TWO_DAYS)
    def slow() -> None:
        writes.set()
        assert held.wait(10)

    on_main = backfill.publication(name="on_main", deps=[backfill.daily, slow])
    with ThreadPoolExecutor() as pool:
        earlier = pool.submit(backfill.run, backfill.daily, slow, on_main, key="monday")
        assert writes.wait(10)
        later = pool.submit(backfill.run, backfill.total)
        with pytest.raises(TimeoutError):
            later.result(1)
        held.set()
        assert earlier.result().success
        assert later.result().output_for_node("total")["days"].to_list() == [2]


def test_a_run_of_a_backfill_does_not_read_what_another_one_has_not_published(backfill, io_run, sentence, instance):
    assert io_run(backfill.daily, partition_key="tuesday", settings={"isolation": "none"}).success
    assert io_run(backfill.daily, partition_key="monday", settings={"isolation": "none"}).success
    unpublished = backfill.run(backfill.daily, key="monday")
    assert unpublished.success
    refused = sentence(backfill.run(backfill.total))
    assert f"run {unpublished.run_id} of the same backfill has written 'daily', which this run reads" in refused
    assert "the publish asset in one run, as a backfill of a job does" in refused
    assert backfill.run(backfill.total, id_="another-id").success
    on_main = backfill.publication(name="on_main", deps=[backfill.daily])
    assert backfill.run(backfill.daily, on_main, key="monday").success
    assert backfill.run(backfill.total).success


@pytest.mark.parametrize("id_", ["some-id", "another-id"])
def test_a_publication_alone_names_the_run_that_wrote(backfill, sentence, id_):
    on_main = backfill.publication(name="on_main", deps=[backfill.daily])
    writer = backfill.run(backfill.daily, key="monday")
    refused = sentence(backfill.run(on_main, key="monday", id_=id_))
    assert f"run {writer.run_id} has written 'daily', which is only on branch 'dagster-{writer.run_id}'" in refused
    assert "the publish asset in one run, as a backfill of a job does" in refused
    nothing = sentence(backfill.run(on_main, key="tuesday"))
    assert nothing.endswith("; materialize the assets and their checks in the same run")


def test_a_run_that_reads_what_another_one_has_not_published_has_a_warning(
    io_run, resource, instance, backfill, lakefs
):
    @dg.asset
    def words() -> bytes:
        return b"old"

    @dg.asset
    def more(words: bytes) -> None:
        assert words == b"old"

    def warnings():
        run = io_run(words, more, selection=[more])
        assert run.success
        logged = instance.all_logs(run.run_id)
        return [entry.message for entry in logged if "has not published it: this run reads 'words'" in entry.message]

    on_main = backfill.publication(name="on_main", deps=[words])
    assert io_run(words, on_main, resources={"lakefs": resource}).success
    assert not warnings()
    unpublished = io_run(words)
    (warning,) = warnings()
    assert f"run {unpublished.run_id} has written 'words'" in warning
    lakefs.faults.add(Fault("listBranches", status=403))
    assert not warnings()


def test_a_run_of_a_backfill_that_reads_an_older_snapshot_is_launched_again(backfill, io_run, sentence):
    assert io_run(backfill.daily, partition_key="tuesday", settings={"isolation": "none"}).success
    on_main = backfill.publication(name="on_main", deps=[backfill.daily])

    @dg.asset(ins={"daily": dg.AssetIn(partition_mapping=dg.SpecificPartitionsPartitionMapping(["tuesday"]))})
    def first(daily: pl.DataFrame) -> pl.DataFrame:
        assert backfill.run(backfill.daily, on_main, key="monday").success
        return daily

    @dg.asset(deps=[first])
    def total(daily: dict[str, pl.DataFrame]) -> pl.DataFrame:
        return pl.DataFrame({"days": [len(daily)]})

    assert "has published it after this run started to read 'main'; launch" in sentence(backfill.run(first, total))
