"""Register asset events for commits, in Airflow's API server: for webhooks of lakeFS, and for a slow poll.

A webhook only names a branch. What has happened on it, lakeFS's history decides: `register` reads the commits since the
asset's watermark and registers an event for each one that the asset does not have yet. So an event that was lost,
repeated or reordered changes nothing. An event and the watermark that has passed it are one transaction.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider.assets.events import partition_key
from airflow_provider.assets.lakefs import PARTITIONS, asset_uri
from airflow_provider.step import PREFIX
from lakefs_ops import errors
from lakefs_ops.flows.conditions import MatchingCommits
from lakefs_ops.flows.partitions import PathTemplate, changed_partitions

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

log = logging.getLogger(__name__)

WATCHER = "airflow_provider.triggers.commits.LakeFSCommitTrigger"
"""The trigger whose assets are left out, because it reports their commits itself."""

CLOCK_SKEW = timedelta(days=1)
"""How far the clocks of lakeFS and Airflow may differ: no event of a commit is that much older than the commit."""


@dataclass(frozen=True, slots=True)
class WatchedAsset:
    """An asset of Airflow for a ref in lakeFS, or for a path at the ref.

    Attributes:
        id: the asset's id in Airflow's database.
        uri: the asset's URI.
        repository: the repository's id.
        ref: the branch or tag.
        path: the object or prefix; empty for everything.
        template: the template of its partitions' paths, or None.
        producers: the DAG id and task id of each task that has the asset as an outlet.
        watermark: what the asset has seen, the fields of a `MatchingCommits`.
        has_watermark: whether the watermark is stored, False before the first webhook or poll.
    """

    id: int
    uri: str
    repository: str
    ref: str
    path: str
    template: str | None
    producers: frozenset[tuple[str, str]]
    watermark: Mapping[str, Any]
    has_watermark: bool


def register(client: LakeFSClient, repository: str, ref: str) -> int:
    """Register an event for each commit on a branch, or for a tag, that an asset does not have yet.

    Commits count from the asset's creation in Airflow's database.

    Args:
        client: the client.
        repository: the repository's id.
        ref: the branch, or a tag that was created just now.

    Returns:
        The number of events.

    Raises:
        LakeFSError: the commits of an asset could not be read. Those of the other assets are registered.
    """
    return _register_all(client, watched_assets(repository, ref), polled=False)


def register_all(client: LakeFSClient) -> int:
    """Do what `register` does, for all assets. Without news, it sends one request for each branch.

    A tag that exists at the first poll is not new.

    Args:
        client: the client.

    Returns:
        The number of events.

    Raises:
        LakeFSError: the commits of an asset could not be read. Those of the other assets are registered.
    """
    return _register_all(client, watched_assets(), polled=True)


def watched_assets(repository: str | None = None, ref: str | None = None) -> list[WatchedAsset]:
    """Return the active assets with a URI ``lakefs://repository/ref`` or ``lakefs://repository/ref/path``.

    Assets that a `LakeFSCommitTrigger` watches are left out.

    Args:
        repository: only assets of this repository.
        ref: only assets of this branch or tag.
    """
    from airflow.models.asset import AssetModel
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.orm import selectinload

    start = asset_uri(repository, ref or "") if repository else "lakefs://"
    # In Airflow 3.3, `triggers` is a proxy of the watchers.
    watchers: Any = getattr(AssetModel, "watchers", AssetModel.triggers)
    query = (
        select(AssetModel)
        .where(AssetModel.uri.startswith(start, autoescape=True), AssetModel.active.has())
        .options(
            selectinload(AssetModel.producing_tasks),
            selectinload(watchers),
        )
        .order_by(AssetModel.id)
    )
    found = []
    with create_session() as session:
        models = list(session.scalars(query))
        keys = [_watermark_key(model.id) for model in models]
        variables = select(Variable).where(Variable.key.in_(keys))
        watermarks: dict[str, Any] = {each.key: each for each in session.scalars(variables)}
        for model in models:
            parsed = urlsplit(model.uri)
            own_ref, _, path = unquote(parsed.path.strip("/")).partition("/")
            if not own_ref or (repository or parsed.netloc, ref or own_ref) != (parsed.netloc, own_ref):
                continue
            if any(trigger.classpath == WATCHER for trigger in model.triggers):
                continue
            stored = watermarks.get(_watermark_key(model.id))
            first = {"after": None, "missing_since": model.created_at.timestamp()}
            found.append(
                WatchedAsset(
                    model.id,
                    model.uri,
                    parsed.netloc,
                    own_ref,
                    path,
                    model.extra.get(PARTITIONS),
                    frozenset((task.dag_id, task.task_id) for task in model.producing_tasks),
                    json.loads(stored.get_val()) if stored else first,
                    stored is not None,
                )
            )
    return found


def _register_all(client: LakeFSClient, assets: Iterable[WatchedAsset], *, polled: bool) -> int:
    heads: dict[tuple[str, str], tuple[str | None, bool]] = {}
    count, failure = 0, None
    for asset in assets:
        where = (asset.repository, asset.ref)
        try:
            if where not in heads:
                heads[where] = _head(client, *where)
            count += _register(client, asset, *heads[where], polled=polled)
        except errors.LakeFSError as error:
            log.warning("the commits of asset %s were not registered: %s", asset.uri, error)
            failure = failure or error
    if failure:
        raise failure
    return count


def _head(client: LakeFSClient, repository: str, ref: str) -> tuple[str | None, bool]:
    """Return the commit of a branch or tag, None if there is neither, and whether it is a tag."""
    try:
        return client.branches.get(repository, ref).commit_id, False
    except (errors.BranchNotFound, errors.RepositoryNotFound):
        pass
    try:
        return client.tags.get(repository, ref).commit_id, True
    except errors.NotFound:
        return None, False


def _register(client: LakeFSClient, asset: WatchedAsset, head: str | None, is_tag: bool, *, polled: bool) -> int:
    if is_tag:
        commits, watermark = _new_tag(client, asset, str(head), polled=polled)
    else:
        commits, watermark = _new_commits(client, asset, head)
    events = [event for commit in commits for event in _events(client, asset, commit, is_tag)]
    if not events and asset.has_watermark and watermark == asset.watermark:
        return 0
    count = _store(asset, events, watermark)
    if count:
        log.info("asset %s has %d new events, up to commit %s", asset.uri, count, head)
    return count


def _new_commits(
    client: LakeFSClient, asset: WatchedAsset, head: str | None
) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    """Return the commits since the watermark, oldest first, and the watermark after them."""
    condition = MatchingCommits(repository=asset.repository, branch=asset.ref, **asset.watermark)
    if (verdict := condition.unchanged(head)) is None:
        try:
            verdict = condition.poll(client)
        except errors.InvalidArgument as error:  # the repository was deleted and created again
            log.warning("asset %s starts over at commit %s: %s", asset.uri, head, error)
            return [], {"after": head, "missing_since": None}
    watermark = verdict.condition.model_dump(mode="json", include={"after", "missing_since"})
    return list(verdict.found.get("commits", [])), watermark


def _new_tag(
    client: LakeFSClient, asset: WatchedAsset, head: str, *, polled: bool
) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    watermark = {"after": head, "missing_since": None}
    if asset.producers:  # a task that creates a tag reports it itself
        return [], watermark
    if polled and (asset.watermark.get("after") == head or not asset.has_watermark):
        return [], watermark
    commit = client.commits.get(asset.repository, head)
    fields = {"message", "metadata", "committer", "creation_date"}
    return [{"commit_id": commit.id} | commit.model_dump(include=fields)], watermark


@dataclass(frozen=True, slots=True)
class _Event:
    commit_id: str
    created: datetime
    partition_key: str | None
    extra: dict[str, Any]


def _events(client: LakeFSClient, asset: WatchedAsset, commit: Mapping[str, Any], is_tag: bool) -> Iterator[_Event]:
    """Yield the events of a commit: one, one for each changed partition, or none if it does not concern the asset."""
    id_, metadata = commit["commit_id"], commit["metadata"]
    if (metadata.get(f"{PREFIX}dag_id"), metadata.get("airflow_task_id")) in asset.producers:
        return  # the task reports it when it succeeds
    extra = {
        "repository": asset.repository,
        "ref": asset.ref,
        **commit,
        "uri": asset_uri(asset.repository, id_, asset.path),
        "url": client.links.commit(asset.repository, id_),
    }
    created = datetime.fromtimestamp(commit["creation_date"], UTC)
    parent = None if is_tag else client.commits.get(asset.repository, id_).first_parent
    if asset.template is not None:
        for each in changed_partitions(client, asset.repository, PathTemplate(asset.template), parent, id_):
            key = partition_key(each.keys)
            yield _Event(id_, created, key, extra | {"partition_key": key, "removed": each.removed})
    elif is_tag or not asset.path or _changes(client, asset, parent, id_):
        yield _Event(id_, created, None, extra)


def _changes(client: LakeFSClient, asset: WatchedAsset, parent: str | None, commit_id: str) -> bool:
    """Whether a commit changes the object at the asset's path, or an object in that folder."""

    def changed(prefix: str) -> Iterator[str]:
        if parent is None:
            listing = client.objects.list(asset.repository, commit_id, prefix=prefix, user_metadata=False)
            return (entry.path for entry in listing)
        diff = client.refs.diff(asset.repository, parent, commit_id, type="two_dot", prefix=prefix)
        return (change.path for change in diff)

    return next(changed(f"{asset.path}/"), None) is not None or next(changed(asset.path), None) == asset.path


