"""Every tool writes to a branch, reads it back, lists it, and sees what does not exist."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import deltalake
import duckdb
import fsspec
import obstore
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
import s3fs
from obstore.store import from_url

from lakefs_ops.client import LakeFSClient

ROWS = 1000
LARGE = 7 << 20
"""More than one part of every tool's multipart upload."""


@pytest.fixture
def address(client: LakeFSClient, lakefs_repository: str, branch: str) -> Callable[..., str]:
    def address(tool: Any, path: str = "", ref: str = branch) -> str:
        return client.storage_uri(tool, lakefs_repository, ref, path)

    return address


@pytest.fixture
def stored(client: LakeFSClient, lakefs_repository: str, branch: str) -> Callable[..., list[str]]:
    """The paths below a prefix, as the API lists them; they are uncommitted changes of the branch."""

    def stored(prefix: str) -> list[str]:
        paths = [entry.path for entry in client.objects.list(lakefs_repository, branch, prefix=prefix)]
        changed = {change.path for change in client.branches.diff(lakefs_repository, branch)}
        assert set(paths) <= changed
        assert not list(client.objects.list(lakefs_repository, "main"))
        return paths

    return stored


def table() -> pa.Table:
    return pa.table({"id": list(range(ROWS)), "day": [f"2015-01-0{n % 3 + 1}" for n in range(ROWS)]})


def test_boto3(client, lakefs_repository, branch, stored) -> None:
    s3 = boto3.client("s3", **client.storage_options("boto3"))
    where = {"Bucket": lakefs_repository, "Key": f"{branch}/b/é +.bin"}
    s3.put_object(**where, Body=b"12345", Metadata={"who": "me"})
    assert s3.get_object(**where)["Body"].read() == b"12345"
    assert s3.get_object(**where, Range="bytes=1-2")["Body"].read() == b"23"
    assert s3.head_object(**where)["ContentLength"] == 5
    assert stored("b/") == ["b/é +.bin"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=lakefs_repository, Prefix=f"{branch}/b/")
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == [f"{branch}/b/é +.bin"]
    with pytest.raises(botocore.exceptions.ClientError, match="404"):
        s3.head_object(Bucket=lakefs_repository, Key=f"{branch}/nope")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=lakefs_repository, Key=f"{branch}/nope")
    s3.delete_object(**where)
    assert stored("b/") == []


