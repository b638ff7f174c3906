"""Every value comes back as it was written, for each handler, format and kind of partitions."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_resources import LakeFSIOManager, LakeFSResource
from dagster_resources.handlers import EXTENSIONS, handler_for_annotation, handler_for_value
from dagster_resources.object_paths import asset_path, dimensions_of

DATA = {"name": ["Łódź", "a,b", 'quoted "x"'], "count": [1, -2, 3], "celsius": [0.5, -1.25, 1e9]}
TABLES = [pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.Table, ds.Dataset]
TABLE_TYPES = [(type_, format) for type_ in TABLES for format in ("parquet", "csv", "jsonl")]
PLAIN_TYPES = [
    *((bytes, format) for format in EXTENSIONS if format != "pickle"),
    *((str, format) for format in ("csv", "jsonl", "text", "json")),
    (dict, "json"),
    (list, "json"),
    (set, "pickle"),
]
SOME_PLAIN_TYPES = [(bytes, "bytes"), (str, "text"), (dict, "json"), (set, "pickle")]
BETA = pytest.mark.filterwarnings("ignore:.* is currently in beta")


def value_of(type_: type, seed: str) -> object:
    """A value of a type, different for each seed."""
    data = {**DATA, "seed": [f"of {seed}"] * 3}  # pyarrow would read a day as a date
    return {
        pd.DataFrame: lambda: pd.DataFrame(data),
        pl.DataFrame: lambda: pl.DataFrame(data),
        pl.LazyFrame: lambda: pl.LazyFrame(data),
        pa.Table: lambda: pa.table(data),
        ds.Dataset: lambda: ds.dataset(pa.table(data)),
        bytes: lambda: seed.encode() + b"\x00\xff\r\n",
        str: lambda: f"{seed}\r\n€\n",
        dict: lambda: {seed: [1, 2.5, None, True, {"nested": "€"}]},
        list: lambda: [seed, {}],
        set: lambda: {seed},
    }[type_]()


def comparable(value: object) -> object:
    """Return a value that compares by content, with its type."""
    kind = type(value)
    if isinstance(value, pd.DataFrame):
        value = (value.to_dict("list"), list(map(str, value.dtypes)))
    elif isinstance(value, pl.LazyFrame):
        value = (value.collect().to_dict(as_series=False), value.collect_schema())
    elif isinstance(value, pl.DataFrame):
        value = (value.to_dict(as_series=False), value.schema)
    elif isinstance(value, pa.Table):
        value = (value.to_pydict(), value.schema)
    elif isinstance(value, ds.Dataset):
        kind, value = ds.Dataset, value.to_table().to_pydict()
    return kind, value


def name_of(type_: type, format: str) -> str:
    return f"{type_.__module__.split('.')[0]}_{type_.__name__}_{format}".lower()


# round trips ----------------------------------------------------------------------------------------------------------

CITIES = dg.StaticPartitionsDefinition(["a/b", "..", "50%", "Łódź"])
DAYS = dg.DailyPartitionsDefinition("2015-01-01", end_date="2015-02-01")
COLORS = dg.DynamicPartitionsDefinition(name="colors")
BOTH = dg.MultiPartitionsDefinition({"day": DAYS, "city": CITIES})
RANGE = {"dagster/asset_partition_range_start": "2015-01-02", "dagster/asset_partition_range_end": "2015-01-04"}
PARTITIONS = {
    "none": (None, {}, []),
    "time": (DAYS, {"partition_key": "2015-01-02"}, ["2015-01-02"]),
    "static": (CITIES, {"partition_key": ".."}, [".."]),
    "dynamic": (COLORS, {"partition_key": "red"}, ["red"]),
    "multi": (BOTH, {"partition_key": "a/b|2015-01-02"}, ["a/b|2015-01-02"]),
    "several": (DAYS, {"tags": RANGE}, ["2015-01-02", "2015-01-03", "2015-01-04"]),
}


@BETA
@pytest.mark.parametrize("kind", PARTITIONS)
def test_each_type_and_format_comes_back_as_it_was_written(kind, io_run, instance):
    definition, arguments, keys = PARTITIONS[kind]
    types = TABLE_TYPES + (PLAIN_TYPES if kind == "none" else SOME_PLAIN_TYPES)
    policy = dg.BackfillPolicy.single_run() if kind == "several" else None
    instance.add_dynamic_partitions("colors", ["red"])

    def expected(type_):
        values = {key: value_of(type_, key) for key in keys or [kind]}
        return values if len(keys) > 1 else next(iter(values.values()))

    @dg.multi_asset(
        outs={name_of(*each): dg.AssetOut(metadata={"lakefs/format": each[1]}, is_required=False) for each in types},
        partitions_def=definition,
        backfill_policy=policy,
    )
    def written():
        for each in types:
            yield dg.Output(expected(each[0]), name_of(*each))

    @dg.asset(
        ins={
            name_of(*each): dg.AssetIn(dagster_type=dict[str, each[0]] if len(keys) > 1 else each[0]) for each in types
        },
        partitions_def=definition,
        backfill_policy=policy,
    )
    def read(**values) -> None:
        for type_, format in types:
            value, wanted = values[name_of(type_, format)], expected(type_)
            if len(keys) > 1:
                assert list(value) == keys
                assert {key: comparable(v) for key, v in value.items()} == {
                    key: comparable(v) for key, v in wanted.items()
                }, (type_, format)
            else:
                assert comparable(value) == comparable(wanted), (type_, format)

    io_run(written, read, raise_on_error=True, **arguments)


@pytest.mark.parametrize("isolation", ["run", "asset", "none"])
def test_an_object_is_read_into_what_the_input_is_annotated_with(isolation, io_run):
    @dg.asset
    def frame() -> pl.DataFrame:
        return pl.DataFrame(DATA)

    @dg.asset
    def from_pandas(frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    @dg.asset
    def from_arrow(from_pandas: pa.Table) -> pa.Table:
        return from_pandas

    @dg.asset
    def lazily(from_arrow: pl.LazyFrame) -> pl.LazyFrame:
        return from_arrow.filter(pl.col("count") > 0)

    @dg.asset
    def checked(lazily: ds.Dataset, frame: bytes, from_pandas) -> None:
        assert lazily.to_table().to_pydict()["count"] == [1, 3]
        assert frame[:4] == b"PAR1"
        assert isinstance(from_pandas, pd.DataFrame)  # what it was written as

    assert io_run(frame, from_pandas, from_arrow, lazily, checked, settings={"isolation": isolation}).success


def test_columns_path_ref_and_format_come_from_metadata(io_run, commit_to_main, lakefs, lakefs_repository):
    lakefs.client.tags.create(lakefs_repository, id="v1", ref=commit_to_main({"raw/x.csv": b"a,b\n1,2\n"}))
    commit_to_main({"raw/x.csv": b"a,b\n3,4\n"})
    raw = dg.AssetSpec("raw", metadata={"lakefs/path": "raw/x.csv"}).with_io_manager_key("io_manager")

    @dg.asset(ins={"raw": dg.AssetIn(metadata={"columns": ["b"]})})
    def now(raw: pl.DataFrame) -> None:
        assert raw.to_dict(as_series=False) == {"b": [4]}

    @dg.asset(ins={"raw": dg.AssetIn(metadata={"lakefs/ref": "v1"})})
    def then(raw: pd.DataFrame) -> None:
        assert raw.to_dict("list") == {"a": [1], "b": [2]}

    @dg.asset(
        ins={"raw": dg.AssetIn(metadata={"lakefs/path": "raw/y", "lakefs/format": "jsonl"})},
        metadata={"lakefs/path": "out.ndjson"},
    )
    def other(raw: pl.LazyFrame) -> pl.DataFrame:
        return raw.collect()

    commit_to_main({"raw/y": b'{"c":5}\n'})
    result = io_run(raw, now, then, other, selection=[now, then, other])
    assert result.success
    branch = f"dagster-{result.run_id}"
    assert lakefs.client.objects.get(lakefs_repository, branch, "out.ndjson") == b'{"c":5}\n'


def test_columns_of_every_kind_of_table(io_run):
    @dg.multi_asset(outs={name_of(*each): dg.AssetOut(metadata={"lakefs/format": each[1]}) for each in TABLE_TYPES})
    def written():
        return tuple(value_of(type_, "x") for type_, _ in TABLE_TYPES)

    wanted = {"columns": ["celsius", "count"]}

    @dg.asset(ins={name_of(*each): dg.AssetIn(metadata=wanted, dagster_type=each[0]) for each in TABLE_TYPES})
    def read(**values) -> None:
        for name, value in values.items():
            table = value.to_table() if isinstance(value, ds.Dataset) else value
            table = table.collect() if isinstance(table, pl.LazyFrame) else table
            names = table.column_names if isinstance(table, pa.Table) else list(table.columns)
            assert names == ["celsius", "count"], name

    assert io_run(written, read).success


def test_metadata_and_data_version(io_run, lakefs, lakefs_repository):
    @dg.asset
    def weather() -> pl.LazyFrame:
        return pl.LazyFrame({"day": ["a|b", "c\nd", None], "celsius": [1, 2, 3]})

    (event,) = io_run(weather).asset_materializations_for_node("weather")
    found = {name: entry.value for name, entry in event.metadata.items()}
    stats = lakefs.client.objects.stat(lakefs_repository, found["lakefs/branch"], "weather.parquet")
    assert event.tags["dagster/data_version"] == stats.checksum == found["lakefs/checksum"]
    assert found["dagster/uri"] == f"lakefs://{lakefs_repository}/main/weather.parquet"
    assert found["dagster/row_count"] == 3
    assert found["lakefs/size_bytes"] == stats.size_bytes
    assert [(column.name, column.type) for column in found["dagster/column_schema"].columns] == [
        ("day", "String"),
        ("celsius", "Int64"),
    ]
    assert found["lakefs/preview"].splitlines()[2:] == ["| a\\|b | 1 |", "| c d | 2 |", "|  | 3 |"]
    assert found["lakefs/objects"].endswith(f"/repositories/{lakefs_repository}/objects?ref=main&path=weather.parquet")
    # The same bytes are the same version, in whichever run.
    (again,) = io_run(weather, settings={"preview_rows": 0}).asset_materializations_for_node("weather")
    assert again.tags["dagster/data_version"] == stats.checksum
    assert "lakefs/preview" not in again.metadata


@BETA
def test_each_of_several_partitions_has_its_own_metadata(io_run):
    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def daily(context) -> dict[str, pl.DataFrame]:
        return {key: pl.DataFrame({"day": [key] * int(key[-1])}) for key in context.partition_keys}

    events = io_run(daily, tags=RANGE).asset_materializations_for_node("daily")
    assert [event.partition for event in events] == ["2015-01-02", "2015-01-03", "2015-01-04"]
    assert [event.metadata["dagster/partition_row_count"].value for event in events] == [2, 3, 4]
    assert [event.metadata["dagster/uri"].value.rpartition("/main/")[2] for event in events] == [
        f"daily/{event.partition}.parquet" for event in events
    ]


# partitions -----------------------------------------------------------------------------------------------------------

WEEKS = dg.WeeklyPartitionsDefinition("2015-01-04")


def days(first, last):
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


@BETA
def test_partitions_map_onto_one_another(io_run, lakefs, lakefs_repository, sentence):
    day_before = dg.TimeWindowPartitionMapping(start_offset=-1, allow_nonexistent_upstream_partitions=True)

    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def daily(context) -> dict[str, pl.DataFrame]:
        return {key: pl.DataFrame({"day": [key]}) for key in context.partition_keys}

    @dg.asset(partitions_def=WEEKS)
    def weekly(daily: dict[str, pl.LazyFrame]) -> pl.DataFrame:
        return pl.concat(daily.values()).collect()

    @dg.asset(partitions_def=DAYS, ins={"daily": dg.AssetIn(partition_mapping=day_before)})
    def moving(daily: dict[str, pl.DataFrame]) -> bytes:
        return ",".join(daily).encode()

    @dg.asset(ins={"daily": dg.AssetIn(metadata={"allow_missing_partitions": True})})
    def every(daily: dict[str, pl.DataFrame]) -> bytes:
        return ",".join(daily).encode()

    @dg.asset
    def strict(daily: dict[str, pl.DataFrame]) -> None: ...

    @dg.asset
    def single(daily: pl.DataFrame) -> None: ...

    def run(asset, **arguments):
        return io_run(*{daily, asset}, selection=[asset], settings={"isolation": "none"}, **arguments)

    def get(path):
        return lakefs.client.objects.get(lakefs_repository, "main", path)

    assert run(daily, tags=days("2015-01-01", "2015-01-10")).success
    assert run(weekly, partition_key="2015-01-04").success
    week = pl.read_parquet(get("weekly/2015-01-04.parquet"))["day"].to_list()
    assert week == [f"2015-01-{day:02}" for day in range(4, 11)]
    assert run(moving, partition_key="2015-01-01").success
    assert get("moving/2015-01-01.parquet") == b"2015-01-01"  # one partition, and a dict
    assert run(moving, partition_key="2015-01-05").success
    assert get("moving/2015-01-05.parquet") == b"2015-01-04,2015-01-05"
    assert run(every).success
    assert get("every.parquet").count(b"2015") == 10
    assert ".parquet does not exist; materialize partition '2015-01-" in sentence(run(strict))
    assert "the input daily (2015-01-01 to 2015-01-31, 31 partitions" in sentence(run(single))
    assert "annotate it with dict[str, DataFrame]" in sentence(run(single))


@BETA
def test_a_dictionary_is_a_value_of_json_and_also_several_partitions(io_run, lakefs, lakefs_repository):
    policy = dg.BackfillPolicy.single_run()

    @dg.asset(partitions_def=DAYS, backfill_policy=policy)
    def ranged(context) -> dict[str, dict[str, str]]:
        return {key: {"day": key} for key in context.partition_keys}

    @dg.asset(partitions_def=DAYS)
    def plain(context, ranged: dict[str, str]) -> dict[str, str]:
        assert ranged == {"day": context.partition_key}
        return {context.partition_key: "x"}

    as_json = {"isolation": "none", "format": "json"}
    for tags in (days("2015-01-01", "2015-01-02"), days("2015-01-03", "2015-01-03")):
        assert io_run(ranged, settings=as_json, tags=tags).success
    assert io_run(ranged, plain, settings=as_json, partition_key="2015-01-03", selection=[plain]).success
    get = lakefs.client.objects.get
    assert get(lakefs_repository, "main", "ranged/2015-01-03.json") == b'{\n "day": "2015-01-03"\n}'
    assert get(lakefs_repository, "main", "plain/2015-01-03.json") == b'{\n "2015-01-03": "x"\n}'


@BETA
def test_an_output_must_have_the_keys_of_its_partitions(io_run, sentence):
    def asset(output):
        @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
        def daily():
            return output

        return daily

    assert "must be a dict with the value of each partition" in sentence(io_run(asset(b""), tags=RANGE))
    wrong = {"2015-01-02": b"", "2015-01-09": b""}
    message = sentence(io_run(asset(wrong), tags=RANGE))
    assert "missing: 2015-01-03, 2015-01-04; unknown: 2015-01-09" in message
    some = {"2015-01-02": b"", "2015-01-03": None, "2015-01-04": b""}
    assert len(io_run(asset(some), tags=RANGE).asset_materializations_for_node("daily")) == 3


@BETA
@pytest.mark.parametrize(
    ("arguments", "keys"), [({"partition_key": "2015-01-03"}, "03"), ({"tags": RANGE}, "02 03 04")]
)
def test_a_check_reads_the_partitions_of_its_run(arguments, keys, io_run):
    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def daily(context) -> dict[str, pl.DataFrame]:
        return {key: pl.DataFrame({"day": [key]}) for key in context.partition_keys}

    @dg.asset_check(asset=daily)
    def expected(daily: dict[str, pl.DataFrame]) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=list(daily) == [f"2015-01-{day}" for day in keys.split()])

    (evaluation,) = io_run(daily, expected, **arguments).get_asset_check_evaluations()
    assert evaluation.passed


def test_no_partition_is_no_value(io_run):
    @dg.asset(partitions_def=DAYS)
    def daily() -> bytes:
        return b""

    nothing = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
    ins = {"daily": dg.AssetIn(partition_mapping=nothing)}

    @dg.asset(partitions_def=DAYS, ins=ins)
    def one(daily: bytes | None) -> None:
        assert daily is None

    @dg.asset(partitions_def=DAYS, ins=ins)
    def each(daily: dict[str, bytes]) -> None:
        assert daily == {}

    assert io_run(daily, one, each, selection=[one, each], partition_key="2015-01-01").success


def test_a_multi_partition_has_the_same_path_from_everywhere():
    # The launchpad passes the key as text, a backfill as an object.
    text = dimensions_of("a/b|2015-01-02", BOTH)
    assert text == dimensions_of(dg.MultiPartitionKey({"day": "2015-01-02", "city": "a/b"}), None)
    assert asset_path("p", dg.AssetKey(["x", "y"]), ".csv", text) == "p/x/y/a%2Fb/2015-01-02.csv"


KEYS = st.text(min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(KEYS, KEYS), unique=True, min_size=2, max_size=6))
def test_no_two_partitions_share_a_path(keys):
    paths = [asset_path("", dg.AssetKey("x"), "", {"a": a, "b": b}) for a, b in keys]
    assert len(set(paths)) == len(keys)
    for path in paths:
        assert not {"", ".", ".."} & set(path.split("/"))
        assert path.count("/") == 2


def test_paths_of_partitions_come_from_a_template(io_run, lakefs, lakefs_repository, sentence):
    def asset(path, definition):
        @dg.asset(name="x", partitions_def=definition, metadata={"lakefs/path": path})
        def asset() -> bytes:
            return b""

        return asset

    settings = {"isolation": "none"}
    assert io_run(asset("{day}/{city}.csv", BOTH), settings=settings, partition_key="a/b|2015-01-02").success
    assert io_run(asset("daily/{date}.bin", DAYS), settings=settings, partition_key="2015-01-02").success
    paths = [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "main")]
    assert paths == ["2015-01-02/a%2Fb.csv", "daily/2015-01-02.bin"]
    message = sentence(io_run(asset("{day}.csv", BOTH), settings=settings, partition_key="a/b|2015-01-02"))
    assert "'{day}.csv' needs a key for each of day, got {'city': 'a/b', 'day': '2015-01-02'}" in message


def test_an_environment_has_its_own_branch(lakefs, lakefs_repository, instance):
    resource = LakeFSResource(
        endpoint=lakefs.endpoint,
        access_key_id=lakefs.access_key_id,
        secret_access_key=lakefs.secret_access_key,
        environment="pr-7",
    )
    manager = LakeFSIOManager(lakefs=resource, repository=lakefs_repository, isolation="asset")
    it = produce(pl.DataFrame(DATA))
    result = dg.materialize([it], instance=instance, resources={"io_manager": manager})
    (event,) = result.asset_materializations_for_node("it")
    assert event.metadata["dagster/uri"].value == f"lakefs://{lakefs_repository}/env-pr-7/it.parquet"
    assert not list(lakefs.client.objects.list(lakefs_repository, "main"))
    assert [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "env-pr-7")] == ["it.parquet"]


# what does not fit ----------------------------------------------------------------------------------------------------


def produce(value, **metadata):
    @dg.asset(metadata=metadata)
    def it():
        return value

    return it


@pytest.mark.parametrize(
    ("value", "format", "message"),
    [
        ({"a": 1}, "parquet", "a value of type dict cannot be written as parquet; return a data frame"),
        ("text", "parquet", "a value of type str cannot be written as parquet"),
        (1, "csv", "a value of type int cannot be written as csv"),
        (pl.DataFrame(), "json", "a value of type polars.dataframe.frame.DataFrame cannot be written as json"),
        ({1: 2}, "json", "keys of JSON objects are strings, got 1"),
        ([float("nan")], "json", "Out of range float values are not JSON compliant"),
        (pd.DataFrame({"a": [1]}, index=["x"]), "csv", "csv has no place for the index"),
        (pd.DataFrame({"a": [1, 2]})[1:], "jsonl", "jsonl has no place for the index"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "csv", "two columns have the name 'a'; give each its own"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "jsonl", "names of several levels"),
        (pd.DataFrame({"a": [b"1"]}), "csv", "csv has no place for the bytes of column 'a'"),
        (pd.DataFrame([]), "csv", "csv has no place for a table without columns"),
        (pa.table([[1], [2]], names=["a", "a"]), "parquet", "two columns have the name 'a'; give each its own"),
        (pa.table([[1], [2]], names=["a", "a"]), "jsonl", "two columns have the name 'a'; give each its own"),
        (pa.table({"a": [b"1"]}), "jsonl", "JSON cannot represent a value of type bytes"),
        (pl.DataFrame({"a": [b"1"]}), "jsonl", "jsonl has no place for the bytes of column 'a'"),
        (pl.DataFrame({"a": [[{"b": b"1"}]]}), "jsonl", "jsonl has no place for the bytes of column 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "parquet", "two columns have the name '1'"),
        (b"", "xml", "unknown format 'xml' of it; choose parquet, csv"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value, format, message, io_run, sentence, lakefs, lakefs_repository):
    asset = produce(value, **{"lakefs/format": format})
    assert message in sentence(io_run(asset))
    assert not list(lakefs.client.objects.list(lakefs_repository, "main"))


@pytest.mark.parametrize(
    ("content", "path", "annotation", "message"),
    [
        (b"PAR1 broken", "it.parquet", pl.DataFrame, "not written by LakeFSIOManager, are not parquet for polars.Data"),
        (b"PAR1 broken", "it.parquet", pl.LazyFrame, "are not parquet for polars.LazyFrame"),
        (b"PAR1 broken", "it.parquet", pd.DataFrame, "are not parquet for pandas.DataFrame"),
        (b"PAR1 broken", "it.parquet", pa.Table, "are not parquet for pyarrow.Table"),
        (b"", "it.csv", pl.DataFrame, "its 0 bytes, not written by LakeFSIOManager, are not csv"),
        (b"{", "it.json", dict, "are not json for json: Expecting property name"),
        (b"\xff", "it.txt", str, "are not text for text"),
        (b"a,b\n1,2\n", "it.csv", dict, "csv cannot be read into dict; annotate the input with pandas.DataFrame"),
        (b"{}", "it.json", pl.DataFrame, "json cannot be read into polars.dataframe.frame.DataFrame"),
        (b"a,b\n1,2\n", "it.csv", None, "the type to read csv into is unknown; annotate the input"),
    ],
)
def test_an_object_that_does_not_fit_is_refused(content, path, annotation, message, io_run, sentence, commit_to_main):
    commit_to_main({path: content})
    assert message in sentence(io_run(*reading(path, annotation), selection=["reader"]))


@pytest.mark.parametrize(
    ("columns", "type_", "message"),
    [
        (["c"], pl.DataFrame, "it has no column 'c'; its columns are 'a', 'b'"),
        ("ab", pl.DataFrame, "metadata 'columns' of it must be a list of names, not 'ab'"),
        (["a"], str, "metadata 'columns' of it: text has no columns"),
    ],
)
def test_columns_that_cannot_be_read_are_refused(columns, type_, message, io_run, sentence, commit_to_main):
    commit_to_main({"it.csv": b"a,b\n1,2\n"})
    assert message in sentence(io_run(*reading("it.csv", type_, columns=columns), selection=["reader"]))


def reading(path, type_, **metadata):
    """Return an asset that something else wrote, and another one that reads it."""
    it = dg.AssetSpec("it", metadata={"lakefs/path": path}).with_io_manager_key("io_manager")
    known = {"dagster_type": type_} if type_ else {}

    @dg.asset(ins={"it": dg.AssetIn(metadata=metadata, **known)})
    def reader(it) -> None: ...

    return it, reader


def test_an_object_of_another_asset_is_refused(io_run, sentence):
    @dg.asset(key=["daily", "x"])
    def other() -> pl.DataFrame:
        return pl.DataFrame(DATA)

    daily = dg.AssetSpec("daily", partitions_def=dg.StaticPartitionsDefinition(["x"]))

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["x"]))
    def reader(daily: pl.DataFrame) -> None: ...

    assert io_run(other, settings={"isolation": "none"}).success
    result = io_run(daily.with_io_manager_key("io_manager"), reader, partition_key="x", selection=[reader])
    assert "it was written by asset 'daily/x', not by daily (x)" in sentence(result)


def test_a_pickle_is_never_read_by_accident(io_run, sentence):
    assert io_run(
        produce({1}, **{"lakefs/format": "pickle", "lakefs/path": "it.pickle"}), settings={"isolation": "none"}
    )
    it = dg.AssetSpec("it", metadata={"lakefs/path": "it.pickle"}).with_io_manager_key("io_manager")

    @dg.asset
    def reader(it: set) -> None: ...

    assert "parquet cannot be read into set" in sentence(io_run(it, reader, selection=[reader]))


def test_a_missing_library_is_named(io_run, sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.delitem(sys.modules, "dagster_resources.handlers.polars", raising=False)
    message = sentence(io_run(produce(pl.DataFrame(DATA))))
    assert "polars.DataFrame needs polars, which is not installed: pip install 'lakefs-ops[polars]'" in message


def test_outputs_of_ops_need_another_manager(io_run, sentence):
    @dg.op
    def inner():
        return b""

    @dg.graph_asset
    def outer():
        return inner()

    @dg.op
    def following(value):
        return value

    @dg.graph_asset
    def two():
        return following(inner())

    assert io_run(outer).success
    assert "output 'result' of op 'inner' is not one; set another IO manager" in sentence(io_run(two))


# handlers alone -------------------------------------------------------------------------------------------------------

CELLS = {
    "n": st.none() | st.integers(-(2**63), 2**63 - 1),
    "x": st.none() | st.floats(allow_nan=False),
    "text": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "flag": st.none() | st.booleans(),
    "day": st.none() | st.dates(min_value=date(1900, 1, 1)),
    "time": st.none() | st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)),
    "list": st.none() | st.lists(st.integers(0, 9), max_size=2),
}
SCHEMA = pa.schema(
    {
        "n": pa.int64(),
        "x": pa.float64(),
        "text": pa.string(),
        "flag": pa.bool_(),
        "day": pa.date32(),
        "time": pa.timestamp("us"),
        "list": pa.list_(pa.int64()),
    }
)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries(CELLS), max_size=5))
def test_any_table_survives_parquet_and_json_lines(rows):
    arrow = pa.Table.from_pylist(rows, schema=SCHEMA)
    polars = pl.from_arrow(arrow)
    plain = arrow.select(["text", "flag", "list"])
    with tempfile.TemporaryDirectory() as folder:
        for value in (arrow, ds.dataset(arrow), polars, polars.lazy()):
            file = Path(folder) / "file"
            handler = handler_for_value(value, "parquet")
            handler.dump(value, file, "parquet")
            summary = handler.summarize(value, file, "parquet", 3)
            assert (summary.row_count, [name for name, _ in summary.columns]) == (len(rows), list(CELLS))
            found = handler.load(file, "parquet", None)
            found = found.to_table() if isinstance(found, ds.Dataset) else found
            found = found.collect() if isinstance(found, pl.LazyFrame) else found
            assert found.equals(arrow if isinstance(found, pa.Table) else polars), handler.name
            file.unlink()
        if rows:
            for value in (plain, pl.from_arrow(plain)):
                handler = handler_for_value(value, "jsonl")
                handler.dump(value, file, "jsonl")
                assert [json.loads(line) for line in file.read_bytes().splitlines()] == plain.to_pylist()
                file.unlink()


def through(value, format, into):
    """Write a value to a file and read it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        handler = handler_for_value(value, format)
        handler.dump(value, file, format)
        handler.summarize(value, file, format, 3)
        found = handler_for_annotation(into, format, None).load(file, format, None)
        found = found.collect() if isinstance(found, pl.LazyFrame) else found
        return found.to_table() if isinstance(found, ds.Dataset) else found


