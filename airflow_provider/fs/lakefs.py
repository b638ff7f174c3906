"""The file system behind ``ObjectStoragePath("lakefs://CONNECTION@REPOSITORY/REF/PATH")``.

Airflow's generic tools work on such paths: `ObjectStoragePath`, the file transfer operator and the object storage
backend for XComs. The file system is that of lakefs-spec (extra ``fs``), configured from the Airflow connection.

Without a connection in the path, some methods of `ObjectStoragePath` bypass the provider (Airflow 3.3), and use the
credentials of lakectl's file instead: always name the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider.hooks.lakefs import LakeFSHook

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

schemes = ["lakefs"]


def get_fs(conn_id: str | None, storage_options: Mapping[str, Any] | None = None) -> AbstractFileSystem:
    """Return the file system for a connection; Airflow calls this.

    A write to a branch that does not exist fails, instead of creating the branch, and listings are not cached, because
    another task may change the branch. Writes are uncommitted: commit them with `LakeFSCommitOperator`.

    Args:
        conn_id: the id of the Airflow connection, ``lakefs_default`` by default.
        storage_options: arguments of ``lakefs_spec.LakeFSFileSystem`` that take precedence.

    Raises:
        ConfigurationError: the connection is invalid, or has a setting that lakefs-spec does not support.
        AirflowOptionalProviderFeatureException: lakefs-spec is not installed.

    Example:
        A task that writes to the branch of its run::

            @task
            def write(branch: str) -> None:
                path = ObjectStoragePath(f"lakefs://lakefs_default@lake/{branch}/stations/7.csv")
                path.write_text("day,celsius")
    """
    try:
        from lakefs_spec import LakeFSFileSystem
    except ImportError as error:
        from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

        raise AirflowOptionalProviderFeatureException(
            "paths with the scheme lakefs:// need lakefs-spec: pip install 'lakefs-ops[fs]'"
        ) from error
    from lakefs_ops.errors import ConfigurationError

    config = LakeFSHook(conn_id or LakeFSHook.default_conn_name).read_config()
    if config.client_certificate is not None:
        raise ConfigurationError(
            f"connection {conn_id!r} has a client certificate, which lakefs-spec does not support; use LakeFSHook"
        )
    token = config.token() if callable(config.token) else config.token
    options: dict[str, Any] = {
        "host": config.endpoint,
        "username": config.access_key_id,
        "password": config.secret_access_key,
        "access_token": token,
        "verify_ssl": config.verify is not False,
        "ssl_ca_cert": config.verify if isinstance(config.verify, str) else None,
        "proxy": config.proxy,
        "create_branch_ok": False,
        "use_listings_cache": False,
        "skip_instance_cache": True,
    }
    return LakeFSFileSystem(**options | dict(storage_options or {}))
