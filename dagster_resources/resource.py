"""`LakeFSResource`: the connection of Dagster code to a lakeFS server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource, EnvVar, InitResourceContext
from dagster_shared.libraries import DagsterLibraryRegistry
from pydantic import Field, PrivateAttr

from dagster_resources.publish import RunBranch, RunContext
from lakefs_ops import __version__
from lakefs_ops.errors import ConfigurationError

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

DagsterLibraryRegistry.register("lakefs-ops", __version__, is_dagster_package=False)


class LakeFSResource(ConfigurableResource[Any]):
    """A lakeFS server, for assets, checks, ops and sensors.

    The fields are validated when the client is created, because until then any of them can be an `EnvVar`. All uses
    within a process share one client, which is closed when the run (or its step, with the multiprocess executor) ends.

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

    endpoint: str = Field(description="The server's address, such as https://lakefs.example.com.")
    access_key_id: str | None = Field(
        default=None, description="The access key; LAKEFS_ACCESS_KEY_ID in the environment by default."
    )
    secret_access_key: str | None = Field(
        default=None,
        repr=False,
        description="The secret access key; LAKEFS_SECRET_ACCESS_KEY in the environment by default.",
    )
    verify: bool = Field(default=True, description="Whether to verify the server's certificate.")
    ca_bundle: str | None = Field(
        default=None, description="The path of a CA bundle to verify the server's certificate with."
    )
    connect_timeout: float = Field(default=10.0, description="Timeout for a connection, in seconds.")
    read_timeout: float = Field(default=300.0, description="Timeout for a response without any activity, in seconds.")
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

            verify = bool(self._resolved("verify"))
            self._client = LakeFSClient(
                self._resolved("endpoint"),
                access_key_id=self._resolved("access_key_id"),
                secret_access_key=self._resolved("secret_access_key"),
                verify=(self._resolved("ca_bundle") or True) if verify else False,
                timeouts=Timeouts(
                    connect=float(self._resolved("connect_timeout")), read=float(self._resolved("read_timeout"))
                ),
            )
        return self._client

    def run_branch(self, context: RunContext, repository: str, *, base: str = "main") -> RunBranch:
        """Return the branch of the run; see `dagster_resources.publish.RunBranch`.

        Args:
            context: the context of an asset or of an asset check.
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

    def _resolved(self, field: str) -> Any:
        """Return a field's value; Dagster itself resolves environment variables only for a run."""
        value = getattr(self, field)
        if isinstance(value, EnvVar):
            variable, value = value.env_var_name, value.get_value()
            if value is None:
                raise ConfigurationError(f"LakeFSResource.{field} needs the environment variable {variable}; set it")
        return value