def _store(asset: WatchedAsset, events: list[_Event], watermark: Mapping[str, Any]) -> int:
    """Add the events that the asset does not have, and the watermark, in one transaction; return their number."""
    from airflow.assets.manager import asset_manager
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select, update

    with create_session() as session:
        # Lock the asset until the end of the transaction, in SQLite the database: other processes wait here.
        session.execute(update(AssetModel).where(AssetModel.id == asset.id).values(name=AssetModel.name))
        if (model := session.get(AssetModel, asset.id)) is None:
            return 0
        partitioned = hasattr(AssetEvent, "partition_key")  # since Airflow 3.2
        known: set[tuple[str | None, str | None]] = set()
        if events:
            oldest = min(event.created for event in events) - CLOCK_SKEW
            query = select(AssetEvent).where(AssetEvent.asset_id == asset.id, AssetEvent.timestamp >= oldest)
            known = {_identity(event.extra, getattr(event, "partition_key", None)) for event in session.scalars(query)}
        count = 0
        for event in events:
            key = event.partition_key if partitioned else None
            if (event.commit_id, key or event.partition_key) in known:
                continue
            asset_manager.register_asset_change(
                asset=model,
                extra=event.extra,
                source_is_api=True,
                session=session,
                partition_key=key,
            )
            count += 1
        stored = session.scalar(select(Variable).where(Variable.key == _watermark_key(asset.id)))
        if stored is None:
            text = f"The last commit of {asset.uri} that has an asset event; written by the webhooks of lakefs-ops."
            session.add(Variable(key=_watermark_key(asset.id), val=json.dumps(watermark), description=text))  # type: ignore[no-untyped-call]
        else:
            stored.set_val(json.dumps(watermark))
    return count


def _identity(extra: Mapping[str, Any], key: str | None) -> tuple[str | None, str | None]:
    """Return the commit and partition of an event, whether a webhook, a task or a watcher has registered it."""
    payload = extra.get("payload", extra)
    if not isinstance(payload, dict):
        return None, None
    return payload.get("commit_id"), key or payload.get("partition_key")


def _watermark_key(asset_id: int) -> str:
    return f"lakefs_watermark_{asset_id}"
