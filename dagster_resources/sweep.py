"""The sweeper: a schedule that deletes the branches of runs that have ended and are published."""

# Dagster reads the annotations of the functions below, so they must not be strings.
import re
from datetime import timedelta

from dagster import DagsterInstance, DefaultScheduleStatus, OpExecutionContext, ScheduleDefinition, job, op
from dagster._core.errors import DagsterRunNotFoundError

from dagster_resources.history import run_group
from dagster_resources.names import check_names
from dagster_resources.publish import RUN_PREFIX
from lakefs_ops.errors import InvalidArgument

_RUN = re.compile(r"dagster-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:-.*)?")


def build_lakefs_sweeper(
    *,
    repository: str,
    older_than: timedelta = timedelta(days=7),
    base: str = "main",
    discard: bool = False,
    dry_run: bool = False,
    cron_schedule: str = "0 4 * * *",
    name: str = "lakefs_sweeper",
    resource_key: str = "lakefs",
    default_status: DefaultScheduleStatus = DefaultScheduleStatus.STOPPED,
) -> ScheduleDefinition:
    """Return a schedule that deletes the branches of runs that have ended.

    A publication deletes the branch of its run. This schedule deletes what is left: a branch whose last activity is
    longer ago than ``older_than``, by the server's clock, and on which nothing is unpublished. The branch of a run that
    has not finished, or one of its re-executions, is kept, and so is that of a run that this Dagster instance does not
    know, since it may be one of another instance.

    Args:
        repository: the repository's id.
        older_than: the minimum time since the last activity on a branch.
        base: the branch that the runs publish to.
        discard: delete branches even if they have unpublished changes, which are then lost.
        dry_run: only log the names.
        cron_schedule: when to sweep; each night by default.
        name: the name of the schedule and its job.
        resource_key: the key of the `dagster_resources.resource.LakeFSResource`.
        default_status: whether the schedule runs without being started by hand.

    Raises:
        InvalidArgument: ``older_than`` is not a timedelta, or the repository or the branch is not a name.

    Example:
        .. code-block:: python

            defs = dg.Definitions(
                schedules=[build_lakefs_sweeper(repository="weather")], resources={"lakefs": LakeFSResource()}
            )
    """
    if not isinstance(older_than, timedelta):
        raise InvalidArgument(f"older_than must be a timedelta, got {older_than!r}")
    check_names(repository=repository, base=base)

    def sweep_branches(context: OpExecutionContext) -> list[str]:
        from lakefs_ops.flows.sweep import sweep

        resource = getattr(context.resources, resource_key)

        def is_alive(branch: str, key: str | None) -> bool:
            alive = _may_go_on(context.instance, branch)
            if alive:
                context.log.info(f"branch {branch!r} is kept, because its run has not ended or is not known")
            return alive

        swept = []
        for branch in sweep(
            resource.get_client(), repository, older_than=older_than, into=resource.branch(base), prefix=RUN_PREFIX,
            dry_run=dry_run, discard=discard, is_alive=is_alive,
        ):  # fmt: skip
            context.log.info(f"branch {branch!r} of {repository!r} {'would be' if dry_run else 'is'} deleted")
            swept.append(branch)
        return swept

    sweep_op = op(name=f"{name}_op", required_resource_keys={resource_key})(sweep_branches)

    @job(name=name)
    def sweeper() -> None:
        sweep_op()

    return ScheduleDefinition(name=name, job=sweeper, cron_schedule=cron_schedule, default_status=default_status)


def _may_go_on(instance: DagsterInstance, branch: str) -> bool:
    """Return whether the run of a branch has not ended, or is not known."""
    match = _RUN.fullmatch(branch)
    if match is None:
        return True
    try:
        runs = run_group(instance, match[1])
    except DagsterRunNotFoundError:
        return True
    return any(not run.is_finished for run in runs)
