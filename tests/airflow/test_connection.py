"""Connections in all forms, and what is said of those that cannot be used."""

import dataclasses
import json
from pathlib import Path

import pytest
from airflow.sdk import Connection

from airflow_provider.get_provider_info import CONN_FIELDS
from airflow_provider.hooks.connection import read_config
from lakefs_ops.config import Config, Retries, Timeouts
from lakefs_ops.errors import ConfigurationError

KEYS = {"login": "AKIA", "password": "hush-hush"}


def read(connection: Connection) -> Config:
    return read_config(connection, connection.extra_dejson)


def by_fields(**fields: object) -> Config:
    extra = fields.pop("extra", None)
    return read(
        Connection.from_json(
            json.dumps({"conn_type": "lakefs", **KEYS, **fields, **({"extra": extra} if extra else {})}), conn_id="c"
        )
    )


def by_uri(uri: str) -> Config:
    return read(Connection.from_uri(uri, conn_id="c"))


@pytest.mark.parametrize(
    ("fields", "endpoint"),
    [
        ({"host": "https://lakefs.example.com"}, "https://lakefs.example.com"),
        ({"host": "https://lakefs.example.com/"}, "https://lakefs.example.com"),
        ({"host": "https://lakefs.example.com/api/v1"}, "https://lakefs.example.com"),
        ({"host": "https://x:8443/lakefs/api/v1"}, "https://x:8443/lakefs"),
        ({"host": "lakefs.example.com"}, "https://lakefs.example.com"),
        ({"host": "lakefs.example.com/api/v1"}, "https://lakefs.example.com"),
        ({"host": "lakefs.example.com:443"}, "https://lakefs.example.com:443"),
        ({"host": "lakefs:8000"}, "http://lakefs:8000"),
        ({"host": "lakefs", "port": 8000}, "http://lakefs:8000"),
        ({"host": "lakefs", "port": 8000, "schema": "https"}, "https://lakefs:8000"),
        ({"host": "http://lakefs", "port": 8000}, "http://lakefs:8000"),
        ({"host": "http://lakefs:8000/api/v1", "port": 1}, "http://lakefs:8000"),
        ({"host": "localhost:8000"}, "http://localhost:8000"),
        ({"host": "[::1]", "port": 8000}, "http://[::1]:8000"),
        ({"conn_type": "http", "host": "lakefs.example.com"}, "http://lakefs.example.com"),
        ({"conn_type": "http", "host": "lakefs.example.com", "schema": "https"}, "https://lakefs.example.com"),
    ],
)
def test_endpoint_by_fields(fields: dict, endpoint: str) -> None:
    assert by_fields(**fields).endpoint == endpoint


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("lakefs://AKIA:hush-hush@lakefs:8000", "http://lakefs:8000"),
        ("lakefs://AKIA:hush-hush@lakefs:8000/api/v1", "http://lakefs:8000"),
        ("lakefs://AKIA:hush-hush@lakefs.example.com/api%2Fv1", "https://lakefs.example.com"),
        ("lakefs://https://AKIA:hush-hush@lakefs.example.com:8443/api/v1", "https://lakefs.example.com:8443"),
        ("http://AKIA:hush-hush@lakefs:8000/https", "https://lakefs:8000"),
    ],
)
def test_endpoint_by_uri(uri: str, endpoint: str) -> None:
    config = by_uri(uri)
    assert config.endpoint == endpoint
    assert (config.access_key_id, config.secret_access_key) == ("AKIA", "hush-hush")


def test_texts_of_a_uri_become_numbers_and_booleans(tmp_path: Path) -> None:
    config = by_uri("lakefs://a:hush-hush@lakefs:8000?verify_ssl=false&connect_timeout=3&read_timeout=60.5")
    assert config.verify is False
    assert (config.timeouts.connect, config.timeouts.read) == (3.0, 60.5)
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert by_uri(f"lakefs://a:hush-hush@lakefs:8000?verify_ssl=True&ca_bundle={bundle}").verify == str(bundle)


@pytest.mark.parametrize("empty", [None, ""])
def test_empty_fields_of_the_form_mean_the_defaults(empty: str | None) -> None:
    assert by_fields(host="https://x", extra=dict.fromkeys(CONN_FIELDS, empty)) == by_fields(host="https://x")


def test_the_form_has_every_setting_of_the_client(tmp_path: Path) -> None:
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    certificate.touch()
    key.touch()
    config = by_uri(
        "lakefs://a:hush-hush@lakefs:8000?retries=2&retry_budget=5.5&pool_size=7&total_timeout=120&exchange_token=yes"
        f"&client_certificate={certificate}&client_key={key}&proxy=http%3A%2F%2Fproxy%3A3128&audit_secret_key=the-key-of-the-gate"
    )
    assert config == Config(
        endpoint="http://lakefs:8000",
        access_key_id="a",
        secret_access_key="hush-hush",
        login=True,
        client_certificate=(str(certificate), str(key)),
        proxy="http://proxy:3128",
        timeouts=Timeouts(total=120),
        retries=Retries(count=2, budget=5.5),
        pool_size=7,
        audit_key="the-key-of-the-gate",
    )
    settings = {field.name for field in dataclasses.fields(Config)}
    in_the_form = {"endpoint", "access_key_id", "secret_access_key", "token", "login", "verify", "client_certificate"}
    assert settings == in_the_form | {"proxy", "timeouts", "retries", "pool_size", "audit_key", "sources"}


