"""The asset events of a task that created a commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.asset import Asset, AssetAlias, AssetRef

from airflow_provider.assets.lakefs import PARTITIONS, asset_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient


def record_commit(
    context: Context,
    *,
    repository: str,
    ref: str,
    commit_id: str,
    path: str = "",
    url: str | None = None,
    partition_keys: Iterable[str] = (),
    client: LakeFSClient | None = None,
) -> None:
    """Describe a commit in the asset events of the running task's outlets.

    Airflow publishes the events when the task succeeds. Each one's ``extra`` has ``repository``, ``ref``,
    ``commit_id``, ``uri`` (of the data in this very commit) and ``url`` (of the lakeFS UI). An `AssetAlias` among the
    outlets receives an event for the asset ``lakefs://repository/ref/path``, which helps if the ref is templated. The
    event of a partitioned DAG run has the run's partition key.

    A task without outlets is left as it is. A task that defers calls this after it has resumed.

    Args:
        context: the context of the running task.
        repository: the repository's id.
        ref: the branch or tag that now points at the commit.
        commit_id: the commit's id.
        path: the changed object or prefix, if the commit changed no other.
        url: the commit's page in the lakeFS UI.
        partition_keys: publish one event for each of these partitions (Airflow 3.3; not for an `AssetAlias`).
        client: the client that finds the changed partitions of outlets that `create_asset` returned with
            ``partitions``, if ``partition_keys`` are not given.

    Example:
        In a task of your own::

            @task(outlets=[Asset("lakefs://lake/main")])
            def load(**context):
                client = LakeFSHook().get_conn()
                commit = client.commits.create("lake", "main", message="Load")
                record_commit(context, repository="lake", ref="main", commit_id=commit.id)
    """
    extra: dict[str, Any] = {
        "repository": repository,
        "ref": ref,
        "commit_id": commit_id,
        "uri": asset_uri(repository, commit_id, path),
    }
    if url:
        extra["url"] = url
    keys = list(partition_keys)
    for outlet in context["task"].outlets:
        if not isinstance(outlet, Asset | AssetAlias | AssetRef):
            continue  # an outlet may be anything
        events = context["outlet_events"][outlet]
        if isinstance(outlet, AssetAlias):
            events.add(Asset(uri=asset_uri(repository, ref, path)), extra=extra)
            continue
        events.extra = {**events.extra, **extra}
        if not hasattr(events, "add_partitions"):
            continue  # Airflow 3.1 and 3.2
        template = None if keys or client is None else getattr(outlet, "extra", {}).get(PARTITIONS)
        changed = _keys_of_commit(client, repository, template, commit_id) if client and template else keys
        if changed:
            events.add_partitions(changed)


def partition_key(keys: Mapping[str, str]) -> str:
    """Return Airflow's key of a partition: the keys of its dimensions, separated by ``|``.

    Args:
        keys: the key of each field of the template, in the template's order.
    """
    return "|".join(keys.values())


def _keys_of_commit(client: LakeFSClient, repository: str, template: str, commit_id: str) -> list[str]:
    from lakefs_ops.flows.partitions import PathTemplate, changed_partitions

    parent = client.commits.get(repository, commit_id).first_parent
    changed = changed_partitions(client, repository, PathTemplate(template), parent, commit_id)
    return [partition_key(each.keys) for each in changed]


def triggering_commits(context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the commits whose asset events started the DAG run, oldest first.

    It does not matter whether a task reported the commit or an `AssetWatcher` with
    `airflow_provider.triggers.LakeFSCommitTrigger` found it. Events that describe no commit are left out, and a
    commit that several events describe is returned once.

    Args:
        context: the context of the running task.

    Returns:
        For each commit, the data of its event: ``repository``, ``ref``, ``commit_id`` and ``uri``, and other keys that
        depend on the source.

    Example:
        Read exactly the data that started the run::

            @task
            def report(**context):
                for commit in triggering_commits(context):
                    print(commit["uri"])
    """
    events = [event for asset in context["triggering_asset_events"].values() for event in asset]
    commits: dict[tuple[str, str], dict[str, Any]] = {}
    for event in sorted(events, key=lambda event: event.timestamp):
        found: Any = event.extra.get("payload", event.extra)
        if isinstance(found, dict) and "commit_id" in found:
            commits.setdefault((str(found.get("repository")), str(found["commit_id"])), found)
    return list(commits.values())
