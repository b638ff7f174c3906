"""The data tools that users have, each on a branch of the embedded lakeFS, through its S3 gateway."""

from __future__ import annotations

import io
import os
import threading
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import deltalake
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
import s3fs
from boto3.s3.transfer import TransferConfig

MIB = 1 << 20


@pytest.fixture
def s3(lakefs):
    client = boto3.client(
        "s3", endpoint_url=lakefs.endpoint, aws_access_key_id=lakefs.access_key_id,
        aws_secret_access_key=lakefs.secret_access_key, region_name="us-east-1",
        config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )  # fmt: skip
    yield client
    client.close()


@pytest.fixture
def options(lakefs):
    """What object_store, under polars and deltalake, wants to know."""
    return {
        "aws_access_key_id": lakefs.access_key_id,
        "aws_secret_access_key": lakefs.secret_access_key,
        "aws_endpoint_url": lakefs.endpoint,
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
        "aws_virtual_hosted_style_request": "false",
    }


# boto3 --------------------------------------------------------------------------------------------------


def test_boto3_writes_reads_lists_and_deletes(lakefs, lakefs_repository, s3):
    put = s3.put_object(
        Bucket=lakefs_repository, Key="main/a/b.txt", Body=b"hello", ContentType="text/plain", Metadata={"who": "me"}
    )
    got = s3.get_object(Bucket=lakefs_repository, Key="main/a/b.txt", Range="bytes=1-3")
    assert got["Body"].read() == b"ell"
    assert (got["ETag"], got["ContentType"]) == (put["ETag"], "text/plain")
    assert {name.lower(): value for name, value in got["Metadata"].items()} == {"who": "me"}
    stats = lakefs.client.objects.stat(lakefs_repository, "main", "a/b.txt")
    assert f'"{stats.checksum}"' == put["ETag"]

    listed = s3.list_objects_v2(Bucket=lakefs_repository, Delimiter="/")
    assert [prefix["Prefix"] for prefix in listed["CommonPrefixes"]] == ["main/"]
    listed = s3.list_objects_v2(Bucket=lakefs_repository, Prefix="main/")
    assert [(entry["Key"], entry["Size"]) for entry in listed["Contents"]] == [("main/a/b.txt", 5)]
    assert lakefs_repository in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]

    deleted = s3.delete_objects(Bucket=lakefs_repository, Delete={"Objects": [{"Key": "main/a/b.txt"}]})
    assert [entry["Key"] for entry in deleted["Deleted"]] == ["main/a/b.txt"]
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=lakefs_repository, Key="main/a/b.txt")


def test_boto3_uploads_and_downloads_in_parts(lakefs, lakefs_repository, s3):
    data = os.urandom(11 * MIB + 5)
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
    s3.upload_fileobj(io.BytesIO(data), lakefs_repository, "main/big", Config=parts)
    target = io.BytesIO()
    s3.download_fileobj(lakefs_repository, "main/big", target, Config=parts)
    assert target.getvalue() == data
    assert lakefs.client.objects.get(lakefs_repository, "main", "big") == data
    s3.copy({"Bucket": lakefs_repository, "Key": "main/big"}, lakefs_repository, "main/copy", Config=parts)
    assert lakefs.client.objects.get(lakefs_repository, "main", "copy") == data


def test_boto3_creates_an_object_only_once(lakefs_repository, s3):
    won: list[int] = []

    def put(number: int) -> None:
        try:
            s3.put_object(Bucket=lakefs_repository, Key="main/lock", Body=b"%d" % number, IfNoneMatch="*")
        except botocore.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"
        else:
            won.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % number for number in won] == [
        s3.get_object(Bucket=lakefs_repository, Key="main/lock")["Body"].read()
    ]


