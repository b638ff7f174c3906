"""Sensors: one run for each change, whatever happens between two ticks, and none for what was there before."""

import json
from datetime import UTC, datetime

import dagster as dg
import pytest

from dagster_resources import (
    LakeFSPartitions,
    LakeFSResource,
    build_lakefs_commit_sensor,
    build_lakefs_object_sensor,
    build_lakefs_pull_request_sensor,
    build_lakefs_tag_sensor,
)
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.local.faults import Fault

DAYS = dg.DailyPartitionsDefinition(start_date="2015-01-01")
STATIONS = dg.DynamicPartitionsDefinition(name="stations_of_sensors")
TODAY = datetime.now(UTC).strftime("%Y-%m-%d")


@dg.asset
def report() -> None: ...


@dg.asset(partitions_def=DAYS)
def daily() -> None: ...


@dg.asset(partitions_def=STATIONS)
def station() -> None: ...


@dg.asset(partitions_def=dg.MultiPartitionsDefinition({"day": DAYS, "station": STATIONS}))
def grid() -> None: ...


class Ticks:
    """Evaluates a sensor as Dagster's daemon does, with the cursor of the last tick."""

    def __init__(self, sensor, resource, instance):
        assets = [report, daily, station, grid]
        self.definitions = dg.Definitions(assets, sensors=[sensor], resources={"lakefs": resource})
        self.sensor, self.instance, self.cursor, self.keys = sensor, instance, None, set()
        self.resource, self.skipped = resource, None

    def __call__(self):
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursor,
            definitions=self.definitions,
            resources={"lakefs": self.resource},
        ) as context:
            result = self.sensor.evaluate_tick(context)
        self.cursor, self.skipped = result.cursor, result.skip_message
        for request in result.dynamic_partitions_requests:
            self.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        new = [request for request in result.run_requests or [] if request.run_key not in self.keys]
        self.keys |= {request.run_key for request in new}
        return new

    def partitions(self):
        return sorted(request.tags.get("dagster/partition") for request in self())


@pytest.fixture
def ticks(resource, instance):
    def ticks(sensor, lakefs=resource):
        return Ticks(sensor, lakefs, instance)

    return ticks


@pytest.fixture
def commit(lakefs, lakefs_repository):
    def commit(*paths, branch="main", message="change", deleted=(), **metadata):
        for path in paths:
            lakefs.client.objects.upload(lakefs_repository, branch, path, path.encode() + str(next(numbers)).encode())
        for path in deleted:
            lakefs.client.objects.delete(lakefs_repository, branch, path)
        return lakefs.client.commits.create(
            lakefs_repository, branch, message=message, metadata=metadata or None, allow_empty=not (paths or deleted)
        ).id

    numbers = iter(range(1000))
    return commit


def commits(requests):
    return [request.tags["lakefs/commit_id"] for request in requests]


def test_one_run_for_each_commit_after_the_first_tick(ticks, commit, lakefs_repository):
    tick = ticks(build_lakefs_commit_sensor(name="s", repository=lakefs_repository, target=[report]))
    commit("a")
    assert tick() == []
    assert tick.skipped.startswith("waiting for a commit on 'main' of")
    new = [commit("a"), commit("b"), commit()]
    requests = tick()
    assert commits(requests) == new
    assert {request.tags["lakefs/ref"] for request in requests} == {"main"}
    assert {request.tags["lakefs/repository"] for request in requests} == {lakefs_repository}
    assert tick() == []
    tick.cursor = None
    assert tick() + tick() == []


def test_filters(ticks, commit, lakefs, lakefs_repository):
    tick = ticks(
        build_lakefs_commit_sensor(
            name="s", repository=lakefs_repository, target=[report], message="^daily", prefix="d/", metadata={"k": "v"}
        )
    )
    tick()
    commit("d/1", message="daily"), commit("d/2", message="x", k="v"), commit("e", message="daily", k="v")
    assert tick() == []
    wanted = commit("d/3", message="daily load", k="v")
    commit("e")
    assert commits(tick()) == [wanted]
    assert tick() == []


