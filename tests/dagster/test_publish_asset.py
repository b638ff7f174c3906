"""The publication as an asset and as an op: in every kind of run, it publishes all of it once, or nothing."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest

from dagster_resources import (
    build_lakefs_backfill_sensor,
    build_lakefs_checks,
    build_lakefs_commit_sensor,
    build_lakefs_definitions,
    build_lakefs_object_sensor,
    build_lakefs_observable_source,
    build_lakefs_publish_asset,
    build_lakefs_publish_op,
    build_lakefs_sweeper,
    build_lakefs_unpublished_sensor,
    history,
)
from dagster_resources.history import UNPUBLISHED_TAG
from dagster_resources.publish import RunBranch
from dagster_resources.resource import LakeFSResource
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.checks import SUMMARY_KEY

DAYS = dg.StaticPartitionsDefinition([f"day-{number}" for number in range(48)])


class Lake:
    """A repository, assets that write one object to it, and what is on it."""

    def __init__(self, client, repository):
        self.client, self.repository = client, repository

    def asset(self, name="written", *, content="good", deps=(), repository=None, **options):
        lake = repository or self.repository

        @dg.asset(name=name, deps=deps, **options)
        def writing(context, lakefs: LakeFSResource) -> None:
            branch = lakefs.run_branch(context, lake)
            keys = context.partition_keys if "partitions_def" in options else [name]
            for key in keys:
                stored = self.client.objects.upload(lake, branch.ensure(), f"{name}/{key}", content.encode())
                branch.wrote_objects({stored.path: stored.checksum})

        return writing

    def publication(self, *deps, name="on_main", **options):
        return build_lakefs_publish_asset(name=name, deps=deps, **{"repository": self.repository, **options})

    def objects(self, ref="main", repository=None):
        return [entry.path for entry in self.client.objects.list(repository or self.repository, ref)]

    def merges(self):
        return [commit for commit in self.client.refs.log(self.repository, "main") if len(commit.parents) == 2]

    @property
    def branches(self):
        return [branch.id for branch in self.client.branches.list(self.repository)]


@pytest.fixture
def lake(lakefs, lakefs_repository):
    return Lake(lakefs.client, lakefs_repository)


def check(asset, *, passed=True, name="judged", **options):
    @dg.asset_check(asset=asset, name=name, **options)
    def judged() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed)

    return judged


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("records", [True, False])
def test_without_checks_only_recorded_objects_are_published(lake, resource, materialize, committed, records):
    @dg.asset
    def written(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, lake.repository)
        stored = lake.client.objects.upload(lake.repository, branch.ensure(), "own", b"own")
        if records:
            branch.wrote_objects({stored.path: stored.checksum})

    @dg.asset(deps=[written])
    def somebody(context) -> None:
        branch = f"dagster-{context.run.run_id}"
        lake.client.objects.upload(lake.repository, branch, "foreign", b"foreign")
        if committed:
            lake.client.commits.create(lake.repository, branch, message="Somebody")

    run = materialize([written, somebody, lake.publication(written, somebody)], resource)
    assert run.success != records
    if records:
        assert "foreign is on the branch, and no step of this run has written it" in failure(run).error.message
        assert lake.objects() == []
        assert lake.objects(f"dagster-{run.run_id}") == ["foreign", "own"]


def failure(run):
    (found,) = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    return found


def test_one_commit_and_one_merge_after_all_writers_and_checks(lake, resource, materialize):
    north, south = lake.asset("north"), lake.asset("south")
    slow = dg.asset(name="slow", deps=[north])(lambda: None)
    late = check(north, name="late", additional_deps=[slow])
    run = materialize([north, south, slow, check(south), late, lake.publication(north, south)], resource)
    assert run.success
    assert lake.objects() == ["north/north", "south/south"]
    merge, write, _ = lake.client.refs.log(lake.repository, "main")
    assert (merge.message, write.message) == ("Publish on_main", "Publish on_main")
    assert merge.metadata[SUMMARY_KEY] == "2 passed"
    (event,) = run.asset_materializations_for_node("on_main")
    assert event.tags["dagster/data_version"] == merge.id
    metadata = {key: value.value for key, value in event.metadata.items()}
    assert metadata["lakefs/commit_id"] == merge.id
    assert metadata["lakefs/published_assets"] == "north, south"
    assert metadata["lakefs/compare"] == lake.client.links.compare(lake.repository, f"{merge.id}~1", merge.id)
    assert "lakefs/unchanged_assets" not in metadata
    assert lake.branches == ["main"]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_failed_check_refuses(lake, resource, materialize, blocking):
    written = lake.asset()
    run = materialize([written, check(written, passed=False, blocking=blocking), lake.publication(written)], resource)
    assert not run.success
    assert lake.objects() == []
    branch = f"dagster-{run.run_id}"
    assert branch in lake.branches
    if not blocking:
        assert "check 'judged' of 'written' failed" in failure(run).error.message
        link = lake.client.links.compare(lake.repository, "main", branch)
        assert failure(run).user_failure_data.metadata["lakefs/compare"].value == link


def test_a_publication_waits_in_growing_pauses_and_says_for_what(lake, resource, materialize, mocker):
    class Clock:
        now, pauses = 0.0, ()

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now, self.pauses = self.now + seconds, (*self.pauses, seconds)

    written, messages, clock = lake.asset(), [], Clock()

    @dg.asset_check(asset=written)
    def endless(context) -> dg.AssetCheckResult:
        mocker.patch.object(history, "time", clock)
        address = f"lakefs://{lake.repository}/dagster-{context.run.run_id}"
        history.settled(context.instance, context.run, "on_main", address, messages.append)
        return dg.AssetCheckResult(passed=True)

    assert materialize([written, endless], resource).success
    assert messages == [
        "the publication waits up to 600 s for check 'endless' of 'written'",
        f"after {clock.now:.0f} s, the publication does not wait any longer for check 'endless' of 'written'",
    ]
    assert 600 < clock.now <= 610
    assert list(clock.pauses) == sorted(clock.pauses)
    assert (clock.pauses[0], clock.pauses[-1], len(clock.pauses) < 100) == (0.5, 10, True)


def test_a_conflict_is_not_retried(lake, resource, instance):
    @dg.asset
    def written(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, lake.repository)
        lake.client.objects.upload(lake.repository, branch.ensure(), "x", b"of the run")
        lake.client.objects.upload(lake.repository, "main", "x", b"of somebody else")
        lake.client.commits.create(lake.repository, "main", message="Somebody else")

    retries = dg.define_asset_job("retries", op_retry_policy=dg.RetryPolicy(max_retries=3))
    definitions = dg.Definitions([written, lake.publication(written)], jobs=[retries], resources={"lakefs": resource})
    run = definitions.resolve_job_def("retries").execute_in_process(instance=instance, raise_on_error=False)
    assert "launch a new run" in failure(run).error.message
    assert not [event for event in run.all_events if event.is_step_up_for_retry]


def test_several_repositories_in_one_run(lake, resource, materialize, lakefs_repository_factory):
    other = lakefs_repository_factory()
    here, there = lake.asset("here"), lake.asset("there", repository=other)
    on_main, on_other = lake.publication(here), lake.publication(there, name="on_other", repository=other)
    assert materialize([here, there, check(here), on_main, on_other], resource).success
    assert (lake.objects(), lake.objects(repository=other)) == (["here/here"], ["there/there"])
    spoiled = lake.asset("there", repository=other, content="bad")
    run = materialize([here, spoiled, check(spoiled, passed=False), on_main, on_other], resource)
    assert failure(run).error.message.count("check 'judged' of 'there' failed")
    assert [event.step_key for event in run.all_events if event.is_step_failure] == ["on_other"]


def test_assets_of_another_repository_are_not_called_unchanged(lake, resource, materialize, lakefs_repository_factory):
    here, there = lake.asset("here"), lake.asset("there", repository=lakefs_repository_factory())
    first = lake.publication(here, name="first")
    more = lake.asset("more", deps=[first])
    idle = dg.asset(name="idle")(lambda: None)
    run = materialize([here, there, first, more, idle, lake.publication(here, there, more, idle)], resource)
    (event,) = run.asset_materializations_for_node("on_main")
    assert event.metadata["lakefs/published_assets"].value == "more"
    assert event.metadata["lakefs/unchanged_assets"].value == "idle"


def test_a_repeated_publication_has_the_metadata_of_the_first(lake, resource, instance, mocker):
    mocker.patch.object(RunBranch, "_close", autospec=True, side_effect=[RuntimeError("killed"), None])
    written, idle = lake.asset(), dg.asset(name="idle")(lambda: None)
    retries = dg.define_asset_job("retries", op_retry_policy=dg.RetryPolicy(max_retries=1))
    definitions = dg.Definitions(
        [written, idle, lake.publication(written, idle)], jobs=[retries], resources={"lakefs": resource}
    )
    run = definitions.resolve_job_def("retries").execute_in_process(instance=instance)
    (event,) = run.asset_materializations_for_node("on_main")
    (merge,) = lake.merges()
    assert event.metadata["lakefs/commit_id"].value == merge.id
    assert event.metadata["lakefs/published_assets"].value == "written"
    assert event.metadata["lakefs/unchanged_assets"].value == "idle"


def test_in_an_environment_the_metadata_has_its_branch(lake, resource, materialize, instance):
    staging = resource.model_copy(update={"environment": "pr-7"})
    written = lake.asset()
    run = materialize([written, lake.publication(written)], staging)
    (event,) = run.asset_materializations_for_node("on_main")
    merge = lake.client.branches.get(lake.repository, "env-pr-7").commit_id
    assert event.metadata["lakefs/branch"].value == "env-pr-7"
    assert event.metadata["lakefs/commit_id"].value == merge
    messages = [each.user_message for each in instance.all_logs(run.run_id)]
    assert "published to 'env-pr-7': written" in messages

    @dg.op
    def write(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, lake.repository)
        lake.client.objects.upload(lake.repository, branch.ensure(), "op", b"good")

    publish = build_lakefs_publish_op(repository=lake.repository)

    @dg.job(resource_defs={"lakefs": staging})
    def ops():
        publish(after=[write()])

    run = ops.execute_in_process(instance=instance)
    (output,) = [each for each in run.all_node_events if each.is_successful_output and each.step_key == "publish"]
    metadata = output.step_output_data.metadata
    assert metadata["lakefs/branch"].value == "env-pr-7"
    assert metadata["lakefs/commit_id"].value == lake.client.branches.get(lake.repository, "env-pr-7").commit_id
    assert lake.objects() == []


def test_a_partial_run_says_what_it_publishes(lake, resource, materialize):
    first = lake.asset("first")
    second = lake.asset("second", deps=[first])
    assets = [first, check(first), second, check(second, name="also"), lake.publication(first, second)]
    assert materialize(assets, resource).success
    lake.client.objects.delete(lake.repository, "main", "second/second")
    lake.client.commits.create(lake.repository, "main", message="Delete")
    run = materialize(assets, resource, selection=["second", "on_main"])
    (event,) = run.asset_materializations_for_node("on_main")
    assert event.metadata["lakefs/published_assets"].value == "second"
    assert event.metadata["lakefs/unchanged_assets"].value == "first"
    assert lake.objects() == ["first/first", "second/second"]


def test_a_check_of_an_asset_without_an_output_is_no_pass(lake, resource, io_run, sentence):
    @dg.multi_asset(outs={name: dg.AssetOut(is_required=False) for name in ("first", "second")})
    def both():
        yield dg.Output(b"first", "first")

    judged = check("second")
    run = io_run(both, check("first"), judged, lake.publication("first"), resources={"lakefs": resource})
    assert "check 'judged' of 'second' was skipped, because 'second' had no output: yield one, with" in sentence(run)
    assert lake.objects() == []


def test_the_metadata_names_everything_that_is_published(lake, resource, io_run):
    @dg.multi_asset(outs={name: dg.AssetOut(metadata={"lakefs/format": "text"}) for name in ("first", "second")})
    def both():
        return "first", None

    extra = lake.asset("extra")
    idle = dg.asset(name="idle", deps=[extra])(lambda: None)
    on_main = lake.publication("first", "second", idle)
    run = io_run(both, extra, idle, on_main, check(extra), resources={"lakefs": resource})
    (event,) = run.asset_materializations_for_node("on_main")
    assert event.metadata["lakefs/published_assets"].value == "extra, first"
    assert lake.objects() == ["extra/extra", "first.txt"]


@pytest.mark.parametrize("if_nothing", ["fail", "skip", "succeed"])
def test_only_checks_and_the_publication(lake, resource, materialize, if_nothing):
    written = lake.asset()
    on_main = lake.publication(written, if_nothing=if_nothing)
    below = dg.asset(name="below", deps=[on_main])(lambda: None)
    selection = dg.AssetSelection.assets(on_main, below) | dg.AssetSelection.all_asset_checks()
    run = materialize([written, check(written), on_main, below], resource, selection=selection)
    assert run.success == (if_nothing != "fail")
    if if_nothing == "fail":
        assert "nothing to publish" in failure(run).error.message
    materializations = run.asset_materializations_for_node("on_main")
    head = lake.client.branches.get(lake.repository, "main").commit_id
    versions = [each.tags["dagster/data_version"] for each in materializations]
    assert versions == ([head] if if_nothing == "succeed" else [])
    assert not any("lakefs/compare" in each.metadata for each in materializations)
    assert bool(run.asset_materializations_for_node("below")) == (if_nothing == "succeed")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"if_nothing": "succed"}, "if_nothing must be one of"), ({"strategy": "ours"}, "strategy must be one of")],
)
def test_a_misspelled_choice_is_refused_at_once(lake, resource, wrong, message):
    for build in (
        lambda: lake.publication(**wrong),
        lambda: build_lakefs_publish_op(repository=lake.repository, **wrong),
        lambda: build_lakefs_definitions(assets=[], repository=lake.repository, publish="on_main", **wrong),
        lambda: resource.run_branch(dg.build_asset_context(), lake.repository).publish("Publish", **wrong),
    ):
        with pytest.raises(InvalidArgument, match=message):
            build()


FACTORIES = {
    "publish asset": lambda **names: build_lakefs_publish_asset(name="on_main", deps=[], **names),
    "publish op": build_lakefs_publish_op,
    "definitions": lambda **names: build_lakefs_definitions(assets=[], publish="on_main", **names),
    "backfill sensor": lambda **names: build_lakefs_backfill_sensor(publication="on_main", **names),
    "sweeper": build_lakefs_sweeper,
    "checks": lambda repository, base="main": build_lakefs_checks("daily", [len], repository=repository, base=base),
    "source": lambda repository, base="main": build_lakefs_observable_source(
        key="x", repository=repository, branch=base
    ),
    "commits": lambda repository, base="main": build_lakefs_commit_sensor(name="x", repository=repository, branch=base),
    "object": lambda repository, base="main": build_lakefs_object_sensor(
        name="x", repository=repository, branch=base, path="x"
    ),
}


@pytest.mark.parametrize("factory", FACTORIES)
def test_names_are_refused_when_the_definitions_are_loaded(factory):
    for wrong in ("", " ", None):
        with pytest.raises(InvalidArgument, match=f"repository must be a name, got {wrong!r}"):
            FACTORIES[factory](repository=wrong)
        with pytest.raises(InvalidArgument, match=f"(base|branch) must be a name, got {wrong!r}"):
            FACTORIES[factory](repository="lake", base=wrong)
    with pytest.raises(InvalidArgument, match=r"use EnvVar\('LAKE'\).get_value\(\) instead of the EnvVar"):
        FACTORIES[factory](repository=dg.EnvVar("LAKE"))


def test_one_asset_instead_of_a_list_is_refused(lake):
    for wrong in ("daily", lake.asset()):
        with pytest.raises(InvalidArgument, match=r"deps must be a list of assets, such as \[daily\], not a"):
            build_lakefs_publish_asset(name="on_main", deps=wrong, repository=lake.repository)


@pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")
def test_a_partition_and_a_range_of_partitions(lake, resource, materialize):
    many = {"partitions_def": DAYS, "backfill_policy": dg.BackfillPolicy.single_run()}
    written = lake.asset(**many)
    assets = [written, check(written), lake.publication(written, **many)]
    run = materialize(assets, resource, partition_key="day-7")
    assert run.asset_materializations_for_node("on_main")[0].partition == "day-7"
    assert lake.merges()[0].message == "Publish on_main day-7"
    tags = {"dagster/asset_partition_range_start": "day-1", "dagster/asset_partition_range_end": "day-3"}
    run = materialize(assets, resource, tags=tags)
    days = {event.partition for event in run.asset_materializations_for_node("on_main")}
    assert days == {"day-1", "day-2", "day-3"}
    assert lake.objects() == ["written/day-1", "written/day-2", "written/day-3", "written/day-7"]
    assert [merge.message for merge in lake.merges()] == ["Publish on_main day-1...day-3", "Publish on_main day-7"]


def test_a_publication_of_another_base_names_the_branch_that_the_run_has(lake, resource, materialize, sentence):
    written = lake.asset()
    run = materialize([written, lake.publication(written, base="dev")], resource)
    assert not run.success
    address = f"lakefs://{lake.repository}/dagster-{run.run_id}"
    assert f"no asset of this run has written to it; the run has written to {address}: publish that" in sentence(run)
    alone = materialize([written, lake.publication(written)], resource, selection=["on_main"])
    assert f"run {run.run_id} has written 'written', which is only on branch" in sentence(alone)


@pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")
def test_partitions_and_backfill_policy_are_those_of_the_dependencies(lake):
    policy = dg.BackfillPolicy.single_run()
    days, more = (lake.asset(name, partitions_def=DAYS, backfill_policy=policy) for name in ("days", "more"))
    plain, spec = lake.asset("plain"), dg.AssetSpec("spec", partitions_def=DAYS)
    weeks = lake.asset("weeks", partitions_def=dg.StaticPartitionsDefinition(["week-1"]))
    for deps, expected in (
        ([days, more], (DAYS, policy)),
        ([days, spec], (DAYS, None)),
        ([days, plain], (None, None)),
        ([days, weeks], (None, None)),
        ([days, "more"], (None, None)),
        ([plain], (None, None)),
    ):
        publication = lake.publication(*deps)
        assert (publication.partitions_def, publication.backfill_policy) == expected


def test_all_definitions_from_one_call(lake, resource, instance):
    days, source = lake.asset(partitions_def=DAYS), dg.AssetSpec("source")

    @dg.asset(partitions_def=DAYS, metadata={"lakefs/path": "text/{partition}.txt", "lakefs/format": "text"})
    def text() -> str:
        return "good"

    defs = build_lakefs_definitions(
        assets=[days, text, source], asset_checks=[check(days)], repository=lake.repository, publish="on_main",
        lakefs=resource, message="Everything",
    )  # fmt: skip
    job = defs.resolve_implicit_global_asset_job_def()
    run = job.execute_in_process(instance=instance, partition_key="day-3")
    assert run.success
    assert [merge.message for merge in lake.merges()] == ["Everything"]
    assert lake.objects() == ["text/day-3.txt", "written/day-3"]
    assert run.asset_materializations_for_node("on_main")[0].partition == "day-3"


def test_a_backfill_with_8_runs_at_once(lake, resource):
    written = lake.asset(partitions_def=DAYS)
    assets = [written, check(written, blocking=True), lake.publication(written, partitions_def=DAYS)]
    days = DAYS.get_partition_keys()[: int(os.environ.get("LAKEFS_OPS_PARTITIONS", "16"))]

    def publish(part):
        own = {"lakefs": resource.model_copy()}
        with dg.DagsterInstance.ephemeral() as instance:
            return [dg.materialize(assets, instance=instance, resources=own, partition_key=day).success for day in part]

    with ThreadPoolExecutor(8) as pool:
        assert all(all(each) for each in pool.map(publish, [days[thread::8] for thread in range(8)]))
    assert lake.objects() == sorted(f"written/{day}" for day in days)
    assert len(lake.merges()) == len(days)
    assert lake.branches == ["main"]


def test_an_op_publishes_a_job(lake, resource, instance):
    def writing(name):
        @dg.op(name=name)
        def write(context, lakefs: LakeFSResource) -> None:
            branch = lakefs.run_branch(context, lake.repository)
            lake.client.objects.upload(lake.repository, branch.ensure(), name, b"good")

        return write

    publish, north, south = build_lakefs_publish_op(repository=lake.repository), writing("north"), writing("south")

    @dg.job(resource_defs={"lakefs": resource})
    def ops():
        publish(after=[north(), south()])

    run = ops.execute_in_process(instance=instance)
    assert run.output_for_node("publish") == lake.merges()[0].id
    assert lake.objects() == ["north", "south"]


def test_a_green_run_that_nobody_published_is_reported(lake, resource, materialize, instance):
    written = lake.asset()
    run = materialize([written, check(written)], resource)
    assert run.success
    address = f"lakefs://{lake.repository}/dagster-{run.run_id}"
    stored = instance.get_run_by_id(run.run_id)
    assert stored.tags[UNPUBLISHED_TAG] == address
    messages = [event.user_message for event in instance.all_logs(run.run_id) if event.level == 30]
    assert any(f"the data is only on {address}, which is kept" in message for message in messages)
    event = next(event for event in run.all_events if event.event_type == dg.DagsterEventType.RUN_SUCCESS)
    with dg.build_run_status_sensor_context(
        sensor_name="x", dagster_instance=instance, dagster_run=stored, dagster_event=event
    ) as context:
        with pytest.raises(dg.Failure, match=f"nothing has published what it wrote: the data is only on {address}"):
            build_lakefs_unpublished_sensor()(context)
        seen = []
        build_lakefs_unpublished_sensor(on_unpublished=lambda context, found: seen.append(found))(context)
    assert seen == [{address: ["written"]}]


def test_a_published_or_failed_run_is_not_reported(lake, resource, materialize, instance):
    written = lake.asset()
    published = materialize([written, lake.publication(written)], resource)
    failed = materialize([written, check(written, passed=False, blocking=True), lake.publication(written)], resource)
    for run in (published, failed):
        assert UNPUBLISHED_TAG not in instance.get_run_by_id(run.run_id).tags


def test_a_run_is_reported_before_dagster_has_skipped_the_publication(lake, resource, instance):
    """As from the process of its last step, with the multiprocess executor."""
    written, found = lake.asset(), {}

    @dg.asset(deps=[written], output_required=False)
    def optional():
        yield from ()

    @dg.success_hook
    def report(context: dg.HookContext) -> None:
        run = context.instance.get_run_by_id(context.run_id)
        found[context.step_key] = history.report_unpublished(context.instance, run)

    job = dg.define_asset_job("skipped", hooks={report})
    assets = [written, optional, lake.publication(written, optional)]
    definitions = dg.Definitions(assets, jobs=[job], resources={"lakefs": resource})
    run = definitions.resolve_job_def("skipped").execute_in_process(instance=instance)
    address = f"lakefs://{lake.repository}/dagster-{run.run_id}"
    assert found == {"written": {}, "optional": {address: ["written"]}}


def test_a_run_with_dynamic_outputs_is_reported(lake, resource, instance):
    @dg.op(out=dg.DynamicOut())
    def keys():
        yield dg.DynamicOutput("a", mapping_key="a")

    @dg.op
    def write(context, lakefs: LakeFSResource, key: str) -> None:
        branch = lakefs.run_branch(context, lake.repository).ensure()
        lake.client.objects.upload(lake.repository, branch, key, b"good")

    @dg.job(resource_defs={"lakefs": resource})
    def mapped():
        keys().map(write)

    run = mapped.execute_in_process(instance=instance)
    assert UNPUBLISHED_TAG in instance.get_run_by_id(run.run_id).tags


@pytest.mark.parametrize("checked", [False, True])
def test_the_requests_of_a_publication(lake, resource, materialize, lakefs, checked):
    written = lake.asset()

    def readable(data):
        return bool(data.read("written/written"))

    checks = [build_lakefs_checks(written, [readable], repository=lake.repository)] if checked else []

    def requests(*assets):
        lakefs.faults.clear()
        assert materialize([written, *checks, *assets], resource).success
        return lakefs.faults.calls

    before = requests()
    assert requests(lake.publication(written)) - before == {
        "getBranch": 1,
        "diffBranch": 1,
        "commit": 1,
        "findMergeBase": 1 + checked,
        "diffRefs": 6 + checked,
        "mergeIntoBranch": 1,
        "deleteBranch": 1,
    }
