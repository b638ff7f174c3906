"""Settings of a repository as a pipeline wants them: branch protection and retention. Each verb may be repeated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.api.garbage_collection import GarbageCollectionRule
from lakefs_ops.api.repositories import BranchProtectionRule
from lakefs_ops.flows.attempts import Attempts

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient


def ensure_branch_protection(client: LakeFSClient, repository: str, patterns: Iterable[str]) -> None:
    """Replace the branch protection rules, unless they are as wanted.

    The server applies new rules within seconds, not immediately.

    Args:
        client: the client.
        repository: the repository's id.
        patterns: a glob for branch names for each rule; without any, all rules are removed.

    Raises:
        PreconditionFailed: another writer kept changing the rules.
    """
    wanted = sorted(set(patterns))
    attempts = Attempts(client)
    while True:
        try:
            now = client.repositories.get_branch_protection_rules(repository)
            if sorted({rule.pattern for rule in now.rules}) != wanted:
                rules = [BranchProtectionRule(pattern=pattern) for pattern in wanted]
                client.repositories.set_branch_protection_rules(repository, rules, if_match=now.etag or None)
        except (*errors.TRANSIENT, errors.PreconditionFailed) as error:
            attempts.sleep_or_raise(error)
        else:
            return


def ensure_retention(
    client: LakeFSClient, repository: str, *, default_days: int, branch_days: Mapping[str, int] | None = None
) -> None:
    """Replace the garbage collection rules, unless they are as wanted.

    Args:
        client: the client.
        repository: the repository's id.
        default_days: number of days for which deleted objects are kept.
        branch_days: the same for single branches.
    """
    wanted = dict(branch_days or {})
    rules = [GarbageCollectionRule(branch_id=branch, retention_days=days) for branch, days in wanted.items()]

    def set_rules() -> None:
        try:
            now = client.garbage_collection.get_rules(repository)
        except errors.RepositoryNotFound:
            raise
        except errors.NotFound:
            pass
        else:
            found = {rule.branch_id: rule.retention_days for rule in now.branches or ()}
            if (now.default_retention_days, found) == (default_days, wanted):
                return
        client.garbage_collection.set_rules(repository, default_retention_days=default_days, branches=rules)

    Attempts(client).run(set_rules)
