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
    """The retention of deleted objects on a branch.

    Attributes:
        branch_id: the branch's name.
        retention_days: number of days.
    """

    branch_id: str
    retention_days: int


class GarbageCollectionRules(Model):
    """The retention of deleted objects in a repository.

    Attributes:
        default_retention_days: number of days for branches without a rule.
        branches: rules for single branches; None without rules (lakeFS 1.84).
    """

    default_retention_days: int
    branches: list[GarbageCollectionRule] | None = None


class GarbageCollectionPrepareResponse(Model):
    """A list of commits for a garbage collector.

    Attributes:
        run_id: the preparation's id.
        gc_commits_location: location of the list.
        gc_addresses_location: location for the collector's output.
        gc_commits_presigned_url: presigned URL of the list.
    """

    run_id: str
    gc_commits_location: str
    gc_addresses_location: str
    gc_commits_presigned_url: str | None = Field(default=None, repr=False)


class TaskCreation(Model):
    """A started task.

    Attributes:
        id: the task's id.
    """

    id: str


class PrepareGarbageCollectionCommitsStatus(Model):
    """Status of a preparation.

    Attributes:
        task_id: the task's id.
        completed: whether it has ended.
        update_time: time of this status (RFC 3339).
        result: the result.
        error: the error, if it failed.
    """

    task_id: str
    completed: bool
    update_time: str
    result: GarbageCollectionPrepareResponse | None = None
    error: Error | None = None

    @property
    def updated(self) -> datetime:
        """Time of this status."""
        return moment(self.update_time)


class PrepareGCUncommittedRequest(Model):
    """Request body of `GarbageCollection.prepare_uncommitted`."""

    continuation_token: str | None = None


class PrepareGCUncommittedResponse(Model):
    """A list of uncommitted objects for a garbage collector.

    Attributes:
        run_id: the preparation's id.
        gc_uncommitted_location: location of the list.
        continuation_token: token to request the rest; None if the list is complete.
    """

    run_id: str
    gc_uncommitted_location: str
    continuation_token: str | None = None


class GarbageCollection(Group):
    """Operations on garbage collection: ``client.garbage_collection``.

    Common parameters:
        repository: the repository's id.
        default_retention_days: number of days for which deleted objects are kept.
        branches: branches with another number of days.
    """

    def get_rules(self, repository: str) -> GarbageCollectionRules:
        """Return the retention rules (``getGCRules``).

        Raises:
            NotFound: no rules are set.
        """
        return self._send(Call("getGCRules", "GET", _SETTINGS, {"repository": repository}, GarbageCollectionRules))

    def set_rules(
        self, repository: str, *, default_retention_days: int, branches: Iterable[GarbageCollectionRule] = ()
    ) -> None:
        """Replace the retention rules (``setGCRules``)."""
        body = GarbageCollectionRules.body(default_retention_days=default_retention_days, branches=list(branches))
        params = {"repository": repository}
        return self._send(Call("setGCRules", "PUT", _SETTINGS, params, NoneType, body=body, idempotent=True))

    def delete_rules(self, repository: str) -> None:
        """Remove the retention rules (``deleteGCRules``). Missing rules are not an error."""
        params = {"repository": repository}
        return self._send(Call("deleteGCRules", "DELETE", _SETTINGS, params, NoneType, idempotent=True))

    def set_rules_preflight(self, repository: str) -> None:
        """Check the permission to set rules (``setGarbageCollectionRulesPreflight``, internal).

        The repository does not have to exist.

        Raises:
            PermissionDenied: the user lacks the permission.
        """
        params = {"repository": repository}
        return self._send(Call("setGarbageCollectionRulesPreflight", "GET", f"{_OLDER}/set_allowed", params, NoneType))

    def internal_get_rules(self, repository: str) -> GarbageCollectionRules:
        """Return the rules (``internalGetGarbageCollectionRules``, deprecated: `get_rules`).

        Raises:
            NotFound: no rules are set.
        """
        params = {"repository": repository}
        return self._send(Call("internalGetGarbageCollectionRules", "GET", _OLDER, params, GarbageCollectionRules))

    def internal_set_rules(
        self, repository: str, *, default_retention_days: int, branches: Iterable[GarbageCollectionRule] = ()
    ) -> None:
        """Replace the rules (``internalSetGarbageCollectionRules``, deprecated: `set_rules`)."""
        body = GarbageCollectionRules.body(default_retention_days=default_retention_days, branches=list(branches))
        return self._send(
            Call(
                "internalSetGarbageCollectionRules", "POST", _OLDER, {"repository": repository}, NoneType,
                body=body, idempotent=True,
            )
        )  # fmt: skip

    def internal_delete_rules(self, repository: str) -> None:
        """Remove the rules (``internalDeleteGarbageCollectionRules``, deprecated: `delete_rules`)."""
        return self._send(
            Call(
                "internalDeleteGarbageCollectionRules", "DELETE", _OLDER, {"repository": repository}, NoneType,
                idempotent=True,
            )
        )  # fmt: skip

    def prepare_commits(self, repository: str) -> GarbageCollectionPrepareResponse:
        """List commits for a garbage collector (``prepareGarbageCollectionCommits``, internal).

        Raises:
            NotFound: no rules are set.
            NotSupported: the store has no presigned URLs (lakeFS 1.84; `prepare_commits_async` does not need them).
        """
        params = {"repository": repository}
        return self._send(
            Call(
                "prepareGarbageCollectionCommits", "POST", f"{_GC}/prepare_commits", params,
                GarbageCollectionPrepareResponse,
            )
        )  # fmt: skip

    def prepare_commits_async(self, repository: str) -> TaskCreation:
        """Start `prepare_commits` as a task (``prepareGarbageCollectionCommitsAsync``, internal)."""
        params = {"repository": repository}
        return self._send(
            Call("prepareGarbageCollectionCommitsAsync", "POST", f"{_GC}/prepare_commits/async", params, TaskCreation)
        )

    def prepare_commits_status(self, repository: str, id: str) -> PrepareGarbageCollectionCommitsStatus:
        """Return the status of `prepare_commits_async` (``prepareGarbageCollectionCommitsStatus``, internal).

        Args:
            id: the task's id.

        Raises:
            NotFound: the task does not exist.
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
        """List uncommitted objects for a garbage collector (``prepareGarbageCollectionUncommitted``, internal).

        Args:
            continuation_token: token from the previous response, to continue the list.

        Raises:
            BadRequest: the token was not issued by this server.
        """
        body = PrepareGCUncommittedRequest.body(continuation_token=continuation_token)
        return self._send(
            Call(
                "prepareGarbageCollectionUncommitted", "POST", f"{_GC}/prepare_uncommited",
                {"repository": repository}, PrepareGCUncommittedResponse, body=body,
            )
        )  # fmt: skip
