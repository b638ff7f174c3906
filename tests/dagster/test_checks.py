"""Asset checks from schemas and functions: they judge the partitions that were written, wherever these are."""

from __future__ import annotations

import io
import json
from contextlib import suppress

import dagster as dg
import pytest

from dagster_resources import LakeFSIOManager, build_lakefs_checks, build_lakefs_publish_asset, lakefs_check
from dagster_resources.checks import Sodacl, WrittenData
from dagster_resources.resource import LakeFSResource
from lakefs_ops import errors

pytestmark = pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")  # backfill policies
polars = pytest.importorskip("polars")
DAYS = dg.StaticPartitionsDefinition(["day-1", "day-2", "day-3"])
PATH = "daily/{partition}.csv"


@pytest.fixture(scope="module")
def schema():
    pandera = pytest.importorskip("pandera.polars")
    return pandera.DataFrameSchema({"celsius": pandera.Column(float, pandera.Check.le(50))}, name="schema")


class Lake:
    """A repository, and an asset that writes a temperature for each partition to it."""

    def __init__(self, client, repository):
        self.client, self.repository = client, repository
        self.celsius, self.commits = {}, False

    def asset(self, **options):
        @dg.asset(name="daily", **options)
        def daily(context, lakefs: LakeFSResource) -> None:
            branch = lakefs.run_branch(context, self.repository)
            for key in context.partition_keys if "partitions_def" in options else [""]:
                content = f"celsius\n{self.celsius.get(key, 1.5)}\n".encode()
                stored = self.client.objects.upload(self.repository, branch.ensure(), f"daily/{key}.csv", content)
                branch.wrote_objects({stored.path: stored.checksum})
            if self.commits:
                branch.commit("Write")

        return daily

    def run(self, materialize, resource, checks, *, assets=(), partitions=True, **arguments):
        options = {"partitions_def": DAYS, "backfill_policy": dg.BackfillPolicy.single_run()} if partitions else {}
        daily = self.asset(**options)
        on_main = build_lakefs_publish_asset(name="on_main", deps=[daily], repository=self.repository, **options)
        return materialize([daily, checks, on_main], resource, **arguments)

    def objects(self):
        return [entry.path for entry in self.client.objects.list(self.repository, "main")]


@pytest.fixture
def lake(lakefs, lakefs_repository):
    return Lake(lakefs.client, lakefs_repository)


def evaluations(run):
    return {each.check_name: each for each in run.get_asset_check_evaluations()}


def below_40(days):
    """Every day is below 40 degrees."""
    return [f"{celsius} is too hot" for celsius in days["celsius"] if celsius > 40]


@pytest.mark.parametrize("committed", [True, False])
def test_schemas_and_functions_judge_the_partition_that_was_written(lake, resource, materialize, schema, committed):
    lake.commits = committed
    checks = build_lakefs_checks(
        "daily", [schema, below_40], repository=lake.repository, path=PATH, library="polars", name="judge"
    )
    assert {spec.description for spec in checks.check_specs} >= {"Every day is below 40 degrees."}
    run = lake.run(materialize, resource, checks, partition_key="day-1")
    assert run.success
    assert lake.objects() == ["daily/day-1.csv"]
    for evaluation in evaluations(run).values():
        assert evaluation.passed
        assert evaluation.metadata["lakefs/partitions"].value == "day-1"
        assert evaluation.metadata["lakefs/checks"].value == "1 passed"
    lake.celsius = {"day-2": 99.0}
    run = lake.run(materialize, resource, checks, partition_key="day-2")
    assert not run.success
    assert lake.objects() == ["daily/day-1.csv"]
    found = evaluations(run)
    assert found["below_40"].description == "99.0 is too hot"
    assert found["schema"].metadata["findings"].value == [
        {
            "check": "schema",
            "problems": ["celsius: less_than_or_equal_to(50) failed for 1 value, such as 99.0"],
            "warnings": [],
        }
    ]
    compared = lake.client.branches.get(lake.repository, f"dagster-{run.run_id}").commit_id if committed else None
    link = lake.client.links.compare(lake.repository, "main", compared or f"dagster-{run.run_id}")
    assert found["schema"].metadata["lakefs/compare"].value == link


def test_several_partitions_are_all_judged(lake, resource, materialize):
    lake.celsius = {"day-2": 45.0}
    checks = build_lakefs_checks("daily", [below_40], repository=lake.repository, path=PATH, library="polars")
    tags = {"dagster/asset_partition_range_start": "day-1", "dagster/asset_partition_range_end": "day-3"}
    run = lake.run(materialize, resource, checks, tags=tags)
    assert not run.success
    (evaluation,) = evaluations(run).values()
    assert evaluation.description == "day-2: 45.0 is too hot"
    assert evaluation.metadata["lakefs/checks"].value == "2 passed, 1 failed: below_40"
    lake.celsius = {}
    assert lake.run(materialize, resource, checks, tags=tags).success
    assert lake.objects() == ["daily/day-1.csv", "daily/day-2.csv", "daily/day-3.csv"]


