"""Repositories: ``/repositories``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import NoneType
from typing import Self

from pydantic import ConfigDict, RootModel

from lakefs_ops.api.common import Group
from lakefs_ops.call import Call, headers, query
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Model, moment, utc

_REPOSITORY = "/repositories/{repository}"
_METADATA = f"{_REPOSITORY}/metadata"
_PROTECTION = f"{_REPOSITORY}/settings/branch_protection"
_OLDER_PROTECTION = f"{_REPOSITORY}/branch_protection"


class RepositoryCreation(Model):
    """Request body of `Repositories.create`."""

    name: str
    storage_namespace: str
    storage_id: str | None = None
    default_branch: str | None = None
    sample_data: bool | None = None
    read_only: bool | None = None


class Repository(Model):
    """A repository.

    Attributes:
        id: the name.
        creation_date: creation time in Unix seconds.
        default_branch: name of the default branch.
        storage_namespace: location of the data, such as ``s3://bucket/prefix``.
        storage_id: id of the store, if the server has several; usually empty.
        read_only: whether changes require ``force``.
    """

    id: str
    creation_date: int
    default_branch: str
    storage_namespace: str
    storage_id: str | None = None
    read_only: bool | None = None

    @property
    def created(self) -> datetime:
        """Creation time."""
        return utc(self.creation_date)


class RepositoryList(Page[Repository]):
    """One page of repositories."""


class RepositoryMetadata(RootModel[dict[str, str]]):
    """Metadata of a repository: keys and values."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read the metadata from a response."""
        return cls.model_validate_json(body)


class RepositoryMetadataSet(Model):
    """Request body of `Repositories.set_metadata`."""

    metadata: dict[str, str]


class RepositoryMetadataKeys(Model):
    """Request body of `Repositories.delete_metadata`."""

    keys: list[str]


class BranchProtectionRule(Model):
    """A rule that forbids direct writes to the matching branches.

    Attributes:
        pattern: a glob for branch names: ``*``, ``?``, ``[a-z]``, ``[!a]``, ``{a,b}``.
    """

    pattern: str


