"""Pull requests (experimental): ``/repositories/{repository}/pulls``."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from types import NoneType

from lakefs_ops.api.common import Group, MergeResult, with_paths
from lakefs_ops.call import Call
from lakefs_ops.errors import LakeFSError, MergeConflict
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Model, moment

_PULLS = "/repositories/{repository}/pulls"
_PULL = f"{_PULLS}/{{pull_request}}"


class PullRequestBasic(Model):
    """The editable fields of a pull request.

    Attributes:
        status: ``open``, ``closed`` or ``merged``.
        title: the title.
        description: the description.
    """

    status: str | None = None
    title: str | None = None
    description: str | None = None


class PullRequest(PullRequestBasic):
    """A request to merge one branch into another.

    Attributes:
        status: ``open``, ``closed`` or ``merged``.
        title: the title.
        description: the description; not included in listings.
        id: the pull request's id.
        creation_date: creation time (RFC 3339).
        author: name of the user who opened it.
        source_branch: the branch to merge.
        destination_branch: the branch to merge into.
        merged_commit_id: id of the merge commit; not included in listings.
        closed_date: time when it was closed or merged (RFC 3339).
    """

    id: str
    creation_date: str
    author: str
    source_branch: str
    destination_branch: str
    merged_commit_id: str | None = None
    closed_date: str | None = None

    @property
    def created(self) -> datetime:
        """Creation time."""
        return moment(self.creation_date)

    @property
    def closed(self) -> datetime | None:
        """Time when it was closed or merged, None while it is open."""
        return None if self.closed_date is None else moment(self.closed_date)


class PullRequestsList(Page[PullRequest]):
    """One page of pull requests."""


class PullRequestCreation(Model):
    """Request body of `Pulls.create`."""

    title: str
    description: str | None = None
    source_branch: str
    destination_branch: str


class PullRequestCreationResponse(Model):
    """A new pull request.

    Attributes:
        id: the pull request's id.
    """

    id: str


class Pulls(Group):
    """Operations on pull requests: ``client.pulls``.

    Common parameters:
        repository: the repository's id.
        pull_request: the pull request's id.
        title: the title.
        description: the description.
    """

    def list(
        self,
        repository: str,
        *,
        status: str | None = None,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Listing[PullRequest]:
        """List pull requests, newest first (``listPullRequests``).

        Args:
            status: ``open``, ``closed`` (including merged ones) or ``all`` (default).
            prefix: only ids that start with this.
            after: only pull requests after the one with this id.
            limit: maximum number of results.
        """
        params = {"repository": repository}
        return self._list(
            "listPullRequests", _PULLS, params, PullRequestsList, after, limit, prefix=prefix, status=status
        )

    def create(
        self,
        repository: str,
        *,
        title: str,
        source_branch: str,
        destination_branch: str,
        description: str | None = None,
    ) -> PullRequestCreationResponse:
        """Open a pull request (``createPullRequest``).

        Args:
            source_branch: the branch to merge.
            destination_branch: the branch to merge into.

        Raises:
            BranchNotFound: one of the branches does not exist.
            BadRequest: the branches are the same.
        """
        body = PullRequestCreation.body(
            title=title, description=description, source_branch=source_branch, destination_branch=destination_branch
        )
        params = {"repository": repository}
        return self._send(Call("createPullRequest", "POST", _PULLS, params, PullRequestCreationResponse, body=body))

    def get(self, repository: str, pull_request: str) -> PullRequest:
        """Return a pull request (``getPullRequest``), even if its branches were deleted.

        Raises:
            PullRequestNotFound: the pull request does not exist.
        """
        params = {"repository": repository, "pull_request": pull_request}
        return self._send(Call("getPullRequest", "GET", _PULL, params, PullRequest))

    def update(
        self,
        repository: str,
        pull_request: str,
        *,
        status: str | None = None,
        title: str | None = None,
        description: str | None = None,
    ) -> None:
        """Edit a pull request (``updatePullRequest``).

        Args:
            status: ``open``, ``closed`` or ``merged``, which changes only the status and merges nothing.

        Raises:
            PullRequestNotFound: the pull request does not exist.
        """
        body = PullRequestBasic.body(status=status, title=title, description=description)
        params = {"repository": repository, "pull_request": pull_request}
        return self._send(Call("updatePullRequest", "PATCH", _PULL, params, NoneType, body=body, idempotent=True))

    def merge(self, repository: str, pull_request: str) -> MergeResult:
        """Merge a pull request's source into its destination (``mergePullRequest``).

        Not retried after a broken connection.

        Raises:
            PullRequestNotOpen: the pull request is closed or merged.
            MergeConflict: both sides changed the same objects; the pull request stays open. ``paths`` has the
                conflicting paths, as in `lakefs_ops.api.refs.Refs.merge`.
            NoChanges: the source has no changes; the pull request stays open.
            DirtyBranch: the destination has uncommitted changes.
            HookFailed: a hook rejected the change.
        """
        params = {"repository": repository, "pull_request": pull_request}
        try:
            return self._send(Call("mergePullRequest", "PUT", f"{_PULL}/merge", params, MergeResult))
        except MergeConflict as refused:
            conflict = refused
        with suppress(LakeFSError):
            pull = self.get(repository, pull_request)
            conflict = with_paths(
                self._sender, conflict, repository, pull.source_branch, pull.destination_branch, has_strategy=False
            )
        raise conflict
