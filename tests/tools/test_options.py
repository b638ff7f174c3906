"""The options and addresses themselves; nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from lakefs_ops import Config, LakeFSClient
from lakefs_ops.errors import ConfigurationError, InvalidArgument
from lakefs_ops.storage_options import Tool, storage_options, storage_uri

KEY, SECRET = "AKIAEXAMPLE", "se'cr\"et/+key"
TOOLS = get_args(Tool)


def config(endpoint: str = "https://lakefs.example.com", **settings: Any) -> Config:
    keys = {} if "token" in settings else {"access_key_id": KEY, "secret_access_key": SECRET}
    return Config(endpoint=endpoint, **{**keys, **settings})


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_has_options_and_an_address(tool: str) -> None:
    options = storage_options(config(), tool, repository="lake")
    assert KEY in str(options)
    assert "lakefs.example.com" in str(options)
    assert "us-east-1" in str(options)
    assert storage_uri(tool, "lake", "dev", "a/b").replace(".", "/").endswith("lake/dev/a/b")
    assert "eu-central-1" in str(storage_options(config(), tool, repository="lake", region="eu-central-1"))


def test_addresses() -> None:
    assert storage_uri("polars", "lake", "dev", "a/b.parquet") == "s3://lake/dev/a/b.parquet"
    assert storage_uri("spark", "lake", "dev", "a/") == "s3a://lake/dev/a/"
    assert storage_uri("pyarrow", "lake", "dev", "a") == "lake/dev/a"
    assert storage_uri("pyiceberg", "lake", "dev", "sales.daily") == "lake.dev.sales.daily"
    assert storage_uri("pyiceberg", "lake", "dev") == "lake.dev"
    assert storage_uri("s3fs", "lake", "dev") == "s3://lake/dev/"
    with pytest.raises(InvalidArgument, match="needs a ref"):
        storage_uri("polars", "lake", "")
    with pytest.raises(InvalidArgument, match="needs a repository"):
        storage_uri("polars", "", "main")


@pytest.mark.parametrize("tool", ["polar", "", None, SECRET])
def test_an_unknown_tool_is_refused_with_the_list(tool: Any) -> None:
    for call in (lambda: storage_options(config(), tool), lambda: storage_uri(tool, "lake", "dev")):
        with pytest.raises(InvalidArgument, match="unknown tool") as raised:
            call()
        assert all(name in str(raised.value) for name in TOOLS)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_token_is_refused_where_requests_are_signed(tool: str) -> None:
    if tool == "pyiceberg":
        for token in ("bearer", lambda: "bearer"):
            options = storage_options(config(token=token), tool)
            assert options["token"] == "bearer"
            assert "credential" not in options
        return
    with pytest.raises(ConfigurationError, match="needs an access key, but the login is a token") as raised:
        storage_options(config(token="bearer-secret"), tool, repository="lake")
    assert "bearer-secret" not in str(raised.value)


@pytest.mark.parametrize("tool", TOOLS)
def test_without_a_login_nothing_is_returned(tool: str) -> None:
    with pytest.raises(ConfigurationError, match="the login is missing"):
        storage_options(Config(endpoint="lakefs.example.com"), tool, repository="lake")


def test_an_endpoint_with_a_path_needs_the_address_of_the_gateway() -> None:
    behind = config("https://example.com/lakefs")
    with pytest.raises(ConfigurationError, match="pass the gateway's address as endpoint"):
        storage_options(behind, "polars")
    options = storage_options(behind, "polars", endpoint="s3.example.com")
    assert options["aws_endpoint_url"] == "https://s3.example.com"
    assert storage_options(config(), "pyarrow", endpoint="http://10.0.0.1:8000")["endpoint_override"] == "10.0.0.1:8000"


def test_plain_http_is_allowed_only_where_the_endpoint_has_it() -> None:
    plain, secure = config("http://127.0.0.1:8000"), config()
    for tool in ("polars", "deltalake"):
        assert storage_options(plain, tool)["allow_http"] == "true"
        assert "allow_http" not in storage_options(secure, tool)
    assert storage_options(plain, "obstore")["client_options"] == {"allow_http": True}
    assert storage_options(plain, "pyarrow")["scheme"] == "http"
    assert "USE_SSL false" in storage_options(plain, "duckdb")
    assert "USE_SSL true" in storage_options(secure, "duckdb")


def test_the_settings_of_tls_and_the_proxy_are_carried_over(tmp_path: Path) -> None:
    bundle, certificate = tmp_path / "ca.pem", tmp_path / "client.pem"
    bundle.write_text("PEM")
    certificate.write_text("PEM")
    proxy = "http://user:pass@proxy.example.com:3128"
    set_up = config(verify=str(bundle), client_certificate=str(certificate), proxy=proxy)
    boto = storage_options(set_up, "boto3")
    assert boto["verify"] == str(bundle)
    assert boto["config"].client_cert == str(certificate)
    assert boto["config"].proxies == {"http": proxy, "https": proxy}
    assert storage_options(set_up, "s3fs")["client_kwargs"]["verify"] == str(bundle)
    assert storage_options(set_up, "s3fs")["config_kwargs"]["proxies"]["https"] == proxy
    arrow = storage_options(set_up, "pyarrow")
    assert (arrow["tls_ca_file_path"], arrow["proxy_options"]) == (str(bundle), proxy)
    assert storage_options(set_up, "polars")["proxy_url"] == proxy
    assert storage_options(set_up, "obstore")["client_options"] == {"proxy_url": proxy, "root_certificate": "PEM"}
    assert storage_options(set_up, "spark", repository="lake")["spark.hadoop.fs.s3a.bucket.lake.proxy.port"] == "3128"

    unverified = config(verify=False, proxy="")
    assert storage_options(unverified, "boto3")["verify"] is False
    assert storage_options(unverified, "boto3")["config"].proxies == {}
    assert storage_options(unverified, "polars")["allow_invalid_certificates"] == "true"
    assert storage_options(unverified, "obstore")["client_options"] == {"allow_invalid_certificates": True}
    assert "VERIFY_SSL false" in storage_options(unverified, "duckdb")

    assert "verify" not in storage_options(config(), "boto3")  # botocore then honors AWS_CA_BUNDLE
    assert storage_options(config(), "boto3")["config"].proxies is None


def test_botocore_sends_checksums_only_where_they_are_required() -> None:
    found = storage_options(config(), "boto3")["config"]
    assert (found.request_checksum_calculation, found.response_checksum_validation) == ("when_required",) * 2
    assert (found.signature_version, found.s3) == ("s3v4", {"addressing_style": "path"})


def test_spark_has_the_keys_of_one_bucket() -> None:
    with pytest.raises(InvalidArgument, match="needs the repository"):
        storage_options(config(), "spark")
    options = storage_options(config(), "spark", repository="lake")
    assert all(name.startswith("spark.hadoop.fs.s3a.bucket.lake.") for name in options)
    assert options["spark.hadoop.fs.s3a.bucket.lake.path.style.access"] == "true"
    assert options["spark.hadoop.fs.s3a.bucket.lake.secret.key"] == SECRET


def test_the_text_for_duckdb_quotes_its_values() -> None:
    assert storage_options(config(), "duckdb", repository="my-lake") == (
        "CREATE OR REPLACE SECRET \"lakefs_my-lake\" (TYPE s3, KEY_ID 'AKIAEXAMPLE', SECRET 'se''cr\"et/+key',"
        " ENDPOINT 'lakefs.example.com', REGION 'us-east-1', URL_STYLE 'path', USE_SSL true, SCOPE 's3://my-lake/')"
    )


def test_the_catalog_of_iceberg() -> None:
    options = storage_options(config(), "pyiceberg", endpoint="https://s3.example.com")
    assert options["uri"] == "https://lakefs.example.com/iceberg/api"
    assert options["credential"] == f"{KEY}:{SECRET}"
    assert options["s3.endpoint"] == "https://s3.example.com"


def test_the_client_has_both_methods_and_shows_no_secret() -> None:
    with LakeFSClient(config=config()) as client:
        assert client.storage_options("polars") == storage_options(client.config, "polars")
        assert client.storage_uri("polars", "lake", "dev", "a") == "s3://lake/dev/a"
        assert SECRET not in repr(client)
        assert SECRET not in repr(client.storage_options("boto3")["config"])
        with pytest.raises(InvalidArgument) as raised:
            client.storage_options("spark")
        assert SECRET not in str(raised.value)
