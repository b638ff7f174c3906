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


class RepositoryMetadata(RootModel[dict[str, str]]):
    """Keys and values that are kept with a repository."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read them from an answer."""
        return cls.model_validate_json(body)


class RepositoryMetadataSet(Model):
    """What `Repositories.set_metadata` sends."""

    metadata: dict[str, str]


class RepositoryMetadataKeys(Model):
    """What `Repositories.delete_metadata` sends."""

    keys: list[str]


class BranchProtectionRule(Model):
    """Which branches nobody may write to directly.

    Attributes:
        pattern: a glob on branch names: ``*``, ``?``, ``[a-z]``, ``[!a]``, ``{a,b}``.
    """

    pattern: str


class BranchProtectionRules(Model):
    """A repository's protection rules, and their state.

    Attributes:
        rules: the rules, in any order.
        etag: names their state, to replace no other; empty while there are no rules.
    """

    rules: list[BranchProtectionRule]
    etag: str = ""

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read the rules from the answer's body, their state from its headers."""
        rules = _RuleList.model_validate_json(body).root
        return cls(rules=rules, etag=headers.get("ETag", ""))


class _RuleList(RootModel[list[BranchProtectionRule]]):
    model_config = ConfigDict(defer_build=True)


class RefsDump(Model):
    """Where the branches, tags and commits of a repository were written down.

    Attributes:
        commits_meta_range_id: what identifies the commits.
        tags_meta_range_id: what identifies the tags.
        branches_meta_range_id: what identifies the branches.
    """

    commits_meta_range_id: str
    tags_meta_range_id: str
    branches_meta_range_id: str


class RefsRestore(RefsDump):
    """What `Repositories.restore_submit` sends."""

    force: bool | None = None


class TaskInfo(Model):
    """A task that was started.

    Attributes:
        id: what to ask for its status with.
    """

    id: str


class RepositoryRestoreStatus(Model):
    """How far a restore is.

    Attributes:
        id: the task's id.
        done: whether it has ended, well or not.
        update_time: when that was written down, in RFC 3339.
        error: why it has failed.
    """

    id: str
    done: bool
    update_time: str
    error: str | None = None

    @property
    def updated(self) -> datetime:
        """When it was written down."""
        return moment(self.update_time)