def test_a_tick_requests_a_limited_number_of_runs_and_the_next_one_continues(ticks, commit, lakefs_repository):
    sensor = build_lakefs_commit_sensor(name="s", repository=lakefs_repository, target=[report], max_runs=2)
    tick = ticks(sensor)
    tick()
    new = [commit("a") for _ in range(5)]
    assert [commits(tick()) for _ in range(4)] == [new[:2], new[2:4], new[4:], []]


def test_where_to_start(ticks, commit, lakefs, lakefs_repository):
    first, second, third = commit("a"), commit("b"), commit("c")
    root = lakefs.client.commits.get(lakefs_repository, f"{first}~1").id
    for start, expected in [("beginning", [root, first, second, third]), (first, [second, third]), ("main~1", [third])]:
        sensor = build_lakefs_commit_sensor(name="s", repository=lakefs_repository, target=[report], start=start)
        tick = ticks(sensor)
        assert commits(tick()) == expected
        assert tick() == []
    tick.cursor, tick.keys = second, set()  # as somebody sets it in Dagster's UI
    assert commits(tick()) == [third]
    tick.cursor = "no-such-commit"
    with pytest.raises(InvalidArgument, match="has no such commit"):
        tick()


def test_a_branch_that_does_not_exist_yet_a_reset_and_another_branch_in_the_cursor(
    ticks, commit, lakefs, lakefs_repository
):
    sensor = build_lakefs_commit_sensor(name="s", repository=lakefs_repository, branch="dev", target=[report])
    tick = ticks(sensor)
    for _ in range(2):
        assert tick() == []
        assert tick.skipped.endswith("does not exist yet")
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    created = commit("b", branch="dev")
    assert commits(tick())[-1] == created
    lakefs.client.branches.hard_reset(lakefs_repository, "dev", ref="main")
    assert tick() == []
    again = commit("c", branch="dev")
    assert commits(tick()) == [again]

    moved = ticks(build_lakefs_commit_sensor(name="s", repository=lakefs_repository, target=[report]))
    moved.cursor = tick.cursor
    assert moved() == []
    new = commit("d")
    assert commits(moved()) == [new]


def test_an_outage_is_a_skipped_tick_that_loses_nothing(ticks, commit, lakefs, lakefs_repository, restartable):
    sensor = build_lakefs_commit_sensor(name="s", repository="lake", target=[report])
    keys = {"access_key_id": lakefs.access_key_id, "secret_access_key": lakefs.secret_access_key}
    tick = ticks(sensor, LakeFSResource(endpoint=restartable.endpoint, **keys))
    tick()
    new = restartable.commit("main")
    cursor = tick.cursor
    restartable.stop()
    for _ in range(2):
        assert tick() == []
        assert tick.skipped.startswith("lakeFS cannot be reached, the next tick tries again: ")
        assert tick.cursor == cursor
    restartable.start()
    assert commits(tick()) == [new]


def test_an_error_of_the_server_or_a_wrong_repository_is_a_skipped_tick_with_a_reason(ticks, lakefs, lakefs_repository):
    tick = ticks(build_lakefs_commit_sensor(name="s", repository=lakefs_repository, target=[report]))
    lakefs.faults.add(Fault("getBranch", status=503, times=2, where={"repository": lakefs_repository}))
    assert tick() == []
    assert "503" in tick.skipped
    assert tick() == []
    assert tick.skipped.startswith("waiting for a commit on")
    wrong = ticks(build_lakefs_commit_sensor(name="s", repository="no-such-repository", target=[report]))
    assert wrong() == []
    assert wrong.skipped == "branch 'main' of 'no-such-repository' does not exist yet"


# partitions ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def days(ticks, lakefs_repository):
    def days(**options):
        partitions = LakeFSPartitions(DAYS, "d/{day}.csv")
        return ticks(
            build_lakefs_commit_sensor(
                name="s", repository=lakefs_repository, target=[daily], partitions=partitions, **options
            )
        )

    return days


