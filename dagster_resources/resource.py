"""`LakeFSResource`: the connection of Dagster code to a lakeFS server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from dagster import ConfigurableResource, EnvVar, InitResourceContext
from dagster._config.field_utils import IntEnvVar
from dagster_shared.libraries import DagsterLibraryRegistry
from pydantic import Field, PrivateAttr

from dagster_resources.publish import RunBranch, RunContext
from lakefs_ops import __version__
from lakefs_ops.config import parse_bool
from lakefs_ops.errors import ConfigurationError

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

DagsterLibraryRegistry.register("lakefs-ops", __version__, is_dagster_package=False)


class LakeFSResource(ConfigurableResource[Any]):
    """A lakeFS server, for assets, checks, ops and sensors.

    The fields are validated when the client is created, because until then any of them can be an `EnvVar`. All uses
    within a process share one client, which is closed when the run (or its step, with the multiprocess executor) ends.
    A copied or unpickled resource has the same fields and another client.

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
    # Dagster accepts no EnvVar in a field of type bool or float, so `get_client` validates these fields.
    verify: Any = Field(
        default=None,
        description="Whether to verify the server's certificate; by default LAKEFS_VERIFY in the environment, or true.",
    )
    ca_bundle: str | None = Field(
        default=None, description="The path of a CA bundle to verify the server's certificate with."
    )
    connect_timeout: Any = Field(default=None, description="Timeout for a connection, in seconds; 10 by default.")
    read_timeout: Any = Field(
        default=None, description="Timeout for a response without any activity, in seconds; 300 by default."
    )
    webserver_url: str | None = Field(
        default=None, description="The address of the Dagster UI, for links from commits back to their runs."
    )

    _client: LakeFSClient | None = PrivateAttr(default=None)

    @classmethod
    def _is_dagster_maintained(cls) -> bool:
        return False

    def get_client(self) -> LakeFSClient:
        """Return the client, created by the first call.

        It also works outside a run, in a test or a notebook; environment variables are read at that time.

        Raises:
            ConfigurationError: a field is invalid, or its environment variable is not set.
        """
        if self._client is None:
            from lakefs_ops.client import LakeFSClient
            from lakefs_ops.config import Timeouts

            timeouts = {name: self._number(f"{name}_timeout") for name in ("connect", "read")}
            given = {name: seconds for name, seconds in timeouts.items() if seconds is not None}
            verify = self._boolean("verify")
            self._client = LakeFSClient(
                self._resolved("endpoint"),
                access_key_id=self._resolved("access_key_id"),
                secret_access_key=self._resolved("secret_access_key"),
                verify=verify if verify is False else self._resolved("ca_bundle") or verify,
                timeouts=Timeouts(**given) if given else None,
            )
        return self._client

    def run_branch(self, context: RunContext, repository: str, *, base: str = "main") -> RunBranch:
        """Return the branch of the run; see `dagster_resources.publish.RunBranch`.

        Args:
            context: the context of an asset, an asset check or an op.
            repository: the repository's id.
            base: the branch that the run starts from and publishes to.
        """
        return RunBranch(
            context, self.get_client(), repository, base=base, webserver_url=self._resolved("webserver_url")
        )

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Close the client's connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

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

    def _number(self, field: str) -> float | None:
        value = self._resolved(field)
        try:
            return None if value is None else float(value)
        except (TypeError, ValueError):
            raise self._invalid(field, "a number of seconds") from None

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


def _variable(value: Any) -> str | None:
    """Return the name of the environment variable that a field refers to, in any of Dagster's forms."""
    if isinstance(value, EnvVar):
        return value.env_var_name
    if isinstance(value, IntEnvVar):
        return value.name
    if isinstance(value, dict) and set(value) == {"env"}:
        return str(value["env"])
    return None
