"""Data tools with an Airflow connection: the hook's options, and the Amazon provider on a branch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.taskgroups import LakeFSPublishTaskGroup, audit
from lakefs_ops.errors import ConfigurationError, InvalidArgument

pytest.importorskip("airflow.providers.amazon")

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.operators.s3 import (
    S3CopyObjectOperator,
    S3CreateObjectOperator,
    S3DeleteObjectsOperator,
    S3ListOperator,
)
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.providers.amazon.aws.transfers.local_to_s3 import LocalFilesystemToS3Operator

SECRET = "secret-of-the-connection"
KEYS = {"host": "https://lakefs.example.com", "login": "AKIAEXAMPLE", "password": SECRET}


@pytest.fixture(autouse=True)
def no_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def aws_lakefs(connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> str:
    """The connection of type aws that is derived from ``lakefs_default``."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_LAKEFS", LakeFSHook().aws_connection())
    return "aws_lakefs"


def test_the_options_are_those_of_the_connection(connect: Callable[..., None], tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("PEM")
    connect(**KEYS, extra={"ca_bundle": str(bundle)})
    hook = LakeFSHook()
    options = hook.storage_options("polars")
    assert options["aws_endpoint_url"] == KEYS["host"]
    assert (options["aws_access_key_id"], options["aws_secret_access_key"]) == (KEYS["login"], SECRET)
    assert hook.storage_options("pyarrow")["tls_ca_file_path"] == str(bundle)
    assert hook.storage_uri("polars", "lake", "dev", "a") == "s3://lake/dev/a"
    with pytest.raises(InvalidArgument, match="unknown tool 'excel'"):
        LakeFSHook("no_such_connection").storage_options("excel")  # type: ignore[call-overload]
    assert SECRET not in repr(hook)


def test_the_derived_connection(connect: Callable[..., None], tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("PEM")
    connect(**KEYS, extra={"ca_bundle": str(bundle)})
    assert json.loads(LakeFSHook().aws_connection()) == {
        "conn_type": "aws",
        "login": KEYS["login"],
        "password": SECRET,
        "extra": {
            "endpoint_url": KEYS["host"],
            "region_name": "us-east-1",
            "verify": str(bundle),
            "config_kwargs": {
                "s3": {"addressing_style": "path"},
                "signature_version": "s3v4",
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
        },
    }
    connect(host=KEYS["host"], extra={"token": SECRET})
    with pytest.raises(ConfigurationError, match="needs an access key, but the login is a token") as raised:
        LakeFSHook().aws_connection()
    assert SECRET not in str(raised.value)


def test_a_hook_accepts_the_derived_connection(aws_lakefs: str, lakefs: Any, lakefs_repository: str) -> None:
    hook = LakeFSHook(aws_lakefs)
    assert hook.read_config() == LakeFSHook().read_config()
    with hook.get_conn() as client:
        assert client.repositories.get(lakefs_repository).id == lakefs_repository


@pytest.mark.parametrize(
    ("extra", "verify"),
    [({}, True), ({"verify": False}, False), ({"verify": "false"}, False), ({"verify_ssl": False}, False)],
)
def test_a_hook_accepts_the_fields_of_an_aws_connection(
    connect: Callable[..., None], extra: dict[str, Any], verify: bool
) -> None:
    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": SECRET, "role_arn": None, "profile": "x"}
    connect(conn_type="aws", extra={"endpoint_url": "http://lakefs:8000", "retries": 2, **keys, **extra})
    config = LakeFSHook().read_config()
    assert (config.endpoint, config.access_key_id, config.secret_access_key) == (
        "http://lakefs:8000", "AKIAEXAMPLE", SECRET,
    )  # fmt: skip
    assert (config.verify, config.retries.count) == (verify, 2)


def test_an_aws_connection_without_an_endpoint_is_refused(connect: Callable[..., None]) -> None:
    connect(conn_type="aws", login="AKIAEXAMPLE", password=SECRET)
    with pytest.raises(ConfigurationError, match="its extra has no endpoint_url") as raised:
        LakeFSHook().read_config()
    assert SECRET not in str(raised.value)


def test_the_host_of_an_aws_connection_comes_first(connect: Callable[..., None]) -> None:
    connect(conn_type="aws", **KEYS, extra={"endpoint_url": "https://s3.example.com"})
    assert LakeFSHook().read_config().endpoint == KEYS["host"]


def test_the_hook_of_the_amazon_provider(aws_lakefs: str, lakefs: Any, lakefs_repository: str) -> None:
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    s3 = S3Hook(aws_conn_id=aws_lakefs)
    s3.load_string("a,b", f"s3://{lakefs_repository}/dev/h/x.csv")
    assert s3.read_key("dev/h/x.csv", lakefs_repository) == "a,b"
    assert s3.check_for_key("dev/h/x.csv", lakefs_repository)
    assert not s3.check_for_key("dev/nope", lakefs_repository)
    assert s3.check_for_bucket(lakefs_repository)
    assert s3.list_keys(lakefs_repository, prefix="dev/h/") == ["dev/h/x.csv"]
    assert s3.list_prefixes(lakefs_repository, prefix="dev/", delimiter="/") == ["dev/h/"]
    link = s3.generate_presigned_url("get_object", {"Bucket": lakefs_repository, "Key": "dev/h/x.csv"})
    assert "X-Amz-Signature" in str(link)
    assert lakefs.client.objects.get(lakefs_repository, "dev", "h/x.csv") == b"a,b"
    assert not list(lakefs.client.objects.list(lakefs_repository, "main"))


def test_its_operators_and_sensors_in_a_publish_group(
    aws_lakefs: str, lakefs: Any, lakefs_repository: str, run_dag: Callable[[DAG], Any], tmp_path: Path
) -> None:
    delivered = tmp_path / "delivered.csv"
    delivered.write_text("day,celsius\n2015-01-01,4.2\n")
    bucket = {"bucket_name": lakefs_repository}

    @audit
    def delivered_is_copied(ref: str) -> list[str]:
        s3 = S3Hook(aws_conn_id=aws_lakefs)
        keys = s3.list_keys(lakefs_repository, prefix=f"{ref}/")
        return [] if keys == [f"{ref}/copy.csv", f"{ref}/raw.csv"] else [f"found {keys}"]

    with DAG("s3", schedule=None, default_args={"aws_conn_id": aws_lakefs}) as dag:
        with LakeFSPublishTaskGroup("g", repo=lakefs_repository) as run:
            land = LocalFilesystemToS3Operator(
                task_id="land", filename=str(delivered), dest_key=f"{run.branch}/raw.csv", dest_bucket=lakefs_repository
            )
            arrived = S3KeySensor(task_id="arrived", bucket_key=f"{run.branch}/raw.csv", **bucket)
            draft = S3CreateObjectOperator(
                task_id="draft", s3_bucket=lakefs_repository, s3_key=f"{run.branch}/draft.csv", data="draft"
            )
            copy = S3CopyObjectOperator(
                task_id="copy",
                source_bucket_key=f"s3://{lakefs_repository}/{run.branch}/raw.csv",
                dest_bucket_key=f"s3://{lakefs_repository}/{run.branch}/copy.csv",
            )
            delete = S3DeleteObjectsOperator(
                task_id="delete", bucket=lakefs_repository, keys=[f"{run.branch}/draft.csv"]
            )
            land >> arrived >> draft >> copy >> delete
            with run.audits:
                delivered_is_copied(run.ref)
        listed = S3ListOperator(task_id="listed", bucket=lakefs_repository, prefix="main/")

        @task
        def read(keys: list[str]) -> list[str]:
            return keys

        run >> listed
        read(listed.output)
    finished = run_dag(dag)
    states = {ti.task_id: str(ti.state) for ti in finished.get_task_instances()}
    assert finished.state == "success", states
    paths = [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "main")]
    assert paths == ["copy.csv", "raw.csv"]
    assert lakefs.client.objects.get(lakefs_repository, "main", "copy.csv") == delivered.read_bytes()