def of_type(table, type_):
    """Return a table of pyarrow as another one."""
    return {
        pd.DataFrame: table.to_pandas,
        pl.DataFrame: lambda: pl.from_arrow(table),
        pl.LazyFrame: lambda: pl.from_arrow(table).lazy(),
        pa.Table: lambda: table,
        ds.Dataset: lambda: ds.dataset(table),
    }[type_]()


def through_arrow(table, format, written, read):
    """Write a table as one type and read it as another one."""
    found = through(of_type(table, written), format, read)
    if isinstance(found, pd.DataFrame):
        return pa.Table.from_pandas(found, table.schema)
    return (found if isinstance(found, pa.Table) else found.to_arrow()).cast(table.schema)


@pytest.mark.parametrize("read", TABLES)
@pytest.mark.parametrize("written", TABLES)
def test_csv_keeps_text_as_it_is(written, read):
    texts = ["\r", "a\rb", "a\r\nb", "\n", '"', ",", " ", "NA", "null", "nan", None]
    if pd.DataFrame not in (written, read):  # which takes an empty text for a missing one
        texts.append("")
    table = pa.table({"text": texts, "number": range(len(texts))})
    assert through_arrow(table, "csv", written, read) == table


@pytest.mark.parametrize("written", [pa.Table, ds.Dataset])
def test_json_lines_keep_nanoseconds_of_a_time(written):
    table = pa.table({"time": pa.array([5, None], pa.time64("ns"))})
    assert through(of_type(table, written), "jsonl", pl.DataFrame)["time"].to_list() == ["00:00:00.000000005", None]