def test_boto3_in_parts_and_by_link(client, lakefs_repository, branch, tmp_path: Path) -> None:
    s3 = boto3.client("s3", **client.storage_options("boto3"))
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * (2 * LARGE // 256))
    s3.upload_file(str(source), lakefs_repository, f"{branch}/large")
    s3.download_file(lakefs_repository, f"{branch}/large", str(target))
    assert target.read_bytes() == source.read_bytes()
    assert client.objects.stat(lakefs_repository, branch, "large").size_bytes == source.stat().st_size
    s3.put_object(Bucket=lakefs_repository, Key=f"{branch}/small", Body=b"data")
    link = s3.generate_presigned_url("get_object", {"Bucket": lakefs_repository, "Key": f"{branch}/small"})
    with fsspec.open(link) as stream:  # not the login page
        assert stream.read() == b"data"


@pytest.mark.parametrize("tool", ["s3fs", "fsspec"])
def test_s3fs_and_fsspec(client, address, stored, tool: Any, lakefs_repository, branch) -> None:
    options = client.storage_options(tool)
    files = s3fs.S3FileSystem(**options) if tool == "s3fs" else fsspec.filesystem("s3", **options)
    path = address(tool, "f/a.bin")
    with files.open(path, "wb") as stream:
        stream.write(b"x" * LARGE)
    with fsspec.open(path, "rb", **options) as stream:
        assert stream.read() == b"x" * LARGE
    assert files.exists(path)
    assert not files.exists(address(tool, "f/nope"))
    assert not files.exists(address(tool, "nope/"))
    assert files.ls(address(tool, "f")) == [f"{lakefs_repository}/{branch}/f/a.bin"]
    assert files.glob(address(tool, "*/*.bin")) == [f"{lakefs_repository}/{branch}/f/a.bin"]
    assert stored("f/") == ["f/a.bin"]
    client.objects.upload(lakefs_repository, branch, "f/b.bin", b"1")
    assert len(files.ls(address(tool, "f"))) == 2  # listings are not cached
    files.rm(address(tool, "f"), recursive=True)
    assert stored("f/") == []


def test_pandas(client, address, stored) -> None:
    options, frame = client.storage_options("pandas"), table().to_pandas()
    frame.to_parquet(address("pandas", "p/x.parquet"), storage_options=options)
    frame.to_csv(address("pandas", "p/x.csv"), index=False, storage_options=options)
    frame.to_parquet(address("pandas", "p/hive"), partition_cols=["day"], storage_options=options)
    assert pd.read_parquet(address("pandas", "p/x.parquet"), storage_options=options).equals(frame)
    assert len(pd.read_csv(address("pandas", "p/x.csv"), storage_options=options)) == ROWS
    assert len(pd.read_parquet(address("pandas", "p/hive"), storage_options=options)) == ROWS
    assert len(stored("p/")) == 5
    with pytest.raises(FileNotFoundError):
        pd.read_csv(address("pandas", "p/nope.csv"), storage_options=options)


def test_pyarrow(client, address, stored) -> None:
    files = pyarrow.fs.S3FileSystem(**client.storage_options("pyarrow"))
    pa.parquet.write_table(table(), address("pyarrow", "a/x.parquet"), filesystem=files)
    assert pa.parquet.read_table(address("pyarrow", "a/x.parquet"), filesystem=files).equals(table())
    with files.open_output_stream(address("pyarrow", "a/large.bin")) as stream:
        stream.write(b"x" * 2 * LARGE)
    assert files.get_file_info(address("pyarrow", "a/large.bin")).size == 2 * LARGE
    assert files.get_file_info(address("pyarrow", "a/nope")).type == pyarrow.fs.FileType.NotFound
    listed = files.get_file_info(pyarrow.fs.FileSelector(address("pyarrow", "a")))
    assert sorted(info.base_name for info in listed) == ["large.bin", "x.parquet"]
    # With create_dir, pyarrow first puts the key `dev/`, which lakeFS refuses.
    folder = address("pyarrow", "a/hive")
    pa.dataset.write_dataset(
        table(), folder, filesystem=files, format="parquet", partitioning=["day"], partitioning_flavor="hive",
        create_dir=False,
    )  # fmt: skip
    read = pa.dataset.dataset(folder, filesystem=files, format="parquet", partitioning="hive")
    assert read.count_rows(filter=pa.dataset.field("day") == "2015-01-02") == 333
    assert len(stored("a/hive/")) == 3
    with pytest.raises(FileNotFoundError):
        pa.parquet.read_table(address("pyarrow", "a/nope.parquet"), filesystem=files)


def test_polars(client, address, stored) -> None:
    options, frame = client.storage_options("polars"), pl.from_arrow(table())
    frame.write_parquet(address("polars", "pl/a.parquet"), storage_options=options)
    frame.write_csv(address("polars", "pl/a.csv"), storage_options=options)
    frame.lazy().sink_parquet(address("polars", "pl/b.parquet"), storage_options=options)
    assert pl.read_parquet(address("polars", "pl/a.parquet"), storage_options=options).equals(frame)
    scanned = pl.scan_parquet(address("polars", "pl/*.parquet"), storage_options=options)
    assert scanned.filter(pl.col("id") < 7).collect().height == 14
    assert pl.scan_csv(address("polars", "pl/a.csv"), storage_options=options).collect().height == ROWS
    assert stored("pl/") == ["pl/a.csv", "pl/a.parquet", "pl/b.parquet"]
    with pytest.raises(FileNotFoundError):
        pl.read_parquet(address("polars", "pl/nope.parquet"), storage_options=options)


def test_deltalake_by_s3(client, address, stored) -> None:
    options = client.storage_options("deltalake")
    place = address("deltalake", "d/t")
    deltalake.write_deltalake(place, table(), storage_options=options)
    deltalake.write_deltalake(place, table(), mode="append", storage_options=options)
    assert deltalake.DeltaTable(place, storage_options=options).to_pyarrow_table().num_rows == 2 * ROWS
    assert [path for path in stored("d/") if path.endswith(".json")] == [
        "d/t/_delta_log/00000000000000000000.json",
        "d/t/_delta_log/00000000000000000001.json",
    ]
    assert pl.read_delta(place, storage_options=client.storage_options("polars")).height == 2 * ROWS
    with pytest.raises(deltalake.exceptions.TableNotFoundError):
        deltalake.DeltaTable(address("deltalake", "d/nope"), storage_options=options)


def test_deltalake_by_lakefs(client, lakefs_repository, branch) -> None:
    options = client.storage_options("deltalake")
    place = f"lakefs://{lakefs_repository}/{branch}/d/t"
    deltalake.write_deltalake(place, table(), storage_options=options)
    deltalake.write_deltalake(place, table(), mode="append", storage_options=options)
    assert deltalake.DeltaTable(place, storage_options=options).to_pyarrow_table().num_rows == 2 * ROWS
    assert not list(client.branches.diff(lakefs_repository, branch))  # committed already
    names = [found.id for found in client.branches.list(lakefs_repository, show_hidden=True)]
    assert sorted(names) == sorted(["main", branch])


@pytest.mark.parametrize("scoped", [False, True])
def test_duckdb(client, address, stored, duck: Any, scoped: bool, lakefs_repository) -> None:
    duck.execute(client.storage_options("duckdb", repository=lakefs_repository if scoped else None))
    duck.execute(client.storage_options("duckdb", repository=lakefs_repository if scoped else None))  # again
    duck.execute(f"COPY (SELECT range AS id, range % 3 AS k FROM range(999)) TO '{address('duckdb', 'q/x.parquet')}'")
    duck.execute(f"COPY (SELECT 1 AS a) TO '{address('duckdb', 'q/x.csv')}'")
    assert duck.execute(f"SELECT count(*) FROM '{address('duckdb', 'q/*.parquet')}' WHERE k = 1").fetchone() == (333,)
    assert duck.execute(f"SELECT * FROM '{address('duckdb', 'q/x.csv')}'").fetchall() == [(1,)]
    assert len(duck.execute(f"SELECT * FROM glob('{address('duckdb', 'q/*')}')").fetchall()) == 2
    assert stored("q/") == ["q/x.csv", "q/x.parquet"]
    with pytest.raises(duckdb.Error, match=r"404|No files found"):
        duck.execute(f"SELECT * FROM '{address('duckdb', 'q/nope.csv')}'")
    (secret,) = duck.execute("SELECT name, scope, secret_string FROM duckdb_secrets()").fetchall()
    assert secret[:2] == (
        (f"lakefs_{lakefs_repository}", [f"s3://{lakefs_repository}/"])
        if scoped
        else ("lakefs", ["s3://", "s3n://", "s3a://"])
    )
    assert "redacted" in secret[2]


def test_obstore(client, address, stored) -> None:
    store = from_url(address("obstore"), **client.storage_options("obstore"))
    obstore.put(store, "o/a", b"x" * 2 * LARGE)
    assert bytes(obstore.get(store, "o/a").bytes()) == b"x" * 2 * LARGE
    assert obstore.head(store, "o/a")["size"] == 2 * LARGE
    assert [entry["path"] for page in obstore.list(store, "o/") for entry in page] == ["o/a"]
    assert stored("o/") == ["o/a"]
    with pytest.raises(FileNotFoundError):
        obstore.head(store, "o/nope")


@pytest.mark.parametrize("tool", ["polars", "deltalake", "obstore"])
def test_a_session_token_of_aws_is_not_sent(client, address, monkeypatch: pytest.MonkeyPatch, tool: Any) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-aws")
    options, place = client.storage_options(tool), address(tool, "token")
    assert "of-aws" not in str(options)
    if tool == "polars":
        pl.DataFrame({"a": [1]}).write_parquet(place, storage_options=options)
        assert pl.read_parquet(place, storage_options=options).height == 1
    elif tool == "deltalake":
        deltalake.write_deltalake(place, pa.table({"a": [1]}), storage_options=options)
    else:
        obstore.put(from_url(address(tool), **options), "a", b"1")


@pytest.mark.parametrize("tool", ["pandas", "polars"])
def test_a_wrong_secret_is_refused(client, lakefs, lakefs_repository, branch, address, tool: Any) -> None:
    """Nobody takes a page of the web interface for data."""
    with LakeFSClient(lakefs.endpoint, access_key_id=lakefs.access_key_id, secret_access_key="wrong") as other:
        options = other.storage_options(tool)
    read = pd.read_csv if tool == "pandas" else pl.read_csv
    client.objects.upload(lakefs_repository, branch, "a.csv", b"a\n1\n")
    with pytest.raises(OSError, match=r"403|signature") as raised:
        read(address(tool, "a.csv"), storage_options=options)
    assert "wrong" not in str(raised.value)