class RepositoryDumpStatus(RepositoryRestoreStatus):
    """How far a dump is.

    Attributes:
        id: the task's id.
        done: whether it has ended, well or not.
        update_time: when that was written down, in RFC 3339.
        error: why it has failed.
        refs: what it wrote, once it is done.
    """

    refs: RefsDump | None = None


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

        Args:
            repository: the repository's id.

        Raises:
            RepositoryNotFound: no such repository.
        """
        return self._send(Call("getRepository", "GET", _REPOSITORY, {"repository": repository}, Repository))

    def delete(self, repository: str, *, force: bool | None = None) -> None:
        """Delete a repository (``deleteRepository``); its data stay in the store.

        Args:
            repository: the repository's id.
            force: also if it is read-only.

        Raises:
            RepositoryNotFound: no such repository.
            ReadOnlyRepository: it is read-only.
        """
        names = {"repository": repository}
        return self._send(Call("deleteRepository", "DELETE", _REPOSITORY, names, NoneType, query(force=force)))

    def get_metadata(self, repository: str) -> dict[str, str]:
        """Return the keys and values kept with a repository (``getRepositoryMetadata``).

        Args:
            repository: the repository's id.

        Raises:
            RepositoryNotFound: no such repository.
        """
        names = {"repository": repository}
        return self._send(Call("getRepositoryMetadata", "GET", _METADATA, names, RepositoryMetadata)).root

    def set_metadata(self, repository: str, *, metadata: Mapping[str, str]) -> None:
        """Add or replace keys and values of a repository (``setRepositoryMetadata``, internal); others stay.

        Args:
            repository: the repository's id.
            metadata: the keys and values to set.

        Raises:
            RepositoryNotFound: no such repository.
        """
        body = RepositoryMetadataSet.body(metadata=metadata)
        names = {"repository": repository}
        return self._send(Call("setRepositoryMetadata", "POST", _METADATA, names, NoneType, body=body, idempotent=True))

    def delete_metadata(self, repository: str, *, keys: Iterable[str]) -> None:
        """Remove keys of a repository (``deleteRepositoryMetadata``, internal); unknown ones are no error.

        Args:
            repository: the repository's id.
            keys: the keys to remove.

        Raises:
            RepositoryNotFound: no such repository.
        """
        body = RepositoryMetadataKeys.body(keys=[*keys])
        names = {"repository": repository}
        return self._send(
            Call("deleteRepositoryMetadata", "DELETE", _METADATA, names, NoneType, body=body, idempotent=True)
        )

    def get_branch_protection_rules(self, repository: str) -> BranchProtectionRules:
        """Return the branch protection rules and their state (``getBranchProtectionRules``).

        Args:
            repository: the repository's id.

        Raises:
            RepositoryNotFound: no such repository.
        """
        names = {"repository": repository}
        return self._send(Call("getBranchProtectionRules", "GET", _PROTECTION, names, BranchProtectionRules))

    def set_branch_protection_rules(
        self, repository: str, rules: Iterable[BranchProtectionRule], *, if_match: str | None = None
    ) -> None:
        """Replace all branch protection rules (``setBranchProtectionRules``).

        The server follows within seconds, not at once.

        Args:
            repository: the repository's id.
            rules: all rules from now on.
            if_match: the ``etag`` of the rules to be replaced: refused when they have changed since.

        Raises:
            PreconditionFailed: they have changed since.
            InvalidArgument: ``if_match`` is empty: the server cannot be asked for "only if there are none".

        Example:
            >>> old = client.repositories.get_branch_protection_rules("lake")  # doctest: +SKIP
            >>> rules = [*old.rules, BranchProtectionRule(pattern="release-*")]  # doctest: +SKIP
            >>> client.repositories.set_branch_protection_rules("lake", rules, if_match=old.etag)  # doctest: +SKIP
        """
        if if_match == "":
            raise InvalidArgument("if_match is empty, which lakeFS refuses; leave it out where there are no rules yet")
        body = b"[" + b",".join(BranchProtectionRule.body(**dict(rule)) for rule in rules) + b"]"
        return self._send(
            Call(
                "setBranchProtectionRules", "PUT", _PROTECTION, {"repository": repository}, NoneType, body=body,
                headers=headers({"If-Match": if_match}), idempotent=if_match is None,
            )
        )  # fmt: skip

    def create_branch_protection_rule_preflight(self, repository: str) -> None:
        """Return when the user may set protection rules (``createBranchProtectionRulePreflight``, internal).

        Args:
            repository: the repository's id; it need not exist.

        Raises:
            PermissionDenied: the user may not.
        """
        path = f"{_OLDER_PROTECTION}/set_allowed"
        return self._send(
            Call("createBranchProtectionRulePreflight", "GET", path, {"repository": repository}, NoneType)
        )

    def internal_get_branch_protection_rules(self, repository: str) -> BranchProtectionRules:
        """Return the rules by an older address (``internalGetBranchProtectionRules``, deprecated).

        `get_branch_protection_rules` is what to use instead.

        Args:
            repository: the repository's id.
        """
        names = {"repository": repository}
        return self._send(
            Call("internalGetBranchProtectionRules", "GET", _OLDER_PROTECTION, names, BranchProtectionRules)
        )

    def internal_create_branch_protection_rule(self, repository: str, *, pattern: str) -> None:
        """Add one rule by an older address (``internalCreateBranchProtectionRule``, deprecated).

        Args:
            repository: the repository's id.
            pattern: the rule's pattern; one that is there already is no error.
        """
        return self._send(
            Call(
                "internalCreateBranchProtectionRule", "POST", _OLDER_PROTECTION, {"repository": repository}, NoneType,
                body=BranchProtectionRule.body(pattern=pattern), idempotent=True,
            )
        )  # fmt: skip

    def internal_delete_branch_protection_rule(self, repository: str, *, pattern: str) -> None:
        """Remove one rule by an older address (``internalDeleteBranchProtectionRule``, deprecated).

        Args:
            repository: the repository's id.
            pattern: the rule's pattern.

        Raises:
            NotFound: there is no such rule.
        """
        return self._send(
            Call(
                "internalDeleteBranchProtectionRule", "DELETE", _OLDER_PROTECTION, {"repository": repository}, NoneType,
                body=BranchProtectionRule.body(pattern=pattern),
            )
        )  # fmt: skip

    def dump_submit(self, repository: str) -> TaskInfo:
        """Start to write down all branches, tags and commits (``dumpSubmit``); uncommitted changes are left out.

        Args:
            repository: the repository's id.

        Raises:
            RepositoryNotFound: no such repository.
        """
        return self._send(Call("dumpSubmit", "POST", f"{_REPOSITORY}/dump", {"repository": repository}, TaskInfo))

    def dump_status(self, repository: str, task_id: str) -> RepositoryDumpStatus:
        """Return how far a dump is, and what it wrote (``dumpStatus``).

        Args:
            repository: the repository's id.
            task_id: the id of `dump_submit`.

        Raises:
            NotFound: no such dump.
        """
        names = {"repository": repository}
        path = f"{_REPOSITORY}/dump"
        return self._send(Call("dumpStatus", "GET", path, names, RepositoryDumpStatus, query(task_id=task_id)))

    def restore_submit(
        self,
        repository: str,
        *,
        commits_meta_range_id: str,
        tags_meta_range_id: str,
        branches_meta_range_id: str,
        force: bool | None = None,
    ) -> TaskInfo:
        """Start to restore a dump into a bare repository (``restoreSubmit``).

        Args:
            repository: the id of a bare repository over the same store.
            commits_meta_range_id: from the dump.
            tags_meta_range_id: from the dump.
            branches_meta_range_id: from the dump.
            force: also in a read-only repository.

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
        names = {"repository": repository}
        return self._send(Call("restoreSubmit", "POST", f"{_REPOSITORY}/restore", names, TaskInfo, body=body))

    def restore_status(self, repository: str, task_id: str) -> RepositoryRestoreStatus:
        """Return how far a restore is (``restoreStatus``).

        Args:
            repository: the repository's id.
            task_id: the id of `restore_submit`.

        Raises:
            NotFound: no such restore.
        """
        names = {"repository": repository}
        path = f"{_REPOSITORY}/restore"
        return self._send(Call("restoreStatus", "GET", path, names, RepositoryRestoreStatus, query(task_id=task_id)))

    def dump_refs(self, repository: str) -> RefsDump:
        """Write down all branches, tags and commits while the call lasts (``dumpRefs``, internal).

        Args:
            repository: the repository's id.

        Raises:
            RepositoryNotFound: no such repository.
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
        """Restore a dump into a bare repository while the call lasts (``restoreRefs``, internal).

        Args:
            repository: the id of a bare repository over the same store.
            commits_meta_range_id: from the dump.
            tags_meta_range_id: from the dump.
            branches_meta_range_id: from the dump.
            force: also in a read-only repository.

        Raises:
            BadRequest: the repository is not bare.
        """
        body = RefsRestore.body(
            commits_meta_range_id=commits_meta_range_id, tags_meta_range_id=tags_meta_range_id,
            branches_meta_range_id=branches_meta_range_id, force=force,
        )  # fmt: skip
        names = {"repository": repository}
        return self._send(Call("restoreRefs", "PUT", f"{_REPOSITORY}/refs/restore", names, NoneType, body=body))
