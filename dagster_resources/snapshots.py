"""The snapshot that a run reads while it has no branch: the base's head at its first read, pinned for the whole run.

The pin is an event in the run's log, where the first of several concurrent steps wins, and a tag of the run, to be seen
and searched. The run's branch starts from the pinned commit, if the run reads before it writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import DagsterEventType, MetadataValue
from dagster._core.events import EngineEventData

from dagster_resources.history import ACTION, ADDRESS, COMMIT

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

    from lakefs_ops.client import LakeFSClient

TAG_PREFIX = "lakefs/snapshot/"
"""The prefix of the tag with the id of the commit that a run reads; repository and base follow."""

_PINNED = "lakefs/snapshot_of"
"""The metadata key of the branch that is pinned, next to `COMMIT`."""


def snapshot(
    client: LakeFSClient,
    instance: DagsterInstance,
    run: DagsterRun,
    step_key: str,
    repository: str,
    base: str,
    branch: str,
) -> str:
    """Return the id of the commit that a run reads, and pin it if no step has done so.

    Args:
        client: the client.
        instance: the Dagster instance.
        run: the run.
        step_key: the key of the step that reads.
        repository: the repository's id.
        base: the branch to read.
        branch: the name of the run's branch.
    """
    found = pinned(instance, run, repository, base, branch)
    if found is None:
        head = client.branches.get(repository, base).commit_id
        address = f"lakefs://{repository}/{base}"
        metadata = {_PINNED: MetadataValue.text(address), COMMIT: MetadataValue.text(head)}
        instance.report_engine_event(
            f"lakeFS: the run reads {address} at {head[:12]}", run, EngineEventData(metadata), step_key=step_key
        )
        # Another step may have been first.
        found = pinned(instance, run, repository, base, branch) or head
        if found == head:
            instance.add_run_tags(run.run_id, {f"{TAG_PREFIX}{repository}/{base}": head})
    return found


def pinned(instance: DagsterInstance, run: DagsterRun, repository: str, base: str, branch: str) -> str | None:
    """Return the id of the commit that a run has pinned, or published since; None if it has neither, or a branch.

    Args:
        instance: the Dagster instance.
        run: the run.
        repository: the repository's id.
        base: the branch that the run reads and publishes to.
        branch: the name of the run's branch.
    """
    address, own = f"lakefs://{repository}/{base}", f"lakefs://{repository}/{branch}"
    found: str | None = None
    for event in instance.all_logs(run.run_id, of_type={DagsterEventType.ENGINE_EVENT}):
        data = event.get_dagster_event().event_specific_data
        metadata = data.metadata if isinstance(data, EngineEventData) else {}
        values = {name: metadata[name].value for name in (_PINNED, ADDRESS, ACTION, COMMIT) if name in metadata}
        if values.get(_PINNED) == address:
            found = found or str(values[COMMIT])
        elif values.get(ADDRESS) == own and values[ACTION] != "loaded":
            # The branch replaced the snapshot; a publication is the next one.
            found = str(values[COMMIT]) if values[ACTION] == "published" else None
    return found
