"""A Dagster backfill: its runs merge into a collecting branch, and the sensor publishes them with one merge."""

from __future__ import annotations

import time
import uuid
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import BACKFILL_ID_TAG, ROOT_BACKFILL_ID_TAG

from dagster_resources import build_lakefs_backfill_sensor, build_lakefs_publish_asset, build_lakefs_publish_op
from dagster_resources.resource import LakeFSResource
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.backfill import PUBLISHED, Backfill

DAYS = dg.StaticPartitionsDefinition([f"day-{number}" for number in range(3)])
KEYS = DAYS.get_partition_keys()
DONE, FAILED = BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED


class Lab:
    """Assets for each day, and backfills as Dagster's daemon stores and tags them."""

    def __init__(self, client, repository, resource, instance):
        self.client, self.repository, self.instance = client, repository, instance
        self.resource = resource.model_copy(update={"collect_backfills": True})
        self.spoiled: str | None = None
        self.seen: dict[str, list[str]] = {}
        self.assets = self.build()

    def build(self, **options):
        many = {"partitions_def": DAYS, **options}

        @dg.asset(**many)
        def days(context, lakefs: LakeFSResource) -> None:
            branch = lakefs.run_branch(context, self.repository)
            ref = branch.reading()
            for key in context.partition_keys:
                self.seen[key] = self.objects(ref)
                self.client.objects.upload(self.repository, branch.ensure(), key, b"1")
            branch.commit("Days")

        @dg.asset_check(asset=days)
        def judged(context, lakefs: LakeFSResource) -> dg.AssetCheckResult:
            found = self.objects(lakefs.run_branch(context, self.repository).ref)
            return dg.AssetCheckResult(passed=self.spoiled not in found)

        publication = build_lakefs_publish_asset(name="on_main", deps=[days], repository=self.repository, **many)
        return [days, judged, publication]

    def launch(self, keys=KEYS, root=None):
        """Store a backfill; return its id."""
        id_ = uuid.uuid4().hex[:8]
        targeted = {dg.AssetKey(name): DAYS.subset_with_partition_keys(keys) for name in ("days", "on_main")}
        tags = {ROOT_BACKFILL_ID_TAG: root} if root else {}
        backfill = PartitionBackfill.from_asset_graph_subset(
            backfill_id=id_, asset_graph_subset=AssetGraphSubset(partitions_subsets_by_asset_key=targeted),
            dynamic_partitions_store=self.instance, tags=tags, backfill_timestamp=time.time(), title=None,
            description=None, run_config=None,
        )  # fmt: skip
        self.instance.add_backfill(backfill)
        return id_

    def run(self, id_, key, success=True, **tags):
        tags = {BACKFILL_ID_TAG: id_, **tags} if id_ else tags
        run = dg.materialize(
            self.assets, instance=self.instance, resources={"lakefs": self.resource}, partition_key=key, tags=tags,
            raise_on_error=False,
        )  # fmt: skip
        assert run.success == success
        return run

    def rerun(self, run, key, *selection):
        """Execute a run again as Dagster does after the end of its backfill: without the backfill's tags."""
        definitions = dg.Definitions(self.assets, resources={"lakefs": self.resource}, executor=dg.in_process_executor)
        job = definitions.resolve_implicit_global_asset_job_def()
        selected = {dg.AssetKey(name) for name in selection} or None
        job, root = job.get_subset(asset_selection=selected) if selected else job, run.run_id
        again = self.instance.create_run_for_job(
            job, parent_run_id=root, root_run_id=root, asset_selection=selected,
            tags={"dagster/partition": key, "dagster/root_run_id": root, "dagster/parent_run_id": root},
        )  # fmt: skip
        assert BACKFILL_ID_TAG not in again.tags
        return execute_run(InMemoryJob(job), again, self.instance)

    def end(self, id_, status=DONE):
        self.instance.update_backfill(self.instance.get_backfill(id_).with_status(status))

    def tick(self, **options):
        sensor = build_lakefs_backfill_sensor(publication=self.assets[2], repository=self.repository, **options)
        definitions = dg.Definitions(self.assets, sensors=[sensor], resources={"lakefs": self.resource})
        repository = definitions.get_repository_def()
        before = len(self.events())
        with dg.build_sensor_context(
            instance=self.instance, resources={"lakefs": self.resource}, repository_def=repository
        ) as context:
            data = sensor.evaluate_tick(context)
        return SimpleNamespace(text=data.skip_message, events=self.events()[before:])

    def events(self):
        """Return the events of the publish asset, oldest first."""
        found = self.instance.fetch_materializations(self.assets[2].key, limit=1000, ascending=True).records
        return [record.asset_materialization for record in found]

    def backfill(self, id_):
        return Backfill(self.client, self.repository, f"dagster/{id_}")

    def objects(self, ref="main"):
        return [entry.path for entry in self.client.objects.list(self.repository, ref)]

    def merges(self):
        log = self.client.refs.log(self.repository, "main", first_parent=True)
        return [commit for commit in log if len(commit.parents) > 1]

    def branches(self):
        return [branch.id for branch in self.client.branches.list(self.repository) if branch.id != "main"]


