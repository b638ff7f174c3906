"""Garbage collection: ``/repositories/{repository}/settings/gc_rules`` and ``/repositories/{repository}/gc``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from types import NoneType

from pydantic import Field

from lakefs_ops.api.common import Error, Group
from lakefs_ops.call import Call, query
from lakefs_ops.model import Model, moment

_SETTINGS = "/repositories/{repository}/settings/gc_rules"
_OLDER = "/repositories/{repository}/gc/rules"
_GC = "/repositories/{repository}/gc"


class GarbageCollectionRule(Model):
    """How long a branch's old objects are kept.

    Attributes:
        branch_id: the branch's name.
        retention_days: so many days.
    """

    branch_id: str
    retention_days: int


class GarbageCollectionRules(Model):
    """How long old objects are kept.

    Attributes:
        default_retention_days: so many days on branches without a rule of their own.
        branches: the branches with one; None when there is none (lakeFS 1.84).
    """

    default_retention_days: int
    branches: list[GarbageCollectionRule] | None = None


class GarbageCollectionPrepareResponse(Model):
    """What a collector needs to know of the commits.

    Attributes:
        run_id: the preparation's id.
        gc_commits_location: where the list of commits is.
        gc_addresses_location: where the collector may write.
        gc_commits_presigned_url: a presigned address of the list.
    """

    run_id: str
    gc_commits_location: str
    gc_addresses_location: str
    gc_commits_presigned_url: str | None = Field(default=None, repr=False)


class TaskCreation(Model):
    """A task that was started.

    Attributes:
        id: what to ask for its status with.
    """

    id: str


class PrepareGarbageCollectionCommitsStatus(Model):
    """How far a preparation is.

    Attributes:
        task_id: its id.
        completed: whether it has ended.
        update_time: when that was written down, in RFC 3339.
        result: what it made.
        error: why it has failed.
    """

    task_id: str
    completed: bool
    update_time: str
    result: GarbageCollectionPrepareResponse | None = None
    error: Error | None = None

    @property
    def updated(self) -> datetime:
        """When it was written down."""
        return moment(self.update_time)


class PrepareGCUncommittedRequest(Model):
    """What `GarbageCollection.prepare_uncommitted` sends."""

    continuation_token: str | None = None


class PrepareGCUncommittedResponse(Model):
    """What a collector needs to know of uncommitted objects.

    Attributes:
        run_id: the preparation's id.
        gc_uncommitted_location: where the list is.
        continuation_token: ask again with it for the rest; None when that was all.
    """

    run_id: str
    gc_uncommitted_location: str
    continuation_token: str | None = None


class GarbageCollection(Group):
    """Operations on garbage collection: ``client.garbage_collection``."""

    def get_rules(self, repository: str) -> GarbageCollectionRules:
        """Return the rules (``getGCRules``).

        Args:
            repository: the repository's id.

        Raises:
            NotFound: none are set.
        """
        return self._send(Call("getGCRules", "GET", _SETTINGS, {"repository": repository}, GarbageCollectionRules))

    def set_rules(
        self, repository: str, *, default_retention_days: int, branches: Iterable[GarbageCollectionRule] = ()
    ) -> None:
        """Replace the rules (``setGCRules``).

        Args:
            repository: the repository's id.
            default_retention_days: how many days old objects are kept.
            branches: branches with another number of days.
        """
        body = GarbageCollectionRules.body(default_retention_days=default_retention_days, branches=list(branches))
        names = {"repository": repository}
        return self._send(Call("setGCRules", "PUT", _SETTINGS, names, NoneType, body=body, idempotent=True))

    def delete_rules(self, repository: str) -> None:
        """Remove the rules (``deleteGCRules``); that there are none is no error.

        Args:
            repository: the repository's id.
        """
        names = {"repository": repository}
        return self._send(Call("deleteGCRules", "DELETE", _SETTINGS, names, NoneType, idempotent=True))

    def set_rules_preflight(self, repository: str) -> None:
        """Return when the user may set rules (``setGarbageCollectionRulesPreflight``, internal).

        Args:
            repository: the repository's id; it need not exist.

        Raises:
            PermissionDenied: the user may not.
        """
        names = {"repository": repository}
        return self._send(Call("setGarbageCollectionRulesPreflight", "GET", f"{_OLDER}/set_allowed", names, NoneType))

    def internal_get_rules(self, repository: str) -> GarbageCollectionRules:
        """Return the rules by an older address (``internalGetGarbageCollectionRules``, deprecated: `get_rules`).

        Args:
            repository: the repository's id.

        Raises:
            NotFound: none are set.
        """
        names = {"repository": repository}
        return self._send(Call("internalGetGarbageCollectionRules", "GET", _OLDER, names, GarbageCollectionRules))

    def internal_set_rules(
        self, repository: str, *, default_retention_days: int, branches: Iterable[GarbageCollectionRule] = ()
    ) -> None:
        """Replace the rules by an older address (``internalSetGarbageCollectionRules``, deprecated: `set_rules`).

        Args:
            repository: the repository's id.
            default_retention_days: how many days old objects are kept.
            branches: branches with another number of days.
        """
        body = GarbageCollectionRules.body(default_retention_days=default_retention_days, branches=list(branches))
        return self._send(
            Call(
                "internalSetGarbageCollectionRules", "POST", _OLDER, {"repository": repository}, NoneType,
                body=body, idempotent=True,
            )
        )  # fmt: skip

    def internal_delete_rules(self, repository: str) -> None:
        """Remove the rules by an older address (``internalDeleteGarbageCollectionRules``, deprecated: `delete_rules`).

        Args:
            repository: the repository's id.
        """
        return self._send(
            Call(
                "internalDeleteGarbageCollectionRules", "DELETE", _OLDER, {"repository": repository}, NoneType,
                idempotent=True,
            )
        )  # fmt: skip

    def prepare_commits(self, repository: str) -> GarbageCollectionPrepareResponse:
        """List for a collector which commits count (``prepareGarbageCollectionCommits``, internal).

        Args:
            repository: the repository's id.

        Raises:
            NotFound: no rules are set.
            NotSupported: the store does not presign (lakeFS 1.84; `prepare_commits_async` does without).
        """
        names = {"repository": repository}
        return self._send(
            Call(
                "prepareGarbageCollectionCommits", "POST", f"{_GC}/prepare_commits", names,
                GarbageCollectionPrepareResponse,
            )
        )  # fmt: skip

    def prepare_commits_async(self, repository: str) -> TaskCreation:
        """Start `prepare_commits` as a task (``prepareGarbageCollectionCommitsAsync``, internal).

        Args:
            repository: the repository's id.
        """
        names = {"repository": repository}
        return self._send(
            Call("prepareGarbageCollectionCommitsAsync", "POST", f"{_GC}/prepare_commits/async", names, TaskCreation)
        )

    def prepare_commits_status(self, repository: str, id: str) -> PrepareGarbageCollectionCommitsStatus:
        """Return how far the task of `prepare_commits_async` is (``prepareGarbageCollectionCommitsStatus``, internal).

        Args:
            repository: the repository's id.
            id: the task's id.

        Raises:
            NotFound: no such task.
        """
        return self._send(
            Call(
                "prepareGarbageCollectionCommitsStatus", "GET", f"{_GC}/prepare_commits/status",
                {"repository": repository}, PrepareGarbageCollectionCommitsStatus, query(id=id),
            )
        )  # fmt: skip

    def prepare_uncommitted(
        self, repository: str, *, continuation_token: str | None = None
    ) -> PrepareGCUncommittedResponse:
        """List for a collector which uncommitted objects count (``prepareGarbageCollectionUncommitted``, internal).

        Args:
            repository: the repository's id.
            continuation_token: the last answer's, to go on behind it.

        Raises:
            BadRequest: the token is none of this server.
        """
        body = PrepareGCUncommittedRequest.body(continuation_token=continuation_token)
        return self._send(
            Call(
                "prepareGarbageCollectionUncommitted", "POST", f"{_GC}/prepare_uncommited",
                {"repository": repository}, PrepareGCUncommittedResponse, body=body,
            )
        )  # fmt: skip
