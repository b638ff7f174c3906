"""`LakeFSComponent`: the whole integration from a few lines of YAML.

::

    type: dagster_resources.component.LakeFSComponent
    attributes:
      endpoint: "{{ env.LAKEFS_ENDPOINT }}"
      access_key_id: "{{ env.LAKEFS_ACCESS_KEY_ID }}"
      secret_access_key: "{{ env.LAKEFS_SECRET_ACCESS_KEY }}"
      repository: weather
      publish:
        deps: [raw_weather, daily_weather]
"""

# Dagster resolves the annotations of the fields below from this module's names.
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dagster import (
    AssetSelection,
    BackfillPolicy,
    Component,
    ComponentLoadContext,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Definitions,
    EnvVar,
    Model,
    PartitionsDefinition,
    ResolutionContext,
    Resolvable,
    Resolver,
    Scaffolder,
    ScaffoldRequest,
    scaffold_component,
    scaffold_with,
)
from dagster.components.resolved import core_models
from pydantic import ConfigDict, Field, SkipValidation

if TYPE_CHECKING:
    from dagster import SensorDefinition


def _partitions(context: ResolutionContext, model: Any) -> Any:
    """Return the partitions definition that YAML describes, or that a template variable has."""
    given = context.resolve_value(model) if isinstance(model, str) else model
    return given if isinstance(given, PartitionsDefinition) else core_models.resolve_partitions_def(context, given)


_VARIABLE = re.compile(r"\{\{\s*env\.(\w+)\s*\}\}")


def _setting(context: ResolutionContext, model: Any) -> Any:
    """Return a setting of the resource, which reads an environment variable itself, and fails if it is not set.

    Dagster would return None for it, which stands for a setting that is not given.
    """
    variable = _VARIABLE.fullmatch(model.strip()) if model else None
    return EnvVar(variable[1]) if variable else context.resolve_value(model)


# Validation would make a text of an EnvVar.
Setting = Annotated[
    str | None, SkipValidation, Resolver(_setting, model_field_type=str | None, inject_before_resolve=False)
]