def test_boto3_presigned_links(lakefs_repository, s3):
    place = {"Bucket": lakefs_repository, "Key": "main/by link"}
    request = urllib.request.Request(s3.generate_presigned_url("put_object", place), b"sent", method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(s3.generate_presigned_url("get_object", place)) as answer:
        assert answer.read() == b"sent"


def test_boto3_reads_at_commits_and_tags(lakefs, lakefs_repository, s3):
    s3.put_object(Bucket=lakefs_repository, Key="main/a", Body=b"1")
    commit = lakefs.client.commits.create(lakefs_repository, "main", message="one")
    lakefs.client.tags.create(lakefs_repository, id="v1", ref=commit.id)
    s3.put_object(Bucket=lakefs_repository, Key="main/a", Body=b"2")
    found = [
        s3.get_object(Bucket=lakefs_repository, Key=f"{ref}/a")["Body"].read() for ref in ("v1", commit.id, "main")
    ]
    assert found == [b"1", b"1", b"2"]
    with pytest.raises(botocore.exceptions.ClientError, match="NoSuchBucket"):
        s3.put_object(Bucket=lakefs_repository, Key="v1/a", Body=b"3")


# s3fs ---------------------------------------------------------------------------------------------------


def test_s3fs(lakefs, lakefs_repository):
    fs = s3fs.S3FileSystem(
        key=lakefs.access_key_id, secret=lakefs.secret_access_key, endpoint_url=lakefs.endpoint,
        client_kwargs={"region_name": "us-east-1"}, skip_instance_cache=True, use_listings_cache=False,
    )  # fmt: skip
    base = f"{lakefs_repository}/main"
    fs.pipe({f"{base}/d/a": b"1", f"{base}/d/e/b": b"22"})
    with fs.open(f"{base}/big", "wb", block_size=5 * MIB) as file:
        file.write(b"x" * (6 * MIB))
    assert fs.find(base) == [f"{base}/big", f"{base}/d/a", f"{base}/d/e/b"]
    assert sorted(fs.ls(f"{base}/d", detail=False)) == [f"{base}/d/a", f"{base}/d/e"]
    assert (fs.exists(f"{base}/nope"), fs.isdir(f"{base}/d"), fs.info(f"{base}/big")["size"]) == (False, True, 6 * MIB)
    with fs.open(f"{base}/big", "rb") as file:
        file.seek(-3, 2)
        assert file.read() == b"xxx"
    fs.mv(f"{base}/d/a", f"{base}/moved")
    fs.rm(f"{base}/d", recursive=True)
    assert sorted(fs.find(base)) == [f"{base}/big", f"{base}/moved"]


# pyarrow ------------------------------------------------------------------------------------------------


def test_pyarrow(lakefs, lakefs_repository):
    host = lakefs.endpoint.removeprefix("http://")
    fs = pyarrow.fs.S3FileSystem(
        access_key=lakefs.access_key_id, secret_key=lakefs.secret_access_key, endpoint_override=host, scheme="http",
        region="us-east-1",
    )  # fmt: skip
    table = pyarrow.table({"day": ["mon", "tue", "tue"], "n": [1, 2, 3]})
    base = f"{lakefs_repository}/main/t"
    pyarrow.dataset.write_dataset(
        table, base, filesystem=fs, format="parquet", partitioning=["day"], partitioning_flavor="hive", create_dir=False
    )
    found = pyarrow.dataset.dataset(base, filesystem=fs, format="parquet", partitioning="hive")
    assert found.to_table(filter=pyarrow.dataset.field("day") == "tue")["n"].to_pylist() == [2, 3]
    data = os.urandom(6 * MIB)
    with fs.open_output_stream(f"{lakefs_repository}/main/stream") as stream:  # parts with checksums in trailers
        stream.write(data)
    with fs.open_input_file(f"{lakefs_repository}/main/stream") as file:
        assert file.read_at(100, 5 * MIB) == data[5 * MIB : 5 * MIB + 100]
    assert lakefs.client.objects.get(lakefs_repository, "main", "stream") == data
    assert fs.get_file_info(f"{lakefs_repository}/main/nope").type == pyarrow.fs.FileType.NotFound


# Polars -------------------------------------------------------------------------------------------------


def test_polars(lakefs, lakefs_repository, options):
    frame = polars.DataFrame({"n": range(1000), "s": ["a", "b"] * 500})
    address = f"s3://{lakefs_repository}/main/t.parquet"
    frame.write_parquet(address, storage_options=options)
    found = polars.scan_parquet(address, storage_options=options).filter(polars.col("n") >= 998).collect()
    assert found["s"].to_list() == ["a", "b"]
    lakefs.client.commits.create(lakefs_repository, "main", message="one")
    frame.lazy().filter(polars.col("n") < 2).sink_parquet(address, storage_options=options)
    versions = [f"s3://{lakefs_repository}/{ref}/t.parquet" for ref in ("main", "main@")]
    assert [len(polars.read_parquet(version, storage_options=options)) for version in versions] == [2, 1000]


# deltalake ----------------------------------------------------------------------------------------------


def test_deltalake_by_s3(lakefs, lakefs_repository, options):
    address = f"s3://{lakefs_repository}/main/t"
    deltalake.write_deltalake(address, pyarrow.table({"id": [1, 2]}), storage_options=options)
    deltalake.write_deltalake(address, pyarrow.table({"id": [3]}), storage_options=options, mode="append")
    table = deltalake.DeltaTable(address, storage_options=options)
    table.merge(
        pyarrow.table({"id": [3, 4]}), predicate="s.id = t.id", source_alias="s", target_alias="t"
    ).when_not_matched_insert_all().execute()
    assert sorted(deltalake.DeltaTable(address, storage_options=options).to_pyarrow_table()["id"].to_pylist()) == [
        1, 2, 3, 4,
    ]  # fmt: skip
    names = [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "main", prefix="t/_delta_log/")]
    assert [name.rpartition("/")[2][:20] for name in names] == [f"{version:020d}" for version in range(3)]


def test_deltalake_writers_at_once_lose_nothing(lakefs_repository, options):
    address = f"s3://{lakefs_repository}/main/t"
    deltalake.write_deltalake(address, pyarrow.table({"id": [0]}), storage_options=options)

    def append(number: int) -> None:
        deltalake.write_deltalake(address, pyarrow.table({"id": [number]}), storage_options=options, mode="append")

    threads = [threading.Thread(target=append, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = deltalake.DeltaTable(address, storage_options=options)
    assert sorted(table.to_pyarrow_table()["id"].to_pylist()) == list(range(5))
    assert table.version() == 4


def test_deltalake_by_lakefs_commits_by_itself(lakefs, lakefs_repository, options):
    address = f"lakefs://{lakefs_repository}/main/t"
    options = {"endpoint": lakefs.endpoint, "access_key_id": lakefs.access_key_id, "allow_http": "true"} | {
        "secret_access_key": lakefs.secret_access_key
    }
    deltalake.write_deltalake(address, pyarrow.table({"id": [1]}), storage_options=options)
    assert deltalake.DeltaTable(address, storage_options=options).to_pyarrow_table()["id"].to_pylist() == [1]
    assert not list(lakefs.client.branches.diff(lakefs_repository, "main"))
    branches = lakefs.client.branches.list(lakefs_repository, show_hidden=True)
    assert [branch.id for branch in branches] == ["main"]