@pytest.fixture
def lab(lakefs, lakefs_repository, resource, instance):
    return Lab(lakefs.client, lakefs_repository, resource, instance)


def test_the_runs_of_a_backfill_are_published_with_one_merge(lab):
    assert lab.tick().text == "no backfill is collected"
    id_ = lab.launch()
    for number, key in enumerate(KEYS):
        run = lab.run(id_, key)
        (event,) = run.asset_materializations_for_node("on_main")
        assert event.metadata["lakefs/branch"].value == lab.backfill(id_).branch
        assert lab.objects() == []
        assert lab.seen[key] == KEYS[:number], "a run reads what earlier runs of the backfill have published"
        text = lab.tick().text
        assert text.startswith(f"backfill {id_}: {number + 1} of 3 partitions are collected")
        assert text.endswith("it has not ended")
    assert lab.branches() == [lab.backfill(id_).branch]
    lab.end(id_)
    tick = lab.tick()
    (merge,) = lab.merges()
    url = lab.client.links.commit(lab.repository, merge.id)
    assert tick.text == f"backfill {id_} is published with 3 of 3 partitions: {url}"
    assert [event.partition for event in tick.events] == sorted(KEYS)
    assert {event.tags["dagster/data_version"] for event in tick.events} == {merge.id}
    assert tick.events[0].metadata["lakefs/commit"].value == url
    assert merge.metadata[PUBLISHED] == "3: day-0, day-1, day-2"
    assert (lab.objects(), lab.branches()) == (KEYS, [])
    assert lab.tick().text == "no backfill is collected"


def test_an_op_of_a_backfill_names_the_collecting_branch(lab, instance):
    @dg.op
    def write(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, lab.repository)
        lab.client.objects.upload(lab.repository, branch.ensure(), "op", b"1")

    publish = build_lakefs_publish_op(repository=lab.repository)

    @dg.job(resource_defs={"lakefs": lab.resource}, partitions_def=DAYS)
    def ops():
        publish(after=[write()])

    id_ = lab.launch()
    run = ops.execute_in_process(instance=instance, partition_key="day-0", tags={BACKFILL_ID_TAG: id_})
    (output,) = [each for each in run.all_node_events if each.is_successful_output and each.step_key == "publish"]
    assert output.step_output_data.metadata["lakefs/branch"].value == lab.backfill(id_).branch
    assert lab.objects() == []


def test_an_ordinary_run_publishes_as_ever(lab):
    lab.run(None, "day-0")
    lab.run(None, "day-1")
    assert (lab.objects(), len(lab.merges()), lab.branches()) == (["day-0", "day-1"], 2, [])


def test_without_collect_backfills_each_run_publishes(lab, resource):
    lab.resource = resource
    id_ = lab.launch()
    lab.run(id_, "day-0")
    assert lab.objects() == ["day-0"]


@pytest.mark.parametrize("policy", ["all", "passed", "nothing"])
def test_each_policy_with_a_failing_run(lab, policy):
    id_, lab.spoiled = lab.launch(), "day-2"
    runs = {key: lab.run(id_, key, success=key != lab.spoiled) for key in KEYS}
    lab.end(id_, FAILED)
    tick = lab.tick(policy=policy)
    if policy == "passed":
        assert "published with 2 of 3 partitions" in tick.text
        assert lab.objects() == ["day-0", "day-1"]
        assert len(lab.merges()) == 1
        assert [event.partition for event in tick.events] == ["day-0", "day-1"]
    else:
        assert "2 of 3 partitions are collected; missing: day-2" in tick.text
        assert f"failed runs: {runs['day-2'].run_id}" in tick.text
        assert lab.objects() == []
    assert (lab.backfill(id_).branch in lab.branches()) == (policy == "all")
    assert f"dagster-{runs['day-2'].run_id}" in lab.branches(), "the work is kept"


def test_a_re_execution_without_the_tag_completes_the_backfill(lab):
    id_, lab.spoiled = lab.launch(), "day-2"
    runs = {key: lab.run(id_, key, success=key != lab.spoiled) for key in KEYS}
    lab.end(id_, FAILED)
    lab.tick()
    lab.spoiled = None
    assert lab.rerun(runs["day-2"], "day-2").success
    assert lab.objects() == []
    assert "published with 3 of 3 partitions" in lab.tick().text
    assert (lab.objects(), len(lab.merges()), lab.branches()) == (KEYS, 1, [])


def test_a_re_execution_of_the_backfill_completes_the_first(lab):
    id_, lab.spoiled = lab.launch(), "day-2"
    for key in KEYS:
        lab.run(id_, key, success=key != lab.spoiled)
    lab.end(id_, FAILED)
    lab.spoiled = None
    again = lab.launch(["day-2"], root=id_)
    lab.run(again, "day-2", **{ROOT_BACKFILL_ID_TAG: id_})
    assert lab.tick().text.endswith("it has not ended")
    lab.end(again)
    assert "published with 3 of 3 partitions" in lab.tick().text
    assert (lab.objects(), len(lab.merges())) == (KEYS, 1)


