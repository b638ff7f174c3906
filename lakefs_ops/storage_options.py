"""Options and addresses with which data tools read and write lakeFS objects.

Data tools reach lakeFS through its S3 gateway, where a repository is a bucket and the first part of a key is a ref::

    options = client.storage_options("polars")
    frame.write_parquet(storage_uri("polars", "lake", branch, "daily.parquet"), storage_options=options)

============  ================================================  ===========================
tool          use of the options                                address
============  ================================================  ===========================
`boto3`       ``boto3.client("s3", **options)``                 bucket and key
`s3fs`        ``s3fs.S3FileSystem(**options)``                  ``s3://repository/ref/path``
`fsspec`      ``fsspec.open(address, **options)``               ``s3://repository/ref/path``
`pandas`      ``storage_options=options``                       ``s3://repository/ref/path``
`pyarrow`     ``pyarrow.fs.S3FileSystem(**options)``            ``repository/ref/path``
`polars`      ``storage_options=options``                       ``s3://repository/ref/path``
`deltalake`   ``storage_options=options``                       ``s3://repository/ref/path``
`duckdb`      ``connection.execute(options)``                   ``s3://repository/ref/path``
`obstore`     ``obstore.store.from_url(address, **options)``    ``s3://repository/ref/path``
`spark`       ``SparkSession.builder.config(map=options)``      ``s3a://repository/ref/path``
`pyiceberg`   ``pyiceberg.catalog.load_catalog(**options)``     ``repository.ref.namespace``
============  ================================================  ===========================

The options contain the secret access key, so do not log them or pass them through XCom. See docs/data-tools.md for the
limits of each tool. The import of this module is fast, because Airflow's scheduler imports it with the hook.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload
from urllib.parse import urlsplit

from lakefs_ops.errors import ConfigurationError, InvalidArgument

if TYPE_CHECKING:
    from lakefs_ops.config import Config

Arguments = Literal["boto3", "fsspec", "obstore", "pandas", "pyarrow", "s3fs"]
"""Tools that take keyword arguments."""

Strings = Literal["deltalake", "polars", "pyiceberg"]
"""Tools that take strings by name."""

Tool = Literal[Arguments, Strings, "duckdb", "spark"]
"""The names of the tools."""

REGION = "us-east-1"
"""The default region of a signature; lakeFS accepts any."""


class Gateway(NamedTuple):
    """What the options of every tool are made of.

    Attributes:
        config: the client's configuration.
        endpoint: the address of the S3 gateway.
        region: the region to sign requests for.
        repository: the repository to limit the options to.
    """

    config: Config
    endpoint: str
    region: str
    repository: str | None

    @property
    def host(self) -> str:
        """The endpoint's host and port."""
        return urlsplit(self.endpoint).netloc

    @property
    def is_secure(self) -> bool:
        """Whether the endpoint has TLS."""
        return self.endpoint.startswith("https://")

    @property
    def ca_bundle(self) -> str | None:
        """The path of the CA bundle to verify the server's certificate with."""
        return self.config.verify if isinstance(self.config.verify, str) else None

    @property
    def key(self) -> str:
        """The access key ID."""
        return str(self.config.access_key_id)

    @property
    def secret(self) -> str:
        """The secret access key."""
        return str(self.config.secret_access_key)


