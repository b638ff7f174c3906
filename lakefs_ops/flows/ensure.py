"""Verbs that need no key, because the name of the branch, tag, repository or pull request identifies the result.

Each may be repeated; docs/exactly-once.md has the rules. `lakefs_ops.flows.step` has the verbs with a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.flows.attempts import KEY, LOG_LIMIT, Attempts, describe, run_once

if TYPE_CHECKING:
    from lakefs_ops.api.repositories import Repository
    from lakefs_ops.client import LakeFSClient


def ensure_repository(
    client: LakeFSClient, name: str, *, storage_namespace: str, default_branch: str | None = None
) -> Repository:
    """Create a repository, or return it if it exists with this storage namespace.

    Args:
        client: the client.
        name: the repository's id.
        storage_namespace: the address in the object store for the repository's data.
        default_branch: the first branch, ``main`` by default.

    Raises:
        AlreadyExists: the repository has another storage namespace.
        StorageNamespaceInUse: another repository stores its data there.
    """
    attempts = Attempts(client)
    while True:
        try:
            return attempts.run(
                lambda: client.repositories.create(
                    name=name, storage_namespace=storage_namespace, default_branch=default_branch
                )
            )
        except (errors.AlreadyExists, errors.StorageNamespaceInUse) as error:
            try:
                existing = client.repositories.get(name)
            except errors.RepositoryNotFound:
                # Of two callers at once, one gets this error before the other's repository exists (lakeFS 1.84).
                attempts.sleep_or_raise(error)
                continue
            if existing.storage_namespace == storage_namespace:
                return existing
            raise type(error)(
                f"repository {name!r} exists and stores its data in {existing.storage_namespace!r},"
                f" not in {storage_namespace!r}; choose another name, or use the existing repository",
                **error.__dict__,
            ) from None


def ensure_branch(
    client: LakeFSClient,
    repository: str,
    branch: str,
    *,
    source: str,
    key: str | None = None,
    retried: bool = False,
    hidden: bool | None = None,
) -> str:
    """Create a branch, or return its head if it exists as wanted.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch's name.
        source: the ref to create the branch from.
        key: the prefix of the keys of all steps that commit on this branch, such as ``dag/run``.
        retried: an earlier attempt may have created the branch. Then an existing branch is accepted if it has no
            commits since it left the source, or only commits of steps with the key.
        hidden: hide a new branch from listings.

    Returns:
        The id of the commit that the branch points to.

    Raises:
        AlreadyExists: the branch exists with other commits; the message describes its newest commit.
    """
    attempts = Attempts(client)
    try:
        return attempts.run(lambda: client.branches.create(repository, name=branch, source=source, hidden=hidden))
    except errors.AlreadyExists as error:
        head = client.branches.get(repository, branch).commit_id
        if head == client.commits.get(repository, source).id:
            return head
        if (retried or attempts.repeats) and _only_own_commits(client, repository, head, source, key):
            return head
        newest = describe(client.commits.get(repository, head))
        raise errors.AlreadyExists(
            f"branch {branch!r} exists in {repository!r}, not at {source!r} but at commit {newest};"
            " choose another name, or delete the branch if it is not needed",
            **error.__dict__,
        ) from None


def ensure_tag(client: LakeFSClient, repository: str, tag: str, *, ref: str) -> str:
    """Create a tag, or accept it if it exists at the same commit.

    Args:
        client: the client.
        repository: the repository's id.
        tag: the tag's name.
        ref: the ref to tag.

    Returns:
        The id of the commit that the tag points to.

    Raises:
        AlreadyExists: the tag points to another commit; tags cannot be moved.
    """
    try:
        return Attempts(client).run(lambda: client.tags.create(repository, id=tag, ref=ref)).commit_id
    except errors.AlreadyExists as error:
        existing = client.tags.get(repository, tag).commit_id
        if existing == client.commits.get(repository, ref).id:
            return existing
        raise errors.AlreadyExists(
            f"tag {tag!r} exists in {repository!r} and points to commit {existing}, not to {ref!r};"
            " choose another name, or delete the tag",
            **error.__dict__,
        ) from None


def delete_branch_if_exists(client: LakeFSClient, repository: str, branch: str) -> bool:
    """Delete a branch with its uncommitted changes, if it exists.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch's name.

    Returns:
        Whether the branch existed.
    """
    attempts = Attempts(client)
    try:
        attempts.run(lambda: client.branches.delete(repository, branch))
    except errors.BranchNotFound:
        # After an unknown outcome, this call may have deleted it.
        return attempts.repeats > 0
    return True


def merge_pull_request(client: LakeFSClient, repository: str, pull_request: str) -> str:
    """Merge a pull request, or return its merge commit if it is merged already.

    Args:
        client: the client.
        repository: the repository's id.
        pull_request: the pull request's id.

    Returns:
        The id of the merge commit.

    Raises:
        MergeConflict: both branches changed the same objects, listed in ``paths``.
        PullRequestNotOpen: the pull request was closed without a merge.
    """

    def find() -> str | None:
        return client.pulls.get(repository, pull_request).merged_commit_id or None

    try:
        return run_once(client, lambda: client.pulls.merge(repository, pull_request).reference, find)
    except errors.BadRequest:
        if (merged := find()) is not None:
            return merged
        raise


def _only_own_commits(client: LakeFSClient, repository: str, head: str, source: str, key: str | None) -> bool:
    """Return whether only steps with the key have committed on a branch since it left the source."""
    base = client.refs.merge_base(repository, head, source).base_commit_id
    if base == head:
        return True
    if key is None:
        return False
    for commit in client.refs.log(repository, head, first_parent=True, limit=LOG_LIMIT):
        if commit.id == base:
            return True
        if not (commit.metadata or {}).get(KEY, "").startswith(key):
            return False
    return False