def test_one_run_for_each_partition_that_changed_and_a_revert_runs_exactly_these(
    days, commit, lakefs, lakefs_repository
):
    tick = days()
    commit("d/2015-01-01.csv", "d/2015-01-02.csv")
    assert tick.partitions() == []
    commit("d/2015-01-02.csv", "d/2015-01-03.csv", "other.csv", "d/readme.csv", "d/2014-01-01.csv")
    last = commit("d/2015-01-03.csv", "d/2015-01-04.csv")
    requests = tick()
    assert [request.tags["dagster/partition"] for request in requests] == ["2015-01-02", "2015-01-03", "2015-01-04"]
    assert set(commits(requests)) == {last}
    assert tick.partitions() == []
    lakefs.client.branches.revert(lakefs_repository, "main", ref=last, parent_number=1)
    requests = tick()
    assert {request.tags["dagster/partition"]: request.tags.get("lakefs/removed") for request in requests} == {
        "2015-01-03": None,
        "2015-01-04": "true",
    }
    commit("d/2015-01-01.csv")
    lakefs.client.branches.revert(lakefs_repository, "main", ref="main", parent_number=1)
    assert tick.partitions() == []
    lakefs.client.branches.hard_reset(lakefs_repository, "main", ref=last)
    assert tick.partitions() == ["2015-01-03", "2015-01-04"]
    lakefs.client.branches.hard_reset(lakefs_repository, "main", ref=f"{last}~1")
    assert tick.partitions() == ["2015-01-03", "2015-01-04"]
    lakefs.client.branches.hard_reset(lakefs_repository, "main", ref=last)
    assert tick.partitions() == ["2015-01-03", "2015-01-04"]


def test_365_days_and_a_commit_of_3_are_3_runs_and_a_revert_too(days, commit, lakefs, lakefs_repository):
    year = [f"d/{day}.csv" for day in DAYS.get_partition_keys()[:365]]
    commit(*year)
    tick = days()
    tick()
    three = ["2015-01-17", "2015-04-10", "2015-12-31"]
    made = commit("readme.md", *(f"d/{day}.csv" for day in three))
    assert tick.partitions() == three
    lakefs.client.branches.revert(lakefs_repository, "main", ref=made, parent_number=1)
    assert tick.partitions() == three
    assert tick.partitions() == []


def test_removed_partitions_can_be_left_out(days, commit):
    tick = days(run_removed=False)
    commit("d/2015-01-01.csv", "d/2015-01-02.csv")
    tick()
    commit("d/2015-01-02.csv", deleted=["d/2015-01-01.csv"])
    assert tick.partitions() == ["2015-01-02"]


def test_partitions_of_the_commits_that_match(days, commit):
    tick = days(metadata={"quality": "good"})
    tick()
    commit("d/2015-01-01.csv", quality="good"), commit("d/2015-01-02.csv"), commit("d/2015-01-03.csv", quality="good")
    assert tick.partitions() == ["2015-01-01", "2015-01-03"]
    assert tick.partitions() == []


def test_everything_at_the_beginning_in_ticks_of_limited_size(days, commit):
    commit("d/2015-01-01.csv", "d/2015-01-02.csv"), commit("d/2015-01-03.csv")
    tick = days(start="beginning", max_runs=2)
    assert [tick.partitions() for _ in range(3)] == [["2015-01-01", "2015-01-02"], ["2015-01-03"], []]


def test_a_partition_that_has_not_ended_runs_when_it_exists(days, commit, ticks, lakefs_repository):
    tick = days()
    tick()
    commit(f"d/{TODAY}.csv", "d/2015-01-01.csv", "d/2014-12-31.csv")
    assert tick.partitions() == ["2015-01-01"]
    assert list(json.loads(tick.cursor)["pending"]) == [TODAY]
    assert tick.partitions() == []
    tomorrow = dg.DailyPartitionsDefinition(start_date="2015-01-01", end_offset=1)  # as if the day had ended

    @dg.asset(partitions_def=tomorrow)
    def tomorrows() -> None: ...

    later = build_lakefs_commit_sensor(
        name="s", repository=lakefs_repository, target=[tomorrows], partitions=LakeFSPartitions(tomorrow, "d/{day}.csv")
    )
    ended = ticks(later)
    ended.definitions = dg.Definitions([tomorrows], sensors=[later], resources={"lakefs": ended.resource})
    ended.cursor = tick.cursor
    assert ended.partitions() == [TODAY]
    assert ended.partitions() == []


@pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")  # Dagster's own tags of two dimensions
def test_dynamic_and_several_dimensions(ticks, commit, lakefs_repository, instance, monkeypatch):
    # Without a reference to a stored instance, Dagster's context ignores the dynamic partitions of the ephemeral one.
    stored = property(lambda context: context.instance)
    monkeypatch.setattr(dg.SensorEvaluationContext, "caching_dynamic_partitions_loader", stored)
    partitions = LakeFSPartitions(STATIONS, "s/{station}/")
    tick = ticks(
        build_lakefs_commit_sensor(name="s", repository=lakefs_repository, target=[station], partitions=partitions)
    )
    tick()
    commit("s/7/a", "s/7/b", "s/8%2F9/a", "s/no%09tab/a")
    assert tick.partitions() == ["7", "8/9"]
    assert set(instance.get_dynamic_partitions("stations_of_sensors")) >= {"7", "8/9"}
    commit(deleted=["s/7/a", "s/7/b"])
    assert tick.partitions() == ["7"]

    definition = dg.MultiPartitionsDefinition({"day": DAYS, "station": STATIONS})
    tick = ticks(
        build_lakefs_commit_sensor(
            name="s", repository=lakefs_repository, target=[grid],
            partitions=LakeFSPartitions(definition, "g/{station}/{day}.csv"),
        )
    )  # fmt: skip
    tick()
    commit("g/10/2015-01-01.csv", "g/10/2015-01-02.csv", "g/7/2015-01-02.csv", "g/8|9/2015-01-02.csv")
    requests = tick()
    assert sorted(request.partition_key for request in requests) == ["2015-01-01|10", "2015-01-02|10", "2015-01-02|7"]
    assert requests[0].tags["dagster/partition/station"] == "10"


def test_a_new_branch_is_all_new(ticks, commit, lakefs, lakefs_repository):
    sensor = build_lakefs_commit_sensor(
        name="s", repository=lakefs_repository, branch="dev", target=[daily],
        partitions=LakeFSPartitions(DAYS, "d/{day}.csv"),
    )  # fmt: skip
    tick = ticks(sensor)
    tick()
    commit("d/2015-01-01.csv")
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    commit("d/2015-01-02.csv", branch="dev")
    assert tick.partitions() == ["2015-01-01", "2015-01-02"]


@pytest.mark.parametrize("filters", [{}, {"prefix": "d/"}])
def test_a_ref_to_start_after_is_resolved_by_the_first_tick(days, commit, lakefs, lakefs_repository, filters):
    """Also if the branch is created after the ref has moved."""
    commit("d/2015-01-01.csv")
    tick = days(branch="dev", start="main", **filters)
    assert tick() == []
    commit("d/2015-01-02.csv")
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    assert tick.partitions() == ["2015-01-02"]


@pytest.mark.parametrize("cursor", ["None", "null", "-7", '{"after": 7}', '{"after": " "}', "no-such-ref"])
@pytest.mark.parametrize("branch", ["main", "dev"])
def test_a_cursor_that_is_not_a_commit_is_refused(days, ticks, commit, lakefs_repository, cursor, branch):
    options = {"name": "s", "repository": lakefs_repository, "branch": branch, "target": [report]}
    for tick in (days(branch=branch), ticks(build_lakefs_commit_sensor(**options))):
        tick.cursor = cursor
        with pytest.raises(InvalidArgument, match="after"):
            tick()


# objects, tags, pull requests ---------------------------------------------------------------------------------------


