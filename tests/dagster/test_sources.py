"""Observable sources: the data version changes with the content, and only then."""

import dagster as dg
import pytest
from dagster._core.definitions.observe import observe as observe_assets

from dagster_resources import LakeFSPartitions, build_lakefs_observable_source

DAYS = dg.DailyPartitionsDefinition(start_date="2015-01-01")
STATIONS = dg.DynamicPartitionsDefinition(name="stations_of_sources")


@pytest.fixture
def commit(lakefs, lakefs_repository):
    def commit(*paths, deleted=(), branch="main"):
        for path in paths:
            lakefs.client.objects.upload(lakefs_repository, branch, path, str(next(numbers)).encode())
        for path in deleted:
            lakefs.client.objects.delete(lakefs_repository, branch, path)
        return lakefs.client.commits.create(lakefs_repository, branch, message="change").id

    numbers = iter(range(1000))
    return commit


@pytest.fixture
def observe(resource, instance):
    def observe(source, lakefs=resource):
        assert observe_assets([source], resources={"lakefs": lakefs}, instance=instance).success

    return observe


@pytest.fixture
def versions(instance, observe):
    """Observes a source, and returns the data versions that changed: that of the source, or those of the partitions."""

    def versions(source, **options):
        before = len(instance.fetch_observations(source.key, limit=1000).records)
        observe(source, **options)
        records = instance.fetch_observations(source.key, limit=1000).records
        new = [record.asset_observation for record in records[: len(records) - before]]
        return {event.partition: event.tags["dagster/data_version"] for event in new}

    return versions


def test_the_version_of_a_prefix_is_the_commit_since_which_it_is_unchanged(
    versions, commit, lakefs, lakefs_repository, instance
):
    source = build_lakefs_observable_source(key="prefix", repository=lakefs_repository, prefix="a/")
    first = commit("a/1", "b/1")
    assert versions(source) == {None: first}
    commit("b/1")
    lakefs.client.objects.upload(lakefs_repository, "main", "a/2", b"not committed")
    assert versions(source) == {None: first}
    second = commit("a/1")
    assert versions(source) == {None: second}
    lakefs.client.branches.revert(lakefs_repository, "main", ref=second, parent_number=1)
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    assert versions(source) == {None: head}
    (record,) = instance.fetch_observations(source.key, limit=1).records
    metadata = record.asset_observation.metadata
    assert metadata["lakefs/commit_id"].value == head
    assert metadata["lakefs/commit"].value == lakefs.client.links.commit(lakefs_repository, head)


def test_another_repository_starts_over(versions, commit, lakefs_repository, lakefs_repository_factory, lakefs):
    commit("a/1")
    versions(build_lakefs_observable_source(key="moved", repository=lakefs_repository, prefix="a/"))
    other = lakefs_repository_factory()
    lakefs.client.objects.upload(other, "main", "a/1", b"1")
    head = lakefs.client.commits.create(other, "main", message="other").id
    assert versions(build_lakefs_observable_source(key="moved", repository=other, prefix="a/")) == {None: head}


def test_versions_by_partition_are_recorded_when_they_change(versions, commit, lakefs, lakefs_repository, instance):
    partitions = LakeFSPartitions(DAYS, "d/{day}.csv")
    source = build_lakefs_observable_source(key="days", repository=lakefs_repository, partitions=partitions)
    commit("d/2015-01-01.csv", "d/2015-01-02.csv", "d/readme.csv", "d/2014-01-01.csv", "other")
    first = versions(source)
    assert set(first) == {"2015-01-01", "2015-01-02"}
    checksum = lakefs.client.objects.stat(lakefs_repository, "main", "d/2015-01-01.csv").checksum
    assert first["2015-01-01"] == checksum
    commit("other")
    assert versions(source) == {}
    commit("d/2015-01-02.csv", "d/2015-01-03.csv")
    second = versions(source)
    assert set(second) == {"2015-01-02", "2015-01-03"}
    assert second["2015-01-02"] != first["2015-01-02"]
    commit(deleted=["d/2015-01-01.csv"])
    assert versions(source) == {"2015-01-01": "removed"}
    assert versions(source) == {}
    lakefs.client.branches.revert(lakefs_repository, "main", ref="main", parent_number=1)
    assert versions(source) == {"2015-01-01": checksum}


def test_folders_of_dynamic_partitions(versions, commit, lakefs_repository, instance):
    partitions = LakeFSPartitions(STATIONS, "s/{station}/")
    source = build_lakefs_observable_source(key="stations", repository=lakefs_repository, partitions=partitions)
    instance.add_dynamic_partitions("stations_of_sources", ["7"])
    commit("s/7/a", "s/7/b", "s/8/a")
    first = versions(source)
    assert set(first) == {"7"}
    commit("s/7/b")
    assert versions(source).keys() == {"7"}
    instance.add_dynamic_partitions("stations_of_sources", ["8"])
    assert versions(source).keys() == {"8"}


# By Dagster's own test helper.
@pytest.mark.filterwarnings("ignore:Parameter `include_sources`", "ignore:Property `OpDefinition.version`")
def test_what_is_downstream_runs_when_the_content_changes(observe, commit, resource, lakefs_repository, instance):
    partitions = LakeFSPartitions(DAYS, "d/{day}.csv")
    days = build_lakefs_observable_source(key="upstream_days", repository=lakefs_repository, partitions=partitions)
    whole = build_lakefs_observable_source(key="upstream", repository=lakefs_repository, prefix="a/")

    @dg.asset(deps=[days], partitions_def=DAYS, automation_condition=dg.AutomationCondition.eager())
    def daily() -> None: ...

    @dg.asset(deps=[whole], automation_condition=dg.AutomationCondition.eager())
    def report() -> None: ...

    definitions = dg.Definitions([days, whole, daily, report], resources={"lakefs": resource})
    cursor = None

    def requested():
        nonlocal cursor
        for source in (days, whole):
            observe(source)
        result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
        cursor = result.cursor
        return {
            *result.get_requested_partitions(daily.key),
            *(["report"] if result.get_num_requested(report.key) else []),
        }

    recent = sorted(DAYS.get_partition_keys())[-1]  # eager() requests the newest partition only
    commit("a/1", f"d/{recent}.csv")
    requested()
    commit("other")
    assert requested() == set()
    commit("a/1")
    assert requested() == {"report"}
    commit(f"d/{recent}.csv")
    assert requested() == {recent}


def test_an_environment_observes_its_own_branch(versions, commit, resource, lakefs_repository):
    commit("a/1")
    source = build_lakefs_observable_source(key="staged", repository=lakefs_repository, prefix="a/")
    staging = resource.model_copy(update={"environment": "staging"})
    first = versions(source, lakefs=staging)
    commit("a/1")
    assert versions(source, lakefs=staging) == first
    own = commit("a/1", branch="env-staging")
    assert versions(source, lakefs=staging) == {None: own}
