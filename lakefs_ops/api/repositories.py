"""Repositories: ``/repositories``."""

from __future__ import annotations

from datetime import datetime
from types import NoneType

from lakefs_ops.api.common import Group
from lakefs_ops.call import Call, Listing, Page, query
from lakefs_ops.model import Model, utc

_REPOSITORY = "/repositories/{repository}"


class RepositoryCreation(Model):
    """What `Repositories.create` sends."""

    name: str
    storage_namespace: str
    storage_id: str | None = None
    default_branch: str | None = None
    sample_data: bool | None = None
    read_only: bool | None = None


class Repository(Model):
    """A repository.

    Attributes:
        id: its name.
        creation_date: when it was made, in Unix seconds.
        default_branch: the branch made with it.
        storage_namespace: where its data are, such as ``s3://bucket/prefix``.
        storage_id: which of several stores, mostly empty.
        read_only: whether changes need ``force``.
    """

    id: str
    creation_date: int
    default_branch: str
    storage_namespace: str
    storage_id: str | None = None
    read_only: bool | None = None

    @property
    def created(self) -> datetime:
        """When it was made."""
        return utc(self.creation_date)


class RepositoryList(Page[Repository]):
    """One page of repositories."""


class Repositories(Group):
    """Operations on repositories: ``client.repositories``."""

    def list(
        self,
        *,
        prefix: str | None = None,
        search: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Listing[Repository]:
        """List repositories in the order of their names (``listRepositories``).

        Args:
            prefix: only names that begin so.
            search: only names that hold this text.
            after: only names that sort behind this.
            limit: so many at most.
        """
        call = Call(
            "listRepositories",
            "GET",
            "/repositories",
            {},
            RepositoryList,
            query(prefix=prefix, search=search),
        )
        return Listing(self._sender, call, after=after, limit=limit)

    def create(
        self,
        *,
        name: str,
        storage_namespace: str,
        storage_id: str | None = None,
        default_branch: str | None = None,
        sample_data: bool | None = None,
        read_only: bool | None = None,
        bare: bool | None = None,
    ) -> Repository:
        """Create a repository with its first commit (``createRepository``).

        Args:
            name: 3 to 63 lower-case letters, digits and ``-``.
            storage_namespace: where to keep its data; no other repository may use it, now or before.
            storage_id: which store, where the server has several.
            default_branch: the first branch, ``main`` by default.
            sample_data: with a few objects to look at.
            read_only: refuse changes from then on.
            bare: without a branch and a commit, to restore a dump into.

        Raises:
            AlreadyExists: the name is taken.
            BadRequest: the name or the namespace cannot be used.
        """
        body = RepositoryCreation.body(
            name=name, storage_namespace=storage_namespace, storage_id=storage_id,
            default_branch=default_branch, sample_data=sample_data, read_only=read_only,
        )  # fmt: skip
        return self._send(Call("createRepository", "POST", "/repositories", {}, Repository, query(bare=bare), body))

    def get(self, repository: str) -> Repository:
        """Return a repository (``getRepository``).

        Raises:
            RepositoryNotFound: no such repository.
        """
        return self._send(Call("getRepository", "GET", _REPOSITORY, {"repository": repository}, Repository))

    def delete(self, repository: str, *, force: bool | None = None) -> None:
        """Delete a repository (``deleteRepository``); its data stay in the store.

        Args:
            repository: the repository's id.
            force: also if it is read-only.
        """
        names = {"repository": repository}
        return self._send(Call("deleteRepository", "DELETE", _REPOSITORY, names, NoneType, query(force=force)))