REGIONS = dg.StaticPartitionsDefinition(["eu/west", ".."])
MARKETS = dg.DynamicPartitionsDefinition(name="markets_of_checks")


@pytest.mark.parametrize(
    ("definition", "path", "partition", "written"),
    [
        (REGIONS, "daily/{partition}.csv", "eu/west", "daily/eu%2Fwest.csv"),
        (REGIONS, "daily/{region}.csv", "..", "daily/%2E%2E.csv"),
        (
            dg.MultiPartitionsDefinition({"region": REGIONS, "day": DAYS}),
            "daily/{region}_{day}.csv",
            dg.MultiPartitionKey({"region": "eu/west", "day": "day-1"}),
            "daily/eu%2Fwest_day-1.csv",
        ),
        (REGIONS, "daily/all.csv", "eu/west", "daily/all.csv"),
    ],
)
def test_the_path_of_a_check_is_that_of_the_io_manager(
    resource, lakefs, lakefs_repository, materialize, definition, path, partition, written
):
    manager = LakeFSIOManager(lakefs=resource, repository=lakefs_repository)

    @dg.asset(partitions_def=definition, metadata={"lakefs/path": path}, io_manager_def=manager)
    def daily() -> polars.DataFrame:
        return polars.DataFrame({"celsius": [1.5]})

    @dg.asset(partitions_def=definition)
    def one_object(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, lakefs_repository)
        stored = lakefs.get_client().objects.upload(lakefs_repository, branch.ensure(), path, b"celsius\n1.5\n")
        branch.wrote_objects({stored.path: stored.checksum})

    asset = daily if "{" in path else one_object
    checks = build_lakefs_checks(asset, [below_40], repository=lakefs_repository, path=path, library="polars")
    publication = build_lakefs_publish_asset(
        name="on_main", deps=[asset], repository=lakefs_repository, partitions_def=definition
    )
    run = materialize([asset, checks, publication], resource, partition_key=partition)
    assert [each.description for each in evaluations(run).values()] == [None]
    assert run.success
    assert [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "main")] == [written]


def test_a_range_of_dynamic_partitions_is_judged(lake, resource, materialize, instance):
    instance.add_dynamic_partitions(MARKETS.name, ["a", "b"])
    options = {"partitions_def": MARKETS, "backfill_policy": dg.BackfillPolicy.single_run()}
    lake.celsius = {"b": 45.0}
    daily = lake.asset(**options)
    checks = build_lakefs_checks(daily, [below_40], repository=lake.repository, path=PATH, library="polars")
    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    (evaluation,) = evaluations(materialize([daily, checks], resource, tags=tags)).values()
    assert evaluation.description == "b: 45.0 is too hot"


def test_a_template_that_does_not_fit_the_partitions_is_one_sentence(lake, resource, materialize):
    checks = build_lakefs_checks("daily", [below_40], repository=lake.repository, path="{a}/{b}.csv", library="polars")
    run = lake.run(materialize, resource, checks, partition_key="day-1")
    errors = [event.step_failure_data.error for event in run.all_events if event.is_step_failure]
    assert any("'{a}/{b}.csv' needs a key for each of a, b" in str(error) for error in errors)
    assert lake.objects() == []


def test_checks_of_partitions_in_a_run_without_one_say_what_to_do(lake, resource, materialize, sentence):
    for path in ("{partition}.csv", lambda key: f"{key}.csv"):
        checks = build_lakefs_checks("daily", [below_40], repository=lake.repository, path=path)
        run = materialize([checks], resource, selection=dg.AssetSelection.all_asset_checks())
        assert "has a partition, but the run has none; execute the checks in a run of a partition" in sentence(run)


@pytest.mark.parametrize("committed", [True, False])
def test_a_function_of_the_written_data(lake, resource, materialize, committed):
    lake.commits = committed

    @lakefs_check(asset="daily", repository=lake.repository)
    def no_object_is_empty(data):
        for path in data.paths("daily/"):
            if not data.read(path):
                yield f"{path} is empty"

    assert lake.run(materialize, resource, no_object_is_empty, partitions=False).success
    assert lake.objects() == ["daily/.csv"]


def test_a_missing_object_is_a_problem(lake, resource, materialize):
    checks = build_lakefs_checks("daily", [below_40], repository=lake.repository, path="other.csv", library="polars")
    run = lake.run(materialize, resource, checks, partitions=False)
    assert evaluations(run)["below_40"].description == "other.csv does not exist"
    assert lake.objects() == []