@pytest.mark.parametrize("policy", ["all", "nothing"])
def test_a_canceled_backfill_is_not_published(lab, policy):
    id_ = lab.launch()
    for key in KEYS:
        lab.run(id_, key)
    lab.end(id_, BulkActionStatus.CANCELED)
    assert "it was canceled" in lab.tick(policy=policy).text
    assert lab.objects() == []
    assert lab.backfill(id_).exists() == (policy == "all")


def test_a_late_run_is_refused_and_a_published_one_may_run_again(lab):
    id_ = lab.launch()
    for key in KEYS[:2]:
        lab.run(id_, key)
    lab.end(id_)
    lab.tick(policy="passed")
    late = lab.run(id_, "day-2", success=False)
    (failure,) = [event for event in late.all_events if event.is_step_failure and event.step_key == "days"]
    assert "is published on 'main' with commit" in failure.step_failure_data.error.message
    assert lab.objects() == KEYS[:2]
    assert lab.branches() == []


def test_the_publication_runs_again_after_the_backfill_was_published(lab):
    id_ = lab.launch(["day-0"])
    run = lab.run(id_, "day-0")
    lab.end(id_)
    lab.tick()
    assert lab.rerun(run, "day-0", "on_main").success
    assert not lab.rerun(run, "day-0").success
    assert (lab.objects(), len(lab.merges()), lab.branches()) == (["day-0"], 1, [])


@pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")
def test_one_run_for_several_partitions(lab):
    lab.assets = lab.build(backfill_policy=dg.BackfillPolicy.single_run())
    id_ = lab.launch()
    tags = {"dagster/asset_partition_range_start": "day-0", "dagster/asset_partition_range_end": "day-2"}
    run = dg.materialize(
        lab.assets, instance=lab.instance, resources={"lakefs": lab.resource}, tags={BACKFILL_ID_TAG: id_, **tags}
    )
    assert run.success
    assert lab.objects() == []
    lab.end(id_)
    assert "published with 3 of 3 partitions" in lab.tick().text
    assert (lab.objects(), len(lab.merges())) == (KEYS, 1)


def test_a_conflict_fails_the_tick_and_keeps_everything(lab, commit_to_main):
    id_ = lab.launch(["day-0"])
    lab.run(id_, "day-0")
    commit_to_main({"day-0": b"of somebody else"})
    lab.end(id_)
    with pytest.raises(dg.Failure, match="day-0"):
        lab.tick()
    assert lab.backfill(id_).progress().state == "open"
    lab.tick(strategy="source-wins")
    assert lab.client.objects.get(lab.repository, "main", "day-0") == b"1"


@pytest.mark.parametrize("stored", [0, 1, 3])
def test_a_tick_that_dies_after_the_merge_leaves_its_events_to_the_next(lab, mocker, stored):
    id_, before = lab.launch(), len(lab.events()) + len(KEYS)
    for key in KEYS:
        lab.run(id_, key)
    lab.end(id_)

    def killed(*_):
        raise SystemExit

    if stored < len(KEYS):
        report, events = lab.instance.report_runless_asset_event, []

        def report_some(event):
            events.append(event)
            return report(event) if len(events) <= stored else killed()

        patched = mocker.patch.object(lab.instance, "report_runless_asset_event", report_some)
    else:
        patched = mocker.patch.object(Backfill, "_clean_up", killed)
    with pytest.raises(SystemExit):
        lab.tick()
    assert len(lab.merges()) == 1
    assert len(lab.events()) == before + stored
    mocker.stop(patched)
    assert "is published with 3 of 3 partitions" in lab.tick().text
    assert sorted(event.partition for event in lab.events()[before:]) == sorted(KEYS)
    assert (len(lab.merges()), lab.branches()) == (1, [])


def test_a_collecting_branch_that_is_kept_has_no_further_events(lab):
    id_ = lab.launch()
    for key in KEYS:
        lab.run(id_, key)
    lab.end(id_)
    lab.backfill(id_).finish(
        KEYS, on_published=lambda _: lab.client.objects.upload(lab.repository, lab.backfill(id_).branch, "late", b"1")
    )
    assert len(lab.tick().events) == len(KEYS)
    assert lab.tick().events == []
    assert lab.branches() == [lab.backfill(id_).branch]


def test_backfills_of_another_instance_are_left_alone(lab):
    with lab.backfill("elsewhere").member("day-0") as run:
        lab.client.objects.upload(lab.repository, run.branch, "day-0", b"1")
    assert "is not known to this Dagster instance" in lab.tick().text
    assert lab.objects() == []
    with pytest.raises(InvalidArgument, match="policy must be one of"):
        build_lakefs_backfill_sensor(publication="on_main", repository="lake", policy="some")
    with pytest.raises(InvalidArgument, match="strategy must be one of"):
        build_lakefs_backfill_sensor(publication="on_main", repository="lake", strategy="ours")