def botocore_settings(gateway: Gateway) -> dict[str, Any]:
    """Return the arguments of ``botocore.config.Config``.

    Args:
        gateway: the gateway.
    """
    settings: dict[str, Any] = {
        "s3": {"addressing_style": "path"},
        "signature_version": "s3v4",  # lakeFS refuses presigned URLs of version 2, botocore's default
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if gateway.config.proxy is not None:
        settings["proxies"] = (
            {"http": gateway.config.proxy, "https": gateway.config.proxy} if gateway.config.proxy else {}
        )
    if gateway.config.client_certificate is not None:
        settings["client_cert"] = gateway.config.client_certificate
    return settings


def _verify(gateway: Gateway) -> dict[str, Any]:
    # Without this argument, botocore takes the CA bundle of AWS_CA_BUNDLE.
    return {} if gateway.config.verify is True else {"verify": gateway.config.verify}


def _boto3(gateway: Gateway) -> dict[str, Any]:
    from botocore.config import Config as BotocoreConfig

    return {
        "endpoint_url": gateway.endpoint,
        "aws_access_key_id": gateway.key,
        "aws_secret_access_key": gateway.secret,
        "region_name": gateway.region,
        "config": BotocoreConfig(**botocore_settings(gateway)),
        **_verify(gateway),
    }


def _s3fs(gateway: Gateway) -> dict[str, Any]:
    return {
        "key": gateway.key,
        "secret": gateway.secret,
        "endpoint_url": gateway.endpoint,
        "client_kwargs": {"region_name": gateway.region, **_verify(gateway)},
        "config_kwargs": botocore_settings(gateway),
        "use_listings_cache": False,  # another task may change the branch
    }


def _pandas(gateway: Gateway) -> dict[str, Any]:
    from aiobotocore.session import AioSession

    # After a refusal, pandas reads again without a key. lakeFS would answer with a page of its web interface.
    session = AioSession()
    session.register("before-send.s3", _refuse_unsigned)
    return {**_s3fs(gateway), "session": session}


def _refuse_unsigned(request: Any, **_: Any) -> None:
    if "Authorization" not in request.headers:
        raise PermissionError(
            "lakeFS refused the request that was signed with the access key, so it is not sent without a signature;"
            " check the key and its permissions"
        )


def _pyarrow(gateway: Gateway) -> dict[str, Any]:
    options: dict[str, Any] = {
        "access_key": gateway.key,
        "secret_key": gateway.secret,
        "endpoint_override": gateway.host,
        "scheme": "https" if gateway.is_secure else "http",
        "region": gateway.region,
    }
    if gateway.config.proxy:
        options["proxy_options"] = gateway.config.proxy
    if gateway.ca_bundle:
        options["tls_ca_file_path"] = gateway.ca_bundle
    return options


def _http_options(gateway: Gateway) -> dict[str, Any]:
    """Return the options of object_store's HTTP client."""
    options: dict[str, Any] = {}
    if not gateway.is_secure:
        options["allow_http"] = True
    if gateway.config.verify is False:
        options["allow_invalid_certificates"] = True
    if gateway.config.proxy:
        options["proxy_url"] = gateway.config.proxy
    return options


def _object_store(gateway: Gateway) -> dict[str, str]:
    """Return the options of object_store, the Rust library of Polars and deltalake."""
    options = {
        "aws_access_key_id": gateway.key,
        "aws_secret_access_key": gateway.secret,
        "aws_endpoint_url": gateway.endpoint,
        "aws_region": gateway.region,
        "aws_virtual_hosted_style_request": "false",
    }
    if os.environ.get("AWS_SESSION_TOKEN"):
        options["aws_session_token"] = ""  # otherwise, object_store would send lakeFS the session token of AWS
    texts = {name: str(value).lower() if value is True else value for name, value in _http_options(gateway).items()}
    return options | texts


def _obstore(gateway: Gateway) -> dict[str, Any]:
    options: dict[str, Any] = {
        "access_key_id": gateway.key,
        "secret_access_key": gateway.secret,
        "endpoint": gateway.endpoint,
        "region": gateway.region,
        "virtual_hosted_style_request": False,
        "client_options": _http_options(gateway),
    }
    if gateway.ca_bundle and Path(gateway.ca_bundle).is_file():
        options["client_options"]["root_certificate"] = Path(gateway.ca_bundle).read_text()
    if os.environ.get("AWS_SESSION_TOKEN"):
        options["session_token"] = ""
    return options


def _duckdb(gateway: Gateway) -> str:
    def quote(value: str, mark: str = "'") -> str:
        return mark + value.replace(mark, 2 * mark) + mark

    name = "lakefs" if gateway.repository is None else f"lakefs_{gateway.repository}"
    parts = [
        "TYPE s3",
        f"KEY_ID {quote(gateway.key)}",
        f"SECRET {quote(gateway.secret)}",
        f"ENDPOINT {quote(gateway.host)}",
        f"REGION {quote(gateway.region)}",
        "URL_STYLE 'path'",
        f"USE_SSL {str(gateway.is_secure).lower()}",
    ]
    if gateway.config.verify is False:
        parts.append("VERIFY_SSL false")
    if gateway.repository is not None:
        parts.append(f"SCOPE {quote(f's3://{gateway.repository}/')}")
    return f"CREATE OR REPLACE SECRET {quote(name, chr(34))} ({', '.join(parts)})"


def _spark(gateway: Gateway) -> dict[str, str]:
    if gateway.repository is None:
        raise InvalidArgument(
            "storage_options('spark') needs the repository, because the keys are for one bucket; pass repository='lake'"
        )
    options = {
        "endpoint": gateway.endpoint,
        "endpoint.region": gateway.region,
        "access.key": gateway.key,
        "secret.key": gateway.secret,
        "aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "path.style.access": "true",
        "connection.ssl.enabled": str(gateway.is_secure).lower(),
        "checksum.generation": "false",  # lakeFS refuses signed trailers
    }
    if gateway.config.proxy:
        proxy = urlsplit(gateway.config.proxy)
        found = {"host": proxy.hostname, "port": proxy.port, "username": proxy.username, "password": proxy.password}
        options |= {f"proxy.{name}": str(value) for name, value in found.items() if value}
    return {f"spark.hadoop.fs.s3a.bucket.{gateway.repository}.{name}": value for name, value in options.items()}


def _pyiceberg(gateway: Gateway) -> dict[str, str]:
    config = gateway.config
    catalog = f"{config.endpoint}/iceberg/api"
    options = {"type": "rest", "uri": catalog, "prefix": "lakefs"}
    if not config.access_key_id:
        return options | {"token": str(config.token() if callable(config.token) else config.token)}
    return options | {
        "oauth2-server-uri": f"{catalog}/v1/oauth/tokens",
        "credential": f"{gateway.key}:{gateway.secret}",
        "s3.endpoint": gateway.endpoint,
        "s3.access-key-id": gateway.key,
        "s3.secret-access-key": gateway.secret,
        "s3.region": gateway.region,
        "s3.force-virtual-addressing": "false",
    }


class _Row(NamedTuple):
    """A tool.

    Attributes:
        options: builds the options.
        address: the form of an address.
        takes_token: whether a bearer token can replace the key pair.
    """

    options: Callable[[Gateway], Any]
    address: str = "s3://{0.repository}/{0.ref}/{0.path}"
    takes_token: bool = False


_TOOLS: Mapping[str, _Row] = {
    "boto3": _Row(_boto3),
    "deltalake": _Row(_object_store),
    "duckdb": _Row(_duckdb),
    "fsspec": _Row(_s3fs),
    "obstore": _Row(_obstore),
    "pandas": _Row(_pandas),
    "polars": _Row(_object_store),
    "pyarrow": _Row(_pyarrow, address="{0.repository}/{0.ref}/{0.path}"),
    "pyiceberg": _Row(_pyiceberg, address="{0.repository}.{0.ref}.{0.path}", takes_token=True),
    "s3fs": _Row(_s3fs),
    "spark": _Row(_spark, address="s3a://{0.repository}/{0.ref}/{0.path}"),
}


class StorageOptions:
    """The methods of the client, the Airflow hook and the Dagster resource."""

    def _storage_config(self) -> Config:
        raise NotImplementedError

    @overload
    def storage_options(
        self, tool: Arguments, *, repository: str | None = None, endpoint: str | None = None, region: str = REGION
    ) -> dict[str, Any]: ...

    @overload
    def storage_options(
        self, tool: Strings, *, repository: str | None = None, endpoint: str | None = None, region: str = REGION
    ) -> dict[str, str]: ...

    @overload
    def storage_options(
        self,
        tool: Literal["duckdb"],
        *,
        repository: str | None = None,
        endpoint: str | None = None,
        region: str = REGION,
    ) -> str: ...

    @overload
    def storage_options(
        self, tool: Literal["spark"], *, repository: str, endpoint: str | None = None, region: str = REGION
    ) -> dict[str, str]: ...

    def storage_options(
        self, tool: Tool, *, repository: str | None = None, endpoint: str | None = None, region: str = REGION
    ) -> Any:
        """Return the options with which a data tool reads and writes lakeFS objects.

        Nothing is sent. The options contain the secret access key. `lakefs_ops.storage_options` lists the tools, and
        how each takes its options.

        Args:
            tool: the tool.
            repository: the repository that the options are for: required for ``spark``; for ``duckdb``, the secret is
                used only for this repository. Ignored for the other tools.
            endpoint: the address of the S3 gateway, by default the client's endpoint.
            region: the region to sign requests for; lakeFS accepts any.

        Raises:
            InvalidArgument: the tool is unknown, or the repository is missing.
            ConfigurationError: the login is a token, which the tool cannot use, or no login is configured; or the
                endpoint has a path.

        Example:
            >>> options = client.storage_options("polars")  # doctest: +SKIP
            >>> polars.scan_parquet("s3://lake/main/daily/", storage_options=options)  # doctest: +SKIP
        """
        _row(tool)
        return storage_options(self._storage_config(), tool, repository=repository, endpoint=endpoint, region=region)

    def storage_uri(self, tool: Tool, repository: str, ref: str, path: str = "") -> str:
        """Return the address of an object, or of all objects below a path, in the form that a data tool expects.

        Args:
            tool: the tool.
            repository: the repository's id.
            ref: the branch, tag or commit.
            path: the object's path, or the path of a directory or a table; for ``pyiceberg``, the namespace, or the
                namespace and the table.

        Raises:
            InvalidArgument: the tool is unknown, or the repository or the ref is empty.
        """
        return storage_uri(tool, repository, ref, path)


def storage_options(
    config: Config,
    tool: str,
    *,
    repository: str | None = None,
    endpoint: str | None = None,
    region: str = REGION,
) -> Any:
    """Return the options with which a data tool reads and writes lakeFS objects.

    Like `StorageOptions.storage_options`, for a configuration without a client.

    Args:
        config: the configuration.
        tool: the tool.
        repository: the repository that the options are for.
        endpoint: the address of the S3 gateway, by default the configuration's endpoint.
        region: the region to sign requests for; lakeFS accepts any.

    Raises:
        InvalidArgument: the tool is unknown, or the repository is missing.
        ConfigurationError: the login is a token, which the tool cannot use, or no login is configured; or the endpoint
            has a path.
    """
    from lakefs_ops.config import normalize_endpoint
    from lakefs_ops.uri import LakeFSURI

    row = _row(tool)
    if repository is not None:
        LakeFSURI(repository)
    if not config.access_key_id and not (row.takes_token and config.token):
        login = "is a token, with which S3 requests cannot be signed" if config.token else "is missing"
        raise ConfigurationError(
            f"storage_options({tool!r}) needs an access key, but the login {login}; set access_key_id and"
            " secret_access_key"
        )
    address = normalize_endpoint(endpoint or config.endpoint)
    if urlsplit(address).path:
        raise ConfigurationError(
            f"storage_options({tool!r}): the endpoint {address!r} has a path, but the S3 gateway of lakeFS has none;"
            " pass the gateway's address as endpoint"
        )
    return row.options(Gateway(config, address, region, repository))


def storage_uri(tool: str, repository: str, ref: str, path: str = "") -> str:
    """Return the address of an object, or of all objects below a path, in the form that a data tool expects.

    Args:
        tool: the tool.
        repository: the repository's id.
        ref: the branch, tag or commit.
        path: the object's path, or the path of a directory or a table; for ``pyiceberg``, the namespace, or the
            namespace and the table.

    Raises:
        InvalidArgument: the tool is unknown, or the repository or the ref is empty.

    Example:
        >>> storage_uri("polars", "lake", "main", "daily/2015-01.parquet")
        's3://lake/main/daily/2015-01.parquet'
        >>> storage_uri("spark", "lake", "main", "daily/")
        's3a://lake/main/daily/'
    """
    from lakefs_ops.uri import LakeFSURI

    row = _row(tool)
    if not ref:
        raise InvalidArgument(f"an address for {tool} needs a ref, such as a branch")
    return row.address.format(LakeFSURI(repository, ref, path)).rstrip(".")


def _row(tool: str) -> _Row:
    if not isinstance(tool, str) or tool not in _TOOLS:
        raise InvalidArgument(f"unknown tool {tool!r}; the tools are {', '.join(_TOOLS)}")
    return _TOOLS[tool]
