"""The asset scheme ``lakefs://repository/ref/path``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from airflow.providers.common.compat.sdk import Asset

PARTITIONS = "lakefs_partitions"
"""The key of an asset's ``extra`` with the template of its partitions' paths."""

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from airflow.providers.common.compat.openlineage.facet import Dataset, DatasetFacet

    from airflow_provider.hooks.lakefs import LakeFSHook


def asset_uri(repository: str, ref: str = "", path: str = "") -> str:
    """Return the URI of the asset for a repository, a ref, or a path at a ref.

    Characters with a meaning in URIs, such as ``?`` and ``#``, are percent-encoded. As in all of Airflow's URIs, a
    trailing slash is dropped.

    Args:
        repository: the repository's id.
        ref: a branch, tag, commit id or ref expression.
        path: an object's path, or a prefix.

    Example:
        >>> asset_uri("lake", "main", "daily/")
        'lakefs://lake/main/daily'
    """
    return f"lakefs://{repository}/{quote('/'.join(part for part in (ref, path) if part))}".rstrip("/")


def create_asset(
    *,
    repository: str,
    ref: str = "",
    path: str = "",
    partitions: str | None = None,
    extra: dict[str, Any] | None = None,
) -> Asset:
    """Return the asset for a repository, a ref, or a path at a ref.

    Args:
        repository: the repository's id.
        ref: a branch, tag, commit id or ref expression.
        path: an object's path, or a prefix.
        partitions: the template of the paths of the asset's partitions, see
            `lakefs_ops.flows.partitions.PathTemplate`. Then a commit is one asset event for each partition that it
            changed, with the partition's key (Airflow 3.3).
        extra: further information that Airflow stores with the asset.

    Raises:
        InvalidArgument: ``partitions`` is not a template.

    Example:
        >>> create_asset(repository="lake", ref="main", path="daily").uri  # doctest: +SKIP
        'lakefs://lake/main/daily'
    """
    if partitions is not None:
        from lakefs_ops.flows.partitions import PathTemplate

        extra = {**(extra or {}), PARTITIONS: str(PathTemplate(partitions))}
    return Asset(uri=asset_uri(repository, ref, path), extra=extra)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check a URI, and drop the connection id of ``lakefs://connection@repository/ref/path``.

    So the asset of an `ObjectStoragePath` is the same whichever connection reads it.

    Raises:
        ValueError: the URI has no repository, or a query.
    """
    repository = uri.netloc.rpartition("@")[2]
    if not repository:
        raise ValueError(f"{uri.geturl()!r} has no repository; write lakefs://repository/ref/path")
    if uri.query:
        raise ValueError(f"{uri.geturl()!r} has a query; if the path contains a question mark, write it as %3F")
    return uri._replace(netloc=repository)


def convert_asset_to_openlineage(asset: Asset, lineage_context: LakeFSHook | None) -> Dataset:
    """Return the OpenLineage dataset of an asset; its version is the commit id in the asset's extra, if any."""
    parsed = urlsplit(asset.uri)
    commit_id = asset.extra.get("commit_id")
    version = str(commit_id) if commit_id else None
    return openlineage_dataset(parsed.netloc, unquote(parsed.path.strip("/")), version)


def openlineage_dataset(repository: str, name: str, commit_id: str | None) -> Dataset:
    """Return an OpenLineage dataset: the namespace is the repository, the name a ref with a path.

    Args:
        repository: the repository's id.
        name: ``ref`` or ``ref/path``.
        commit_id: the dataset's version; None if the data are not committed.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet

    facets: dict[str, DatasetFacet] = {}
    if commit_id:
        facets["version"] = DatasetVersionDatasetFacet(datasetVersion=commit_id)
    return Dataset(namespace=f"lakefs://{repository}", name=name or "/", facets=facets)