def test_a_proxy_of_the_environment_can_be_switched_off() -> None:
    assert by_fields(host="https://x").proxy is None
    assert by_fields(host="https://x", extra={"proxy": "none"}).proxy == ""


def test_keys_in_the_extra_of_a_connection_of_type_http() -> None:
    config = read(
        Connection(
            conn_id="c",
            conn_type="http",
            host="http://lakefs:8000/api/v1",
            extra='{"access_key_id": "AKIA", "secret_access_key": "hush-hush"}',
        )
    )
    assert (config.access_key_id, config.secret_access_key) == ("AKIA", "hush-hush")


def test_a_connection_of_type_http_may_have_fields_for_other_hooks() -> None:
    extra = {"Accept": "application/json", "timeout": 5, "verify": False, "read_timeout": 60}
    assert by_fields(conn_type="http", host="https://x", extra=extra).timeouts.read == 60


@pytest.mark.parametrize("extra", ["", "null", "{}"])
def test_an_empty_extra(extra: str) -> None:
    assert read(Connection(conn_id="c", conn_type="lakefs", host="https://x", extra=extra)).access_key_id is None


def test_token_instead_of_keys() -> None:
    config = by_fields(host="https://x", login="", password="", extra={"token": "hush-hush"})
    assert config.token == "hush-hush"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "no host"),
        ({"host": "ftp://x"}, "'ftp://x' must look like"),
        (
            {"host": "https://x", "password": ""},
            "it has the access key ID (login) without the secret",
        ),
        ({"host": "https://x", "extra": {"verify_ssl": "maybe"}}, "verify_ssl must be true or false, got 'maybe'"),
        (
            {"host": "https://x", "extra": {"read_timeout": "soon"}},
            "read_timeout must be a number of seconds, got 'soon'",
        ),
        ({"host": "https://x", "extra": {"connect_timeout": -1}}, "connect timeout must be above 0"),
        ({"host": "https://x", "extra": {"ca_bundle": 7}}, "ca_bundle must be a path, got int"),
        (
            {"host": "https://x", "extra": ["hush-hush"]},
            "its extra must be a JSON object with the fields access_key_id, ",
        ),
        ({"host": "https://x", "extra": "hush-hush, not JSON"}, "its extra must be a JSON object with the fields "),
        (
            {"host": "https://x", "extra": {"verify_tls": "hush-hush", "token": ""}},
            "its extra has the unknown field 'verify_tls'; the known fields are access_key_id, secret_access_key,"
            " verify_ssl, ca_bundle, client_certificate, client_key, proxy, connect_timeout, read_timeout,"
            " total_timeout, retries, retry_budget, pool_size, exchange_token, token, audit_secret_key",
        ),
        (
            {"host": "https://x", "conn_type": "http", "extra": {"access_key": "a"}},
            "unknown field 'access_key'; the known",
        ),
        ({"host": "https://x", "extra": {"ca_bundle": "/no/such.pem"}}, "the file '/no/such.pem' does not exist"),
        (
            {"host": "https://x", "login": ""},
            "(password) without the access key ID (login)",
        ),
        ({"host": "https://a:hush-hush@x"}, "its host must not contain credentials; enter access key ID (login) and"),
        ({"host": "https://x", "password": "hush-hush\n"}, "secret_access_key (password) contains a control character"),
        ({"host": "https://x", "extra": {"client_key": __file__}}, "client_key needs client_certificate"),
        ({"host": "https://x", "extra": {"client_certificate": "/no/such.pem"}}, "extra client_certificate: the file"),
        ({"host": "https://x", "extra": {"proxy": "hush-hush"}}, "proxy (extra) must look like http://proxy"),
        ({"host": "https://x", "extra": {"proxy": ["hush-hush"]}}, "proxy must be a string, got list"),
        ({"host": "https://x", "extra": {"retries": 1.5}}, "its extra retries must be an integer, got 1.5"),
        ({"host": "https://x", "extra": {"retries": -1}}, "count of the retries must not be negative, got -1"),
        ({"host": "https://x", "extra": {"retry_budget": "long"}}, "retry_budget must be a number of seconds"),
        (
            {"host": "https://x", "extra": {"audit_secret_key": "hush-hush"}},
            "audit_key (extra audit_secret_key) must have at least 16 characters",
        ),
        ({"host": "https://x", "extra": {"pool_size": 0}}, "pool_size (extra) must be at least 1, got 0"),
        ({"host": "https://x", "extra": {"total_timeout": 0}}, "the total timeout must be above 0 seconds"),
        ({"host": "https://x", "extra": {"token": "hush-hush"}}, "both an access key ID (login) and a token"),
        (
            {"host": "https://x", "login": "", "password": "", "extra": {"exchange_token": True}},
            "extra exchange_token needs an access key; enter access key ID (login) and secret access key (password)",
        ),
    ],
)
def test_what_cannot_be_used_is_named_without_the_secret(fields: dict, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        by_fields(**fields)
    assert text in str(caught.value)
    assert str(caught.value).startswith("connection 'c': ")
    assert "hush-hush" not in str(caught.value)
