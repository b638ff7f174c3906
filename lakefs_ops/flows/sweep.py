"""Sweep: delete the branches that finished runs, and killed writers of Delta tables, have left."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.flows.attempts import KEY
from lakefs_ops.flows.ensure import BRANCH_KEY, delete_branch_if_exists
from lakefs_ops.flows.history import Line, require_published
from lakefs_ops.flows.names import BACKFILL_PREFIX, RUN_PREFIX
from lakefs_ops.model import utc

if TYPE_CHECKING:
    from lakefs_ops.api.common import Ref
    from lakefs_ops.client import LakeFSClient

log = logging.getLogger(__name__)

_TRANSACTION = re.compile("delta-tx-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRANSACTION_MESSAGES = ("Delta commit {", "Delta file operations {")
"""The start of the messages of deltalake's commits on such a branch."""


class SweepIncomplete(errors.LakeFSError):
    """Some branches could not be swept; the others were.

    Attributes:
        refused: the error of each of these branches.
    """

    refused: Mapping[str, errors.LakeFSError]


def sweep(
    client: LakeFSClient,
    repository: str,
    *,
    older_than: timedelta,
    into: str = "main",
    prefix: str | Iterable[str] = RUN_PREFIX,
    dry_run: bool = False,
    discard: bool = False,
    is_alive: Callable[[str, str | None], bool] | None = None,
    transactions: bool = True,
) -> Iterator[str]:
    """Delete the branches of finished runs, and of failed Delta transactions; yield the name of each.

    Only branches without unpublished changes are deleted, unless ``discard`` is set. A branch's last activity is its
    newest own commit, or its newest uncommitted object; the server's clock decides. A branch without own commits and
    uncommitted objects is new or costs nothing, and is kept. So is a branch with uncommitted deletions, which have no
    date.

    A write by deltalake with an address ``lakefs://`` has a hidden branch ``delta-tx-UUID``, which it leaves if its
    process is killed. Such a branch is deleted with what it has, because the write was not completed.

    Args:
        client: the client.
        repository: the repository's id.
        older_than: delete a branch if its last activity is longer ago than this.
        into: the branch that runs publish to; never deleted.
        prefix: only branches whose names start with this, or with one of these; never those of a backfill, which only
            `lakefs_ops.flows.backfill.Backfill` deletes.
        dry_run: yield the names without deleting anything.
        discard: delete branches even if they have changes that are not published.
        is_alive: called with the name of a branch, and the key of its run if its first commit stores one; returns
            whether the run may still go on, so that its branch is kept whatever its age is.
        transactions: also delete the branches of Delta transactions.

    Raises:
        SweepIncomplete: at the end, if lakeFS refused to delete some branches.
    """
    horizon = client.server.time() - older_than
    line = Line(client, repository, into)
    refused: dict[str, errors.LakeFSError] = {}
    prefixes = (prefix,) if isinstance(prefix, str) else prefix
    for branch, is_transaction in _candidates(client, repository, prefixes, transactions=transactions):
        if branch.id == into or branch.id.startswith(BACKFILL_PREFIX):
            continue
        try:
            active = _last_activity(client, repository, branch, None if is_transaction else line)
            if active is None or active > horizon:
                continue
            if (
                is_alive is not None
                and not is_transaction
                and is_alive(branch.id, _run_of(client, repository, branch, line))
            ):
                continue
            discards = discard or is_transaction
            if not dry_run:
                deleted = delete_branch_if_exists(client, repository, branch.id, discard=discards, into=into)
            else:
                if not discards:
                    require_published(client, repository, branch.id, branch.commit_id, into)
                deleted = True
        except errors.UnpublishedChanges as kept:
            log.info("%s", kept.message)
        except errors.RefNotFound:
            log.info("branch %r of %r was deleted by somebody else", branch.id, repository)
        except errors.LakeFSError as error:
            log.warning("branch %r of %r is not swept: %s", branch.id, repository, error.message)
            refused[branch.id] = error
        else:
            if deleted:
                yield branch.id
    if refused:
        names = ", ".join(map(repr, refused))
        raise SweepIncomplete(
            f"{len(refused)} branches of {repository!r} could not be swept: {names}; the first error:"
            f" {next(iter(refused.values())).message}",
            refused=refused,
        )


def _candidates(
    client: LakeFSClient, repository: str, prefixes: Iterable[str], *, transactions: bool
) -> Iterator[tuple[Ref, bool]]:
    """Yield each branch that may be swept, and whether it is that of a Delta transaction."""
    for prefix in prefixes:
        for branch in client.branches.list(repository, prefix=prefix):
            yield branch, False
    if transactions:
        for branch in client.branches.list(repository, prefix="delta-tx-", show_hidden=True):
            if _TRANSACTION.fullmatch(branch.id):
                yield branch, True


def _run_of(client: LakeFSClient, repository: str, branch: Ref, line: Line) -> str | None:
    """Return the key that the first commit of a run's branch stores, or None."""
    for commit in client.refs.log(repository, branch.commit_id, first_parent=True):
        if line.has(commit):
            break
        if commit.metadata.get(BRANCH_KEY) == branch.id:
            return commit.metadata.get(KEY)
    return None


def _last_activity(client: LakeFSClient, repository: str, branch: Ref, line: Line | None) -> datetime | None:
    """Return the time of a branch's newest own commit or uncommitted object.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch.
        line: the line of the branch to publish to; None for the branch of a Delta transaction.
    """
    times = []
    head = client.commits.get(repository, branch.commit_id)
    if line is None:
        is_own = head.message.startswith(_TRANSACTION_MESSAGES)
    else:
        # The first commit of a run's branch has the date of a client.
        is_own = not line.has(head) and head.metadata.get(BRANCH_KEY) != branch.id
    if is_own:
        times.append(head.created)
    staged = client.refs.diff(repository, branch.commit_id, f"{branch.id}$", type="two_dot", include_right_stats=True)
    for change in staged:
        if change.type == "removed" or change.right is None:
            return None
        times.append(utc(change.right.mtime))
    return max(times, default=None)