@pytest.mark.parametrize("written", TABLES)
def test_json_lines_round_no_value(written):
    time = datetime(2015, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    value = of_type(pa.table({"x": [0.1234567890123456, 1 / 3], "time": [time, time], "nan": [math.nan, 1.0]}), written)
    found = through(value, "jsonl", pl.DataFrame)
    assert found["x"].to_list() == [0.1234567890123456, 1 / 3]
    assert [datetime.fromisoformat(text) for text in found["time"]] == [time, time]
    assert found["nan"].to_list() == [None, 1.0]


@pytest.mark.parametrize("read", TABLES)
@pytest.mark.parametrize("written", TABLES)
def test_a_missing_value_alone_in_its_row_is_a_row(written, read):
    for values in ([1, None, 3, None], ["a", None, " "]):
        assert len(through(of_type(pa.table({"x": values}), written), "csv", read)) == len(values)


@pytest.mark.parametrize("read", TABLES)
@pytest.mark.parametrize("written", TABLES)
def test_json_lines_without_rows_are_an_empty_table(written, read):
    assert len(through(of_type(pa.table({"x": pa.array([], pa.int64())}), written), "jsonl", read)) == 0


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_an_arrow_table_may_have_large_values_line_ends_and_late_types(format):
    table = pa.table({"x": [None] * 30_000 + ["a\nb" * 400_000]})
    assert through(table, format, pa.Table)["x"][-1].as_py() == "a\nb" * 400_000


@pytest.mark.parametrize(
    ("other", "key"), [("same.txt", "io_manager"), ("other.txt", "io_manager"), ("same.txt", "mem")]
)
def test_two_assets_with_one_path_are_refused(io_run, io_manager, instance, sentence, other, key):
    @dg.asset(metadata={"lakefs/path": "same.txt", "lakefs/format": "text"})
    def first() -> str:
        return "first"

    @dg.asset(metadata={"lakefs/path": other, "lakefs/format": "text"}, io_manager_key=key, deps=[first])
    def second() -> str:
        return "second"

    resources = {"io_manager": io_manager(isolation="none"), "mem": dg.mem_io_manager}
    run = dg.materialize([first, second], instance=instance, resources=resources, raise_on_error=False)
    assert run.success == ((other, key) != ("same.txt", "io_manager"))
    if not run.success:
        assert "assets 'first' and 'second' have the same path 'same.txt'" in sentence(run)


MONDAY = dg.StaticPartitionsDefinition(["monday", "tuesday"])


@pytest.mark.parametrize(
    "other",
    [
        {"key": ["days", "monday"]},
        {"name": "other", "partitions_def": MONDAY, "metadata": {"lakefs/path": "days/{when}.parquet"}},
    ],
)
def test_two_assets_that_share_the_path_of_a_partition_are_refused(io_run, other):
    @dg.asset(partitions_def=MONDAY)
    def days() -> pl.DataFrame:
        return pl.DataFrame({"x": [1]})

    @dg.asset(**other)
    def second() -> pl.DataFrame:
        return pl.DataFrame({"x": [2]})

    run = io_run(days, second, partition_key="monday")
    failures = [event.step_failure_data.error for event in run.all_events if event.is_step_failure]
    assert "have the same path 'days/monday.parquet', so one would overwrite the other" in str(failures)


def test_a_path_that_does_not_fit_the_partition_names_its_asset(io_run, sentence):
    days = dg.StaticPartitionsDefinition(["monday"])

    @dg.asset(partitions_def=days, metadata={"lakefs/path": "same.txt", "lakefs/format": "text"})
    def first() -> str:
        return "first"

    message = sentence(io_run(first, partition_key="monday"))
    assert "metadata 'lakefs/path' of first (monday): 'same.txt' is not a path template" in message