def test_an_object_that_a_check_has_missed_must_not_appear_later(lake, resource, materialize, sentence):
    def lenient(data):
        with suppress(errors.ObjectNotFound):
            data.read("late.csv")

    daily = lake.asset()

    @dg.asset(deps=[daily])
    def late(context, lakefs: LakeFSResource) -> None:
        branch = lakefs.run_branch(context, lake.repository)
        stored = lake.client.objects.upload(lake.repository, branch.ensure(), "late.csv", b"celsius")
        branch.wrote_objects({stored.path: stored.checksum})

    checks = build_lakefs_checks(daily, [lenient], repository=lake.repository)
    on_main = build_lakefs_publish_asset(name="on_main", deps=[daily, late], repository=lake.repository)
    refused = sentence(materialize([daily, checks, late, on_main], resource))
    assert "check 'lenient' of 'daily' judged another content of late.csv" in refused


def test_a_check_that_raises_has_no_result_and_the_others_have(lake, resource, materialize):
    def raises(days):
        raise RuntimeError("cannot judge")

    checks = build_lakefs_checks(
        "daily", [raises, below_40], repository=lake.repository, path=PATH, library="polars", blocking=False
    )
    run = lake.run(materialize, resource, checks, partition_key="day-1")
    assert set(evaluations(run)) == {"below_40"}
    messages = [event.step_failure_data.error.message for event in run.all_events if event.is_step_failure]
    assert any("check 'raises' of 'daily' has no result" in message for message in messages)
    assert lake.objects() == []


def test_warnings_do_not_refuse(lake, resource, materialize):
    lake.celsius = {"day-1": 45.0}
    warning = dg.AssetCheckSeverity.WARN
    checks = build_lakefs_checks(
        "daily", [below_40], repository=lake.repository, path=PATH, library="polars", severity=warning
    )
    run = lake.run(materialize, resource, checks, partition_key="day-1")
    assert run.success
    evaluation = evaluations(run)["below_40"]
    assert (evaluation.passed, evaluation.severity) == (False, warning)


def test_frames_of_every_format(lake):
    frame = polars.DataFrame({"x": [1, 2]})

    class Branch:
        client, repository, ref = lake.client, lake.repository, "main"

        def has_uncommitted_changes(self):
            return False

    writers = {"parquet": "parquet", "csv": "csv", "jsonl": "ndjson", "json": "json"}
    for suffix, name in writers.items():
        buffer = io.BytesIO()
        getattr(frame, f"write_{name}")(buffer)
        lake.client.objects.upload(lake.repository, "main", f"x.{suffix}", buffer.getvalue())
        for library in ("polars", "pandas") if suffix != "parquet" else ("polars",):
            read = WrittenData(Branch(), []).frame(f"x.{suffix}", library)
            assert json.loads(read.to_json() if library == "pandas" else frame.write_json())
            assert list(read["x"]) == [1, 2]
    with pytest.raises(errors.InvalidArgument, match="its suffix is not one of parquet, csv, jsonl, json"):
        lake.client.objects.upload(lake.repository, "main", "x.txt", b"")
        WrittenData(Branch(), []).frame("x.txt")


def test_functions_share_what_load_returns(lake, resource, materialize):
    lake.celsius, loads = {"day-1": 4.0}, []

    def load(data):
        loads.append(data.partition_keys)
        return [float(data.read(f"daily/{key}.csv").split()[1]) for key in data.partition_keys]

    rules = {
        "warm": lambda found: [f"{each} is cold" for each in found if each < 0],
        "mild": lambda found: [f"{each} is hot" for each in found if each > 3],
    }
    checks = build_lakefs_checks("daily", rules, load=load, repository=lake.repository)
    run = lake.run(materialize, resource, checks, partition_key="day-1")
    assert not run.success
    assert lake.objects() == []
    assert loads == [["day-1"]]
    assert {name: each.description for name, each in evaluations(run).items()} == {"warm": None, "mild": "4.0 is hot"}
    lake.celsius = {"day-1": 2.0}
    assert lake.run(materialize, resource, checks, partition_key="day-1").success
    assert lake.objects() == ["daily/day-1.csv"]