class BranchProtectionRules(Model):
    """The branch protection rules of a repository.

    Attributes:
        rules: the rules, in any order.
        etag: version of the rules, to detect concurrent changes; empty without rules.
    """

    rules: list[BranchProtectionRule]
    etag: str = ""

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read the rules from the response body and their version from its headers."""
        rules = _RuleList.model_validate_json(body).root
        return cls(rules=rules, etag=headers.get("ETag", ""))


class _RuleList(RootModel[list[BranchProtectionRule]]):
    model_config = ConfigDict(defer_build=True)


class RefsDump(Model):
    """A dump of the commits, tags and branches of a repository.

    Attributes:
        commits_meta_range_id: id of the meta-range with the commits.
        tags_meta_range_id: id of the meta-range with the tags.
        branches_meta_range_id: id of the meta-range with the branches.
    """

    commits_meta_range_id: str
    tags_meta_range_id: str
    branches_meta_range_id: str


class RefsRestore(RefsDump):
    """Request body of `Repositories.restore_submit`."""

    force: bool | None = None


class TaskInfo(Model):
    """A started task.

    Attributes:
        id: the task's id.
    """

    id: str


class RepositoryRestoreStatus(Model):
    """Status of a restore.

    Attributes:
        id: the task's id.
        done: whether it has ended, successfully or not.
        update_time: time of this status (RFC 3339).
        error: the error, if it failed.
    """

    id: str
    done: bool
    update_time: str
    error: str | None = None

    @property
    def updated(self) -> datetime:
        """Time of this status."""
        return moment(self.update_time)


class RepositoryDumpStatus(RepositoryRestoreStatus):
    """Status of a dump.

    Attributes:
        id: the task's id.
        done: whether it has ended, successfully or not.
        update_time: time of this status (RFC 3339).
        error: the error, if it failed.
        refs: the dump, once it is complete.
    """

    refs: RefsDump | None = None


class Repositories(Group):
    """Operations on repositories: ``client.repositories``.

    Common parameters:
        repository: the repository's id.
        force: allow on a read-only repository.
        pattern: pattern of the branch protection rule.
        task_id: the id that `dump_submit` or `restore_submit` returned.
        commits_meta_range_id: id from the dump.
        tags_meta_range_id: id from the dump.
        branches_meta_range_id: id from the dump.
    """

    def list(
        self,
        *,
        prefix: str | None = None,
        search: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Listing[Repository]:
        """List repositories sorted by name (``listRepositories``).

        Args:
            prefix: only names that start with this.
            search: only names that contain this text.
            after: only names that sort after this.
            limit: maximum number of results.
        """
        return self._list(
            "listRepositories", "/repositories", {}, RepositoryList, after, limit, prefix=prefix, search=search
        )

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
            name: the name: 3 to 63 lower-case letters, digits and ``-``.
            storage_namespace: location for the data; no other repository may use it or have used it.
            storage_id: id of the store, if the server has several.
            default_branch: name of the default branch; default: ``main``.
            sample_data: add some sample objects.
            read_only: create a read-only repository.
            bare: create no branch and no commit, so that a dump can be restored.

        Raises:
            AlreadyExists: a repository with this name exists.
            BadRequest: the name or the namespace is invalid.

        Example:
            >>> client.repositories.create(name="lake", storage_namespace="s3://bucket/lake")  # doctest: +SKIP
        """
        body = RepositoryCreation.body(
            name=name, storage_namespace=storage_namespace, storage_id=storage_id,
            default_branch=default_branch, sample_data=sample_data, read_only=read_only,
        )  # fmt: skip
        return self._send(Call("createRepository", "POST", "/repositories", {}, Repository, query(bare=bare), body))

    def get(self, repository: str) -> Repository:
        """Return a repository (``getRepository``).

        Raises:
            RepositoryNotFound: the repository does not exist.
        """
        return self._send(Call("getRepository", "GET", _REPOSITORY, {"repository": repository}, Repository))

    def delete(self, repository: str, *, force: bool | None = None) -> None:
        """Delete a repository (``deleteRepository``). Its data is kept in the store.

        Raises:
            RepositoryNotFound: the repository does not exist.
            ReadOnlyRepository: the repository is read-only.
        """
        params = {"repository": repository}
        return self._send(Call("deleteRepository", "DELETE", _REPOSITORY, params, NoneType, query(force=force)))

    def get_metadata(self, repository: str) -> dict[str, str]:
        """Return the metadata of a repository (``getRepositoryMetadata``).

        Raises:
            RepositoryNotFound: the repository does not exist.
        """
        params = {"repository": repository}
        return self._send(Call("getRepositoryMetadata", "GET", _METADATA, params, RepositoryMetadata)).root

    def set_metadata(self, repository: str, *, metadata: Mapping[str, str]) -> None:
        """Add or replace metadata of a repository (``setRepositoryMetadata``, internal). Other keys are kept.

        Args:
            metadata: the keys and values to set.

        Raises:
            RepositoryNotFound: the repository does not exist.
        """
        body = RepositoryMetadataSet.body(metadata=metadata)
        params = {"repository": repository}
        return self._send(
            Call("setRepositoryMetadata", "POST", _METADATA, params, NoneType, body=body, idempotent=True)
        )

    def delete_metadata(self, repository: str, *, keys: Iterable[str]) -> None:
        """Remove metadata of a repository (``deleteRepositoryMetadata``, internal). Unknown keys are ignored.

        Args:
            keys: the keys to remove.

        Raises:
            RepositoryNotFound: the repository does not exist.
        """
        body = RepositoryMetadataKeys.body(keys=[*keys])
        params = {"repository": repository}
        return self._send(
            Call("deleteRepositoryMetadata", "DELETE", _METADATA, params, NoneType, body=body, idempotent=True)
        )

    def get_branch_protection_rules(self, repository: str) -> BranchProtectionRules:
        """Return the branch protection rules and their version (``getBranchProtectionRules``).

        Raises:
            RepositoryNotFound: the repository does not exist.
        """
        params = {"repository": repository}
        return self._send(Call("getBranchProtectionRules", "GET", _PROTECTION, params, BranchProtectionRules))

    def set_branch_protection_rules(
        self, repository: str, rules: Iterable[BranchProtectionRule], *, if_match: str | None = None
    ) -> None:
        """Replace all branch protection rules (``setBranchProtectionRules``).

        The server applies new rules within seconds, not immediately.

        Args:
            rules: all new rules.
            if_match: the ``etag`` of the rules to replace; fail if the rules have changed.

        Raises:
            PreconditionFailed: the rules have changed.
            InvalidArgument: ``if_match`` is empty; the server has no condition for "only without rules".

        Example:
            >>> old = client.repositories.get_branch_protection_rules("lake")  # doctest: +SKIP
            >>> rules = [*old.rules, BranchProtectionRule(pattern="release-*")]  # doctest: +SKIP
            >>> client.repositories.set_branch_protection_rules("lake", rules, if_match=old.etag)  # doctest: +SKIP
        """
        if if_match == "":
            raise InvalidArgument("if_match is empty, which lakeFS rejects; omit it if the repository has no rules")
        body = b"[" + b",".join(BranchProtectionRule.body(**dict(rule)) for rule in rules) + b"]"
        return self._send(
            Call(
                "setBranchProtectionRules", "PUT", _PROTECTION, {"repository": repository}, NoneType, body=body,
                headers=headers({"If-Match": if_match}), idempotent=if_match is None,
            )
        )  # fmt: skip

    def create_branch_protection_rule_preflight(self, repository: str) -> None:
        """Check the permission to set protection rules (``createBranchProtectionRulePreflight``, internal).

        The repository does not have to exist.

        Raises:
            PermissionDenied: the user lacks the permission.
        """
        path = f"{_OLDER_PROTECTION}/set_allowed"
        return self._send(
            Call("createBranchProtectionRulePreflight", "GET", path, {"repository": repository}, NoneType)
        )

    def internal_get_branch_protection_rules(self, repository: str) -> BranchProtectionRules:
        """Return the branch protection rules (``internalGetBranchProtectionRules``, deprecated).

        Use `get_branch_protection_rules` instead.
        """
        params = {"repository": repository}
        return self._send(
            Call("internalGetBranchProtectionRules", "GET", _OLDER_PROTECTION, params, BranchProtectionRules)
        )

    def internal_create_branch_protection_rule(self, repository: str, *, pattern: str) -> None:
        """Add one branch protection rule (``internalCreateBranchProtectionRule``, deprecated).

        An existing rule is not an error.
        """
        return self._send(
            Call(
                "internalCreateBranchProtectionRule", "POST", _OLDER_PROTECTION, {"repository": repository}, NoneType,
                body=BranchProtectionRule.body(pattern=pattern), idempotent=True,
            )
        )  # fmt: skip

    def internal_delete_branch_protection_rule(self, repository: str, *, pattern: str) -> None:
        """Remove one branch protection rule (``internalDeleteBranchProtectionRule``, deprecated).

        Raises:
            NotFound: the rule does not exist.
        """
        return self._send(
            Call(
                "internalDeleteBranchProtectionRule", "DELETE", _OLDER_PROTECTION, {"repository": repository}, NoneType,
                body=BranchProtectionRule.body(pattern=pattern),
            )
        )  # fmt: skip

    def dump_submit(self, repository: str) -> TaskInfo:
        """Start a dump of all branches, tags and commits, without uncommitted changes (``dumpSubmit``).

        Raises:
            RepositoryNotFound: the repository does not exist.
        """
        return self._send(Call("dumpSubmit", "POST", f"{_REPOSITORY}/dump", {"repository": repository}, TaskInfo))

    def dump_status(self, repository: str, task_id: str) -> RepositoryDumpStatus:
        """Return the status of a dump, and its result (``dumpStatus``).

        Raises:
            NotFound: the dump does not exist.
        """
        params = {"repository": repository}
        path = f"{_REPOSITORY}/dump"
        return self._send(Call("dumpStatus", "GET", path, params, RepositoryDumpStatus, query(task_id=task_id)))

    def restore_submit(
        self,
        repository: str,
        *,
        commits_meta_range_id: str,
        tags_meta_range_id: str,
        branches_meta_range_id: str,
        force: bool | None = None,
    ) -> TaskInfo:
        """Start to restore a dump into a bare repository on the same store (``restoreSubmit``).

        Raises:
            BadRequest: the repository is not bare.

        Example:
            >>> dump = client.repositories.dump_status("lake", task.id).refs  # doctest: +SKIP
            >>> client.repositories.restore_submit("lake-copy", **dict(dump))  # doctest: +SKIP
        """
        body = RefsRestore.body(
            commits_meta_range_id=commits_meta_range_id, tags_meta_range_id=tags_meta_range_id,
            branches_meta_range_id=branches_meta_range_id, force=force,
        )  # fmt: skip
        params = {"repository": repository}
        return self._send(Call("restoreSubmit", "POST", f"{_REPOSITORY}/restore", params, TaskInfo, body=body))

    def restore_status(self, repository: str, task_id: str) -> RepositoryRestoreStatus:
        """Return the status of a restore (``restoreStatus``).

        Raises:
            NotFound: the restore does not exist.
        """
        params = {"repository": repository}
        path = f"{_REPOSITORY}/restore"
        return self._send(Call("restoreStatus", "GET", path, params, RepositoryRestoreStatus, query(task_id=task_id)))

    def dump_refs(self, repository: str) -> RefsDump:
        """Dump all branches, tags and commits, and wait for the result (``dumpRefs``, internal).

        Raises:
            RepositoryNotFound: the repository does not exist.
        """
        return self._send(Call("dumpRefs", "PUT", f"{_REPOSITORY}/refs/dump", {"repository": repository}, RefsDump))

    def restore_refs(
        self,
        repository: str,
        *,
        commits_meta_range_id: str,
        tags_meta_range_id: str,
        branches_meta_range_id: str,
        force: bool | None = None,
    ) -> None:
        """Restore a dump into a bare repository on the same store, and wait for it (``restoreRefs``, internal).

        Raises:
            BadRequest: the repository is not bare.
        """
        body = RefsRestore.body(
            commits_meta_range_id=commits_meta_range_id, tags_meta_range_id=tags_meta_range_id,
            branches_meta_range_id=branches_meta_range_id, force=force,
        )  # fmt: skip
        params = {"repository": repository}
        return self._send(Call("restoreRefs", "PUT", f"{_REPOSITORY}/refs/restore", params, NoneType, body=body))
