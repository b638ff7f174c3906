"""`LakeFSResource`: the connection of Dagster code to a lakeFS server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from dagster import ConfigurableResource, DagsterInvalidDefinitionError, EnvVar, InitResourceContext
from dagster._config.field_utils import IntEnvVar
from dagster_shared.libraries import DagsterLibraryRegistry
from pydantic import ConfigDict, Field, PrivateAttr

from dagster_resources.environments import Environment, find_environment
from dagster_resources.metadata import run_metadata
from dagster_resources.publish import RUN_PREFIX, RunBranch, RunContext, warn_unpublished
from lakefs_ops import __version__
from lakefs_ops.config import has_credentials, parse_bool
from lakefs_ops.errors import AlreadyExists, BranchNotFound, ConfigurationError
from lakefs_ops.storage_options import StorageOptions
from lakefs_ops.uri import COMMIT_ID

if TYPE_CHECKING:
    from dagster import DagsterRun

    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.config import Config
    from lakefs_ops.storage_options import Tool

DagsterLibraryRegistry.register("lakefs-ops", __version__, is_dagster_package=False)


class LakeFSResource(StorageOptions, ConfigurableResource[Any]):
    """A lakeFS server, for assets, checks, ops and sensors.

    The fields are validated when the client is created, because until then any of them can be an `EnvVar`. All uses
    within a process share one client, which is closed when the run (or its step, with the multiprocess executor) ends.
    A copied or unpickled resource has the same fields and another client. Another resource or an IO manager can have it
    as a field.

    The resource has every setting of `lakefs_ops.config.Config`. Settings that are not given are read from the
    environment or from lakectl's file, as the client does.

    Examples:
        .. code-block:: python

            import dagster as dg
            from dagster_resources import LakeFSResource


            @dg.asset
            def daily_weather(lakefs: LakeFSResource) -> None:
                lakefs.get_client().objects.upload("weather", "main", "daily/2013-01.csv", b"date,temp_max")


            defs = dg.Definitions(
                assets=[daily_weather],
                resources={
                    "lakefs": LakeFSResource(
                        endpoint="https://lakefs.example.com",
                        access_key_id=dg.EnvVar("LAKEFS_ACCESS_KEY_ID"),
                        secret_access_key=dg.EnvVar("LAKEFS_SECRET_ACCESS_KEY"),
                    )
                },
            )
    """

    # A misspelled field would silently have its default, such as the production environment.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    endpoint: str | None = Field(
        default=None,
        description="The server's address, such as https://lakefs.example.com; LAKEFS_ENDPOINT in the environment by"
        " default.",
    )
    access_key_id: str | None = Field(
        default=None, description="The access key; LAKEFS_ACCESS_KEY_ID in the environment by default."
    )
    secret_access_key: str | None = Field(
        default=None,
        repr=False,
        json_schema_extra={"dagster__is_secret": True},
        description="The secret access key; LAKEFS_SECRET_ACCESS_KEY in the environment by default.",
    )
    token: str | None = Field(
        default=None,
        repr=False,
        json_schema_extra={"dagster__is_secret": True},
        description="A bearer token, instead of an access key; LAKEFS_TOKEN in the environment by default.",
    )
    environment: str | None = Field(
        default=None,
        description="The name of the environment: `main` then stands for a branch of the environment, which is created"
        " from main at its first use, and main itself is not changed. `auto` stands for the pull request of a branch"
        " deployment (Dagster+), and for production elsewhere; `production`, the default, for main itself.",
    )
    # Dagster accepts no EnvVar in a field of type bool, int or float, so `get_client` validates these fields.
    login: Any = Field(
        default=None, description="Whether to exchange the access key for a token that expires; false by default."
    )
    verify: Any = Field(
        default=None,
        description="Whether to verify the server's certificate; by default LAKEFS_VERIFY in the environment, or true.",
    )
    ca_bundle: str | None = Field(
        default=None, description="The path of a CA bundle to verify the server's certificate with."
    )
    client_certificate: str | None = Field(default=None, description="The path of a client certificate (PEM).")
    client_key: str | None = Field(
        default=None, description="The path of the client certificate's key; by default the certificate's file has it."
    )
    proxy: str | None = Field(
        default=None,
        repr=False,
        json_schema_extra={"dagster__is_secret": True},
        description="The URL of a proxy; empty for no proxy; by default the proxies of the environment.",
    )
    connect_timeout: Any = Field(default=None, description="Timeout for a connection, in seconds; 10 by default.")
    read_timeout: Any = Field(
        default=None, description="Timeout for a response without any activity, in seconds; 300 by default."
    )
    total_timeout: Any = Field(
        default=None, description="Timeout for a call with its retries, in seconds; 900 by default."
    )
    retries: Any = Field(
        default=None, description="Maximum number of retries of a call that is safe to repeat; 4 by default."
    )
    retry_budget: Any = Field(
        default=None, description="Maximum total wait of a call between its retries, in seconds; 30 by default."
    )
    pool_size: Any = Field(default=None, description="Maximum number of connections; 32 by default.")
    audit_key: str | None = Field(
        default=None,
        repr=False,
        json_schema_extra={"dagster__is_secret": True},
        description="The secret with which publications sign what their checks have passed, so that lakeFS can refuse"
        " merges without a certificate; LAKEFS_OPS_AUDIT_KEY in the environment by default.",
    )
    webserver_url: str | None = Field(
        default=None, description="The address of the Dagster UI, for links from commits back to their runs."
    )
    collect_backfills: Any = Field(
        default=None,
        description="Whether the runs of a backfill publish to its collecting branch, which"
        " build_lakefs_backfill_sensor publishes with one merge; false by default.",
    )

    _client: LakeFSClient | None = PrivateAttr(default=None)
    _created: set[tuple[str, str]] = PrivateAttr(default_factory=set)

    @classmethod
    def _is_dagster_maintained(cls) -> bool:
        return False

    def model_post_init(self, context: Any, /) -> None:
        """Refuse addresses with credentials, which logs, pages and commits would show.

        Raises:
            DagsterInvalidDefinitionError: an address has a user or a password. Pydantic would show it in another error.
        """
        super().model_post_init(context)
        for field, advice in (
            ("endpoint", "pass access_key_id and secret_access_key"),
            ("webserver_url", "remove them"),
        ):
            address = getattr(self, field)
            if _variable(address) is None and has_credentials(address):
                raise DagsterInvalidDefinitionError(f"LakeFSResource.{field} must not contain credentials; {advice}")

    def get_client(self) -> LakeFSClient:
        """Return the client, created by the first call.

        It also works outside a run, in a test or a notebook; environment variables are read at that time.

        Raises:
            ConfigurationError: a field is invalid, or its environment variable is not set.
        """
        if self._client is None:
            from lakefs_ops.client import LakeFSClient

            client, environment = LakeFSClient(**self._settings()), self._environment()
            if environment is not None:
                client.transport.before_send = environment.guard(client)
            self._client = client
        return self._client

    def branch(self, name: str = "main", *, repository: str | None = None) -> str:
        """Return the branch that stands for a branch in the resource's environment.

        Without an environment, that is the branch itself. `run_branch`, the IO manager, the sensors and the sources use
        this method. Use it in code that calls the client with a branch's name:
        ``client.objects.list("weather", lakefs.branch("main"))``.

        Args:
            name: the branch.
            repository: the repository's id, to create the environment's branch from the branch if it does not exist.

        Raises:
            ConfigurationError: the environment is invalid, or its environment variable is not set.
        """
        environment = self._environment()
        if environment is None:
            return name
        own = environment.branch(name)
        if repository is not None and (repository, own) not in self._created:
            client = self.get_client()
            try:
                client.branches.get(repository, own)
            except BranchNotFound:
                from lakefs_ops.flows.ensure import ensure_branch

                with suppress(AlreadyExists):  # created by another step, which may have written to it
                    ensure_branch(client, repository, own, source=environment.base(own))
            self._created.add((repository, own))
        return own

    def run_branch(self, context: RunContext, repository: str, *, base: str = "main") -> RunBranch:
        """Return the branch of the run; see `dagster_resources.publish.RunBranch`.

        Args:
            context: the context of an asset, an asset check or an op.
            repository: the repository's id.
            base: the branch that the run starts from and publishes to; in an environment, the environment's own one.
        """
        return RunBranch(
            context,
            self.get_client(),
            repository,
            base=self.branch(base, repository=repository),
            webserver_url=self._resolved("webserver_url"),
            collect_backfills=bool(self._boolean("collect_backfills")),
        )

    def run_metadata(self, run: DagsterRun) -> dict[str, str]:
        """Return the metadata that the commits of a run have, with a link back to it if `webserver_url` is set.

        Args:
            run: the run.

        Raises:
            ConfigurationError: the environment variable of `webserver_url` is not set.
        """
        return run_metadata(run, webserver_url=self._resolved("webserver_url"))

    def _storage_config(self) -> Config:
        return self.get_client().config

    def storage_uri(self, tool: Tool, repository: str, ref: str = "main", path: str = "") -> str:
        """Return the address of an object, or of all objects below a path, in the form that a data tool expects.

        In an environment, a branch stands for the environment's own one, as in `branch`. Use these addresses there: the
        S3 gateway does not know the environment, so it does not refuse a write to ``main``.

        Args:
            tool: the tool.
            repository: the repository's id.
            ref: a branch, the branch of a run (``RunBranch.ensure()``), or the id of a commit (``RunBranch.ref``).
            path: the object's path, or the path of a directory or a table.

        Raises:
            InvalidArgument: the tool is unknown, or the repository or the ref is empty.

        Examples:
            .. code-block:: python

                @dg.asset
                def daily(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> None:
                    branch = lakefs.run_branch(context, "weather").ensure()
                    address = lakefs.storage_uri("polars", "weather", branch, "daily.parquet")
                    read_days().write_parquet(address, storage_options=lakefs.storage_options("polars"))
        """
        if ref and not ref.startswith(RUN_PREFIX) and not COMMIT_ID.fullmatch(ref):
            ref = self.branch(ref, repository=repository)
        return super().storage_uri(tool, repository, ref, path)

    def pipes_env(self) -> dict[str, str]:
        """Return environment variables for an external process; ``LakeFSClient()`` connects with them.

        They contain the secrets, so pass them only to processes that may have these. The audit key is not among them,
        because such a process writes data, and must not certify it.

        Examples:
            .. code-block:: python

                @dg.asset
                def external(context: dg.AssetExecutionContext, lakefs: LakeFSResource) -> dg.MaterializeResult:
                    pipes = dg.PipesSubprocessClient(env=lakefs.pipes_env())
                    branch = lakefs.run_branch(context, "weather").ensure()
                    run = pipes.run(command=["python", "external.py"], context=context, extras={"branch": branch})
                    return run.get_materialize_result()
        """
        return replace(self.get_client().config, audit_key=None).to_environment()

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Warn if the run ends without publishing what it wrote, and close the client's connections."""
        warn_unpublished(context)
        if self._client is not None:
            self._client.close()
            self._client = None
        self._created.clear()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a resource with the same fields, except for the updated ones, and another client."""
        return type(self)(**{**self._fields(), **(update or {})})

    def __copy__(self) -> Self:
        return self.model_copy()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._fields()), ()

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}

    def _resolved(self, field: str) -> Any:
        """Return a field's value; Dagster itself resolves environment variables only for a run, and not all of them."""
        value = getattr(self, field)
        variable = _variable(value)
        if variable is None:
            return value
        if variable not in os.environ:
            raise ConfigurationError(f"LakeFSResource.{field} needs the environment variable {variable}; set it")
        return os.environ[variable]

    def _environment(self) -> Environment | None:
        return find_environment(self._resolved("environment"), os.environ)

    def _settings(self) -> dict[str, Any]:
        """Return the arguments of the client."""
        from lakefs_ops.config import Retries, Timeouts

        timeouts = {name: self._number(f"{name}_timeout") for name in ("connect", "read", "total")}
        retries = {"count": self._integer("retries"), "budget": self._number("retry_budget")}
        verify, certificate = self._boolean("verify"), self._resolved("client_certificate")
        key = self._resolved("client_key")
        texts = ("endpoint", "access_key_id", "secret_access_key", "token", "proxy", "audit_key")
        return {
            **{name: self._resolved(name) for name in texts},
            "login": self._boolean("login"),
            "verify": verify if verify is False else self._resolved("ca_bundle") or verify,
            "client_certificate": (certificate, key) if certificate and key else certificate,
            "timeouts": Timeouts(**_given(timeouts)) if _given(timeouts) else None,
            "retries": Retries(**_given(retries)) if _given(retries) else None,
            "pool_size": self._integer("pool_size"),
        }

    def _number(self, field: str) -> float | None:
        value = self._resolved(field)
        try:
            return None if value is None else float(value)
        except (TypeError, ValueError):
            raise self._invalid(field, "a number of seconds") from None

    def _integer(self, field: str) -> int | None:
        value = self._resolved(field)
        try:
            return None if value is None else int(value)
        except (TypeError, ValueError):
            raise self._invalid(field, "an integer") from None

    def _boolean(self, field: str) -> bool | None:
        value = self._resolved(field)
        if value is None:
            return None
        if (parsed := parse_bool(str(value))) is None:
            raise self._invalid(field, "true or false")
        return parsed

    def _invalid(self, field: str, wanted: str) -> ConfigurationError:
        variable = _variable(getattr(self, field))
        source = f" (environment variable {variable})" if variable else ""
        return ConfigurationError(f"LakeFSResource.{field} must be {wanted}, not {self._resolved(field)!r}{source}")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _variable(value: Any) -> str | None:
    """Return the name of the environment variable that a field refers to, in any of Dagster's forms."""
    if isinstance(value, EnvVar):
        return value.env_var_name
    if isinstance(value, IntEnvVar):
        return value.name
    if isinstance(value, dict) and set(value) == {"env"}:
        return str(value["env"])
    return None