def test_one_run_each_time_an_object_is_written(ticks, lakefs, lakefs_repository):
    def write(content):
        lakefs.client.objects.upload(lakefs_repository, "main", "a.csv", content)

    tick = ticks(build_lakefs_object_sensor(name="s", repository=lakefs_repository, path="a.csv", target=[report]))
    assert tick() == []
    write(b"1")
    (request,) = tick()
    assert request.tags["lakefs/path"] == "a.csv"
    assert tick() == []
    write(b"2")
    assert len(tick()) == 1
    lakefs.client.objects.delete(lakefs_repository, "main", "a.csv")
    assert tick() == []
    assert "does not exist" in tick.skipped
    write(b"2")
    assert len(tick()) == 1
    sensor = build_lakefs_object_sensor(name="s", repository=lakefs_repository, path="a.csv", target=[report])
    assert ticks(sensor)() == []


def test_one_run_for_each_new_tag(ticks, commit, lakefs, lakefs_repository):
    def tag(name, ref="main"):
        return lakefs.client.tags.create(lakefs_repository, id=name, ref=ref).commit_id

    tag("r-0")
    options = {"repository": lakefs_repository, "prefix": "r-", "target": [report], "max_runs": 2}
    tick = ticks(build_lakefs_tag_sensor(name="s", **options))
    assert tick() == []
    expected = [tag("r-2"), tag("r-1"), tag("r-3"), tag("x-1")]
    requests = [tick(), tick(), tick()]
    assert [[request.tags["lakefs/ref"] for request in each] for each in requests] == [["r-1", "r-2"], ["r-3"], []]
    assert commits(requests[0]) == expected[:2]
    lakefs.client.tags.delete(lakefs_repository, "r-0")
    commit("a")
    tag("r-0")
    assert [request.tags["lakefs/ref"] for request in tick()] == ["r-0"]
    for ref in ("main~1", "main", "main~1"):  # Dagster would skip a run with a key that another run had
        lakefs.client.tags.delete(lakefs_repository, "r-0")
        tag("r-0", ref)
        assert [request.tags["lakefs/ref"] for request in tick()] == ["r-0"]
    assert len(ticks(build_lakefs_tag_sensor(name="s", start="beginning", **options))()) == 2


def test_one_run_for_each_pull_request_that_gets_a_status(ticks, commit, lakefs, lakefs_repository):
    client = lakefs.client

    def open_pull(branch):
        client.branches.create(lakefs_repository, name=branch, source="main")
        commit(f"{branch}.csv", branch=branch)
        return client.pulls.create(lakefs_repository, title=branch, source_branch=branch, destination_branch="main").id

    def sensor(status):
        return ticks(
            build_lakefs_pull_request_sensor(
                name="s", repository=lakefs_repository, status=status, target=[report], destination_branch="main"
            )
        )

    before = open_pull("a")
    ticking = {status: sensor(status) for status in ("open", "merged", "closed")}
    assert [tick() for tick in ticking.values()] == [[], [], []]
    merge = client.pulls.merge(lakefs_repository, before).reference
    (request,) = ticking["merged"]()
    assert (request.tags["lakefs/pull_request"], request.tags["lakefs/commit_id"]) == (before, merge)
    assert request.tags["lakefs/source_branch"] == "a"
    new = open_pull("b")
    assert [request.tags["lakefs/pull_request"] for request in ticking["open"]()] == [new]
    client.pulls.update(lakefs_repository, new, status="closed")
    assert [request.tags["lakefs/pull_request"] for request in ticking["closed"]()] == [new]
    assert [tick() for tick in ticking.values()] == [[], [], []]
    for status in ("open", "closed"):
        client.pulls.update(lakefs_repository, new, status=status)
        assert {name: len(tick()) for name, tick in ticking.items()} == {"open": 0, "merged": 0, "closed": 0} | {
            status: 1
        }


