"""Metadata in both directions: links to lakeFS for Dagster, and links to Dagster for commits in lakeFS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import MetadataValue

if TYPE_CHECKING:
    from dagster import DagsterRun

    from lakefs_ops.client import LakeFSClient

NAMESPACE = "lakefs"

COMMIT_PREFIX = "::lakefs::Dagster::"
"""The prefix of metadata keys that the lakeFS UI shows under the heading Dagster; ``url[url:ui]`` becomes a button."""

_PARTITION_TAGS = {
    "partition": "dagster/partition",
    "partition_range_start": "dagster/asset_partition_range_start",
    "partition_range_end": "dagster/asset_partition_range_end",
}

Metadata = dict[str, MetadataValue[Any] | str]


def commit_metadata(client: LakeFSClient, repository: str, commit_id: str) -> Metadata:
    """Return the Dagster metadata of a commit, with a link to it.

    Args:
        client: the client, for the server's address.
        repository: the repository's id.
        commit_id: the commit's id.
    """
    return {
        f"{NAMESPACE}/repository": repository,
        f"{NAMESPACE}/commit_id": commit_id,
        f"{NAMESPACE}/commit": MetadataValue.url(client.links.commit(repository, commit_id)),
    }


def branch_metadata(
    client: LakeFSClient, repository: str, branch: str, *, base: str, ref: str | None = None
) -> Metadata:
    """Return the Dagster metadata of a branch, with a link to its comparison with the base.

    A run's branch is deleted when it is published, and links to it end then. Links to its commits stay valid. A
    comparison does not show uncommitted changes, so there is another link to those of the branch.

    Args:
        client: the client, for the server's address.
        repository: the repository's id.
        branch: the branch's name.
        base: the branch to compare it with.
        ref: the commit of the branch to compare, the branch by default.
    """
    found: Metadata = {
        f"{NAMESPACE}/repository": repository,
        f"{NAMESPACE}/branch": branch,
        f"{NAMESPACE}/compare": MetadataValue.url(client.links.compare(repository, base, ref or branch)),
    }
    if ref is None:
        found[f"{NAMESPACE}/uncommitted"] = MetadataValue.url(client.links.uncommitted(repository, branch))
    return found


def object_metadata(client: LakeFSClient, repository: str, ref: str, path: str) -> Metadata:
    """Return the Dagster metadata of an object or a prefix, with a link to it.

    For an object of a run that is to be published, pass the commit or the base: the run's branch will be deleted.

    Args:
        client: the client, for the server's address.
        repository: the repository's id.
        ref: the branch, tag or commit that holds the object.
        path: the object's path.
    """
    return {
        "dagster/uri": f"lakefs://{repository}/{ref}/{path}",
        f"{NAMESPACE}/objects": MetadataValue.url(client.links.objects(repository, ref, path)),
    }


def publication_metadata(
    client: LakeFSClient,
    repository: str,
    into: str,
    merge: str,
    *,
    is_empty: bool = False,
    written: str = "",
    unchanged: str = "",
) -> Metadata:
    """Return the Dagster metadata of a publication, with links to the merge commit and its changes.

    Args:
        client: the client, for the server's address.
        repository: the repository's id.
        into: the branch that the run was published to.
        merge: the id of the merge commit.
        is_empty: whether the run has written nothing, so that the commit and its changes are others'.
        written: the assets that the run has written.
        unchanged: the assets that the run has not written, so that they are on the branch as they were.
    """
    assets = {"published_assets": written, "unchanged_assets": unchanged}
    found = commit_metadata(client, repository, merge) | {f"{NAMESPACE}/branch": into}
    if not is_empty:
        found[f"{NAMESPACE}/compare"] = MetadataValue.url(client.links.compare(repository, f"{merge}~1", merge))
    return found | {f"{NAMESPACE}/{name}": text for name, text in assets.items() if text}


def run_metadata(run: DagsterRun, *, webserver_url: str | None = None) -> dict[str, str]:
    """Return the commit metadata of a run, with a link back to it.

    Args:
        run: the run.
        webserver_url: the address of the Dagster UI; without it, the link is left out.
    """
    fields = {"run_id": run.run_id, "root_run_id": run.root_run_id or run.run_id, "job_name": run.job_name}
    fields |= {name: run.tags[tag] for name, tag in _PARTITION_TAGS.items() if tag in run.tags}
    if webserver_url:
        fields["url[url:ui]"] = f"{webserver_url.rstrip('/')}/runs/{run.run_id}"
    return {COMMIT_PREFIX + name: value for name, value in fields.items()}