class PublishModel(Model, Resolvable):
    """The asset that publishes what a run has written."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    deps: list[str] = Field(description="The keys of the assets to publish, with slashes.")
    name: str = Field(default="publication", description="The name of the asset.")
    if_nothing: Literal["fail", "skip", "succeed"] = Field(
        default="fail", description="What to do if no asset of the run has written anything."
    )
    partitions_def: Annotated[
        PartitionsDefinition[str] | None,
        Resolver(
            _partitions,
            model_field_type=core_models.HourlyPartitionsDefinitionModel
            | core_models.DailyPartitionsDefinitionModel
            | core_models.WeeklyPartitionsDefinitionModel
            | core_models.TimeWindowPartitionsDefinitionModel
            | core_models.StaticPartitionsDefinitionModel
            | str,
            description="The partitions of these assets, as in other components; or a template variable.",
        ),
    ] = None
    backfill_policy: Annotated[
        BackfillPolicy | None,
        Resolver(
            core_models.resolve_backfill_policy,
            model_field_type=core_models.SingleRunBackfillPolicyModel | core_models.MultiRunBackfillPolicyModel,
            description="The backfill policy of these assets.",
        ),
    ] = None


class CommitSensorModel(Model, Resolvable):
    """A sensor that launches a run for each new commit."""

    name: str = Field(description="The name of the sensor.")
    target: str = Field(description="The assets to materialize, as an asset selection such as `group:weather`.")
    branch: str = Field(default="main", description="The branch.")
    prefix: str | None = Field(default=None, description="Only commits that change an object with this prefix.")
    running: bool = Field(default=False, description="Whether the sensor runs without being started by hand.")


class SweeperModel(Model, Resolvable):
    """The schedule that deletes the branches of runs that have ended and are published."""

    older_than_days: float = Field(default=7, description="The minimum time since the last activity, in days.")
    cron_schedule: str = Field(default="0 4 * * *", description="When to sweep.")
    running: bool = Field(default=True, description="Whether the schedule runs without being started by hand.")


class LakeFSScaffolder(Scaffolder):
    """Writes the first YAML of a component: the connection and the repository."""

    def scaffold(self, request: ScaffoldRequest[Any]) -> None:
        """Write the file.

        Args:
            request: what ``dg scaffold defs`` was called with.
        """
        connection = ("endpoint", "access_key_id", "secret_access_key")
        attributes = {name: f"{{{{ env.LAKEFS_{name.upper()} }}}}" for name in connection}
        scaffold_component(request, {**attributes, "repository": "my-repo"})


@scaffold_with(LakeFSScaffolder)
class LakeFSComponent(Component, Model, Resolvable):
    """The resource `lakefs`, an IO manager, and if wanted the publish asset, commit sensors and the sweeper.

    A field of the connection that is not given is read from the environment, as by `LakeFSClient`.
    """

    repository: str = Field(min_length=1, description="The repository.")
    base: str = Field(default="main", min_length=1, description="The branch that runs start from and publish to.")
    endpoint: Setting = Field(default=None, description="The server's address; LAKEFS_ENDPOINT by default.")
    access_key_id: Setting = Field(default=None, description="The access key; LAKEFS_ACCESS_KEY_ID by default.")
    secret_access_key: Setting = Field(
        default=None, repr=False, description="The secret access key; LAKEFS_SECRET_ACCESS_KEY by default."
    )
    environment: Setting = Field(
        default=None, description="The environment, such as `auto`; see `LakeFSResource.environment`."
    )
    webserver_url: Setting = Field(default=None, description="The address of the Dagster UI, for links to runs.")
    io_manager_key: str | None = Field(default="io_manager", description="The key of the IO manager; null for none.")
    format: Literal["parquet", "csv", "jsonl", "json", "text", "bytes", "pickle"] = Field(
        default="parquet", description="The format of the IO manager's objects."
    )
    prefix: str = Field(default="", description="The prefix of the IO manager's objects.")
    isolation: Literal["run", "asset", "none"] = Field(
        default="run", description="Where the IO manager writes; see `LakeFSIOManager.isolation`."
    )
    publish: PublishModel | None = Field(default=None, description="The asset that publishes; none by default.")
    commit_sensors: list[CommitSensorModel] = Field(default_factory=list, description="Sensors for commits.")
    sweeper: SweeperModel | None = Field(default=None, description="The sweeper; none by default.")

    def build_defs(self, context: ComponentLoadContext) -> Definitions:
        """Return the definitions."""
        from dagster_resources.publish_asset import build_lakefs_publish_asset
        from dagster_resources.sweep import build_lakefs_sweeper

        resources = self._resources()
        assets, schedules = [], []
        if self.publish is not None:
            assets.append(
                build_lakefs_publish_asset(
                    name=self.publish.name,
                    deps=[key.split("/") for key in self.publish.deps],
                    repository=self.repository,
                    base=self.base,
                    if_nothing=self.publish.if_nothing,
                    partitions_def=self.publish.partitions_def,
                    backfill_policy=self.publish.backfill_policy,
                )
            )
        if self.sweeper is not None:
            schedules.append(
                build_lakefs_sweeper(
                    repository=self.repository,
                    base=self.base,
                    older_than=timedelta(days=self.sweeper.older_than_days),
                    cron_schedule=self.sweeper.cron_schedule,
                    default_status=_status(DefaultScheduleStatus, self.sweeper.running),
                )
            )
        sensors = [self._sensor(each) for each in self.commit_sensors]
        return Definitions(assets=assets, schedules=schedules, sensors=sensors, resources=resources)

    def _resources(self) -> dict[str, Any]:
        from dagster_resources.io_manager import LakeFSIOManager
        from dagster_resources.resource import LakeFSResource

        names = ("endpoint", "access_key_id", "secret_access_key", "environment", "webserver_url")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        lakefs = LakeFSResource(**given)
        resources: dict[str, Any] = {"lakefs": lakefs}
        if self.io_manager_key is not None:
            resources[self.io_manager_key] = LakeFSIOManager(
                lakefs=lakefs,
                repository=self.repository,
                base=self.base,
                format=self.format,
                prefix=self.prefix,
                isolation=self.isolation,
            )
        return resources

    def _sensor(self, sensor: CommitSensorModel) -> "SensorDefinition":
        from dagster_resources.sensors import build_lakefs_commit_sensor

        return build_lakefs_commit_sensor(
            name=sensor.name,
            repository=self.repository,
            branch=sensor.branch,
            prefix=sensor.prefix,
            target=AssetSelection.from_string(sensor.target),
            default_status=_status(DefaultSensorStatus, sensor.running),
        )


def _status(kind: Any, running: bool) -> Any:
    return kind.RUNNING if running else kind.STOPPED
