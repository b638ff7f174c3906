"""Questions about the history: is an effect still in force, is a branch published, what time is it on the server?

Each answer is exact, or an error; none of them depends on how many commits or changes there are.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.call import Call
from lakefs_ops.listing import PAGE_SIZE

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient


def is_undone(client: LakeFSClient, repository: str, commit: Commit, ref: str) -> bool:
    """Return whether all changes of a commit are gone from a ref: each path is as it was before the commit.

    A path that a later commit changed to something else counts as kept: it was replaced, not undone.

    Args:
        client: the client.
        repository: the repository's id.
        commit: a commit in the log of the ref.
        ref: the branch or other ref; only its committed objects count.
    """
    if not commit.parents or client.commits.get(repository, ref).id == commit.id:
        return False
    before = commit.parents[0]
    brought = (d.path for d in client.refs.diff(repository, before, commit.id, type="two_dot"))
    kept = (d.path for d in client.refs.diff(repository, before, ref, type="two_dot"))
    if (ours := next(brought, None)) is None:
        return False
    theirs = next(kept, None)
    while ours is not None and theirs is not None:
        if ours == theirs:
            return False
        if ours < theirs:
            ours = next(brought, None)
        else:
            theirs = next(kept, None)
    return True


def includes(client: LakeFSClient, repository: str, commit_id: str, source_ref: str) -> bool:
    """Return whether merging a ref into a commit would change nothing; also if the ref does not exist any more."""
    try:
        return client.refs.diff(repository, commit_id, source_ref, limit=1).first() is None
    except errors.RefNotFound:
        return True


def differs(client: LakeFSClient, repository: str, commit_id: str, branch: str) -> bool:
    """Return whether a branch with its uncommitted changes differs from a commit: one request.

    Raises:
        RefNotFound: the branch does not exist.
    """
    return client.refs.diff(repository, commit_id, f"{branch}$", type="two_dot").first() is not None


def require_published(client: LakeFSClient, repository: str, branch: str, head: str, into: str) -> None:
    """Raise an error if a branch has changes that are nowhere else: two requests.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch.
        head: the id of the commit that the branch points to.
        into: the branch that has the published data.

    Raises:
        UnpublishedChanges: uncommitted changes exist, or merging the branch would change the other one.
    """
    uncommitted = sum(1 for _ in client.branches.diff(repository, branch, limit=PAGE_SIZE))
    unmerged = sum(1 for _ in client.refs.diff(repository, into, head, limit=PAGE_SIZE))
    if uncommitted or unmerged:
        url = client.links.objects(repository, branch)
        raise errors.UnpublishedChanges(
            f"branch {branch!r} of {repository!r} is kept: {count(uncommitted)} uncommitted changes, and"
            f" {count(unmerged)} objects that are not merged into {into!r}: {url}; commit and merge them, or delete the"
            " branch with discard=True",
            branch=branch,
            url=url,
            uncommitted=uncommitted,
            unmerged=unmerged,
        )


def count(number: int) -> str:
    """Return a number of listed results for a message."""
    return f"{number} or more" if number >= PAGE_SIZE else str(number)


def server_time(client: LakeFSClient) -> datetime:
    """Return the server's time, from the header ``Date`` of its health check.

    Raises:
        NotALakeFS: the response has no such header.
    """
    call = Call("healthCheck", "GET", "/healthcheck", {}, bytes, authenticated=False)
    with client.transport.open(call) as response:
        date = response.headers.get("Date")
    if date is None:
        raise errors.NotALakeFS(
            f"{client.config.endpoint} does not send its time (header Date), so the age of a branch is unknown",
            operation="healthCheck",
            endpoint=client.config.endpoint,
        )
    return parsedate_to_datetime(date).astimezone(UTC)