@pytest.mark.parametrize("start", ["now", "beginning"])
def test_a_cursor_that_no_tick_of_the_sensor_stored(ticks, commit, lakefs, lakefs_repository, start):
    client, options = lakefs.client, {"name": "s", "repository": lakefs_repository, "target": [report], "start": start}
    commit("a")
    client.tags.create(lakefs_repository, id="old", ref="main")
    client.branches.create(lakefs_repository, name="dev", source="main")
    commit("b", branch="dev")
    client.pulls.create(lakefs_repository, title="old", source_branch="dev", destination_branch="main")
    on_dev = build_lakefs_pull_request_sensor(destination_branch="dev", status="open", **options)
    others = [
        build_lakefs_object_sensor(path="a", **options),
        build_lakefs_tag_sensor(**options),
        build_lakefs_pull_request_sensor(status="open", destination_branch="main", **options),
    ]
    of_commits = ticks(build_lakefs_commit_sensor(**options))
    of_commits()
    cursors = [of_commits.cursor]
    for sensor in (*others, on_dev):
        tick = ticks(sensor)
        tick()
        cursors.append(tick.cursor)
    for number, sensor in enumerate(others, start=1):
        tick = ticks(sensor)
        for cursor in ("main", json.dumps({"after": "main"})):
            tick.cursor = cursor
            with pytest.raises(InvalidArgument, match="cursor 'main' is a commit or ref, and only the commit sensor"):
                tick()
        for cursor in (*cursors[:number], *cursors[number + 1 :], "{}"):
            tick.cursor, tick.keys = cursor, set()
            assert len(tick()) == (start == "beginning")
            assert tick() == []
    everything = 2 if start == "beginning" else 0
    for cursor in (*cursors[1:], "{}"):
        of_commits.cursor, of_commits.keys = cursor, set()
        assert len(of_commits()) == everything
        new = commit("c")
        assert commits(of_commits()) == [new]
        everything += everything and 1


# options ------------------------------------------------------------------------------------------------------------


def test_the_run_request_is_the_users_own_with_the_key_and_the_tags_of_the_change(ticks, commit, lakefs_repository):
    def request(change):
        return dg.RunRequest(run_config={"ref": change.commit_id}, tags={"team": "weather"}, run_key="mine")

    sensor = build_lakefs_commit_sensor(name="s", repository=lakefs_repository, target=[report], request=request)
    tick = ticks(sensor)
    tick()
    new = commit("a")
    (found,) = tick()
    assert found.run_config == {"ref": new}
    assert found.run_key == f"{lakefs_repository}/main/{new}"
    assert found.tags["team"] == "weather"
    assert found.tags["lakefs/commit_id"] == new


def test_an_environment_watches_its_own_branch(ticks, resource, commit, lakefs, lakefs_repository):
    sensor = build_lakefs_commit_sensor(name="s", repository=lakefs_repository, target=[report])
    staging = resource.model_copy(update={"environment": "staging"})
    tick = ticks(sensor, staging)
    assert tick() == []
    commit("a")
    own = commit("b", branch="env-staging")
    requests = tick()
    assert commits(requests) == [own]
    assert requests[0].tags["lakefs/ref"] == "env-staging"
    staging.get_client().close()


def test_options_of_the_sensor(resource, lakefs_repository):
    job = dg.define_asset_job("reports", [report])
    sensors = [
        build_lakefs_commit_sensor(name="a", repository=lakefs_repository, target=job, resource_key="lake"),
        build_lakefs_tag_sensor(
            name="b",
            repository=lakefs_repository,
            target=dg.AssetSelection.assets("report"),
            resource_key="lake",
            minimum_interval_seconds=5,
            default_status=dg.DefaultSensorStatus.RUNNING,
            description="Tags.",
        ),
    ]
    definitions = dg.Definitions([report], jobs=[job], sensors=sensors, resources={"lake": resource})
    dg.Definitions.validate_loadable(definitions)
    assert sensors[1].minimum_interval_seconds == 5
    assert sensors[1].description == "Tags."
    assert sensors[0].description == f"Commits on 'main' of the lakeFS repository {lakefs_repository!r}."