def test_a_range_of_dynamic_partitions(lake, resource, materialize, instance):
    cities = dg.DynamicPartitionsDefinition(name=f"cities of {lake.repository}")
    instance.add_dynamic_partitions(cities.name, ["hanoi", "lima", "oslo"])
    options = {"partitions_def": cities, "backfill_policy": dg.BackfillPolicy.single_run()}
    daily, lake.celsius = lake.asset(**options), {"oslo": 99.0}
    checks = build_lakefs_checks(
        daily, [below_40], repository=lake.repository, path="daily/{city}.csv", library="polars"
    )
    on_main = build_lakefs_publish_asset(name="on_main", deps=[daily], repository=lake.repository)
    tags = {"dagster/asset_partition_range_start": "hanoi", "dagster/asset_partition_range_end": "lima"}
    run = materialize([daily, checks, on_main], resource, tags=tags)
    assert run.success
    assert evaluations(run)["below_40"].metadata["lakefs/partitions"].value == "hanoi, lima"
    assert lake.objects() == ["daily/hanoi.csv", "daily/lima.csv"]
    run = materialize([daily, checks, on_main], resource, partition_key="oslo")
    assert evaluations(run)["below_40"].description == "99.0 is too hot"


@pytest.mark.parametrize("path", ["{city}/{day}.csv", lambda key: f"{key.split('|')[0]}/{key.split('|')[1]}.csv"])
def test_a_check_reads_the_paths_of_several_dimensions(lake, resource, io_manager, instance, path):
    grid = dg.MultiPartitionsDefinition(
        {"city": dg.StaticPartitionsDefinition(["oslo"]), "day": dg.StaticPartitionsDefinition(["day-1"])}
    )

    @dg.asset(partitions_def=grid, metadata={"lakefs/path": "{city}/{day}.csv"})
    def daily() -> polars.DataFrame:
        return polars.DataFrame({"celsius": [4.0]})

    checks = build_lakefs_checks(daily, [below_40], repository=lake.repository, path=path, library="polars")
    on_main = build_lakefs_publish_asset(name="on_main", deps=[daily], repository=lake.repository)
    key = dg.MultiPartitionKey({"city": "oslo", "day": "day-1"})
    resources = {"lakefs": resource, "io_manager": io_manager()}
    run = dg.materialize([daily, checks, on_main], instance=instance, resources=resources, partition_key=key)
    assert run.success
    assert lake.objects() == ["oslo/day-1.csv"]


def test_nothing_is_published_if_load_raises(lake, resource, materialize, sentence):
    checks = build_lakefs_checks(
        "daily", [below_40], load=lambda data: data.read("no/such/object"), repository=lake.repository
    )
    run = lake.run(materialize, resource, checks, partition_key="day-1")
    assert not run.success
    assert lake.objects() == []
    assert evaluations(run) == {}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_has_the_types_that_the_io_manager_reads(lake, library):
    class Branch:
        client, repository, name = lake.client, lake.repository, "main"

        def has_uncommitted_changes(self):
            return True

        def read_objects(self, objects): ...

    names = ["NA", "null", *["1"] * 200, "x"]
    text = "\n".join(["name,day", *(f"{name},2015-01-01" for name in names)]) + "\n"
    lines = "\n".join(json.dumps({"name": name, "date": "2015-01-01"}) for name in names)
    lake.client.objects.upload(lake.repository, "main", "x.csv", text.encode())
    lake.client.objects.upload(lake.repository, "main", "x.jsonl", lines.encode())
    data = WrittenData(Branch(), [])
    for path in ("x.csv", "x.jsonl"):
        frame = data.frame(path, library)
        assert list(frame["name"]) == names
        assert {type(value) for value in frame[frame.columns[1]]} == {str}


def test_checks_that_cannot_be_evaluated_are_refused_early(schema):
    for checks, words in (
        ([], "needs at least one check"),
        ([schema], "needs path="),
        ({"x": 1}, "must be a function, a Pandera schema"),
        ({"x": Sodacl("")}, "needs path="),
        ([object()], "has no name"),
    ):
        with pytest.raises(errors.InvalidArgument, match=words):
            build_lakefs_checks("daily", checks, repository="lake")
    with pytest.raises(errors.InvalidArgument, match="library must be 'pandas'"):
        build_lakefs_checks("daily", {"x": Sodacl("")}, repository="lake", path="x", library="polars")
    with pytest.raises(errors.InvalidArgument, match="path= or load=, not both"):
        build_lakefs_checks("daily", [below_40], repository="lake", path="x", load=len)


def test_a_missing_library_is_one_sentence(mocker):
    from dagster_resources import checks

    mocker.patch.dict("sys.modules", {"soda.scan": None, "duckdb": None, "great_expectations": None})
    with pytest.raises(errors.ConfigurationError, match=r"pip install 'lakefs-ops\[soda\]'"):
        checks._scan(Sodacl("checks for data: []"), None)
    with pytest.raises(errors.ConfigurationError, match=r"pip install 'lakefs-ops\[great-expectations\]'"):
        checks._expect(None, None)
