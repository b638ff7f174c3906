"""Pull requests (experimental): ``/repositories/{repository}/pulls``."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from types import NoneType

from lakefs_ops.api.common import Group, MergeResult, with_paths
from lakefs_ops.call import Call, query
from lakefs_ops.errors import LakeFSError, MergeConflict
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Model, moment

_PULLS = "/repositories/{repository}/pulls"
_PULL = f"{_PULLS}/{{pull_request}}"


class PullRequestBasic(Model):
    """What can be edited of a pull request.

    Attributes:
        status: ``open``, ``closed`` or ``merged``.
        title: its title.
        description: what it is about.
    """

    status: str | None = None
    title: str | None = None
    description: str | None = None


class PullRequest(PullRequestBasic):
    """A wish to merge one branch into another.

    Attributes:
        status: ``open``, ``closed`` or ``merged``.
        title: its title.
        description: what it is about; lists leave it out.
        id: its id.
        creation_date: when it was opened, in RFC 3339.
        author: who opened it.
        source_branch: the branch to merge.
        destination_branch: the branch to merge into.
        merged_commit_id: the merge commit; lists leave it out.
        closed_date: when it was closed or merged, in RFC 3339.
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
        """When it was opened."""
        return moment(self.creation_date)

    @property
    def closed(self) -> datetime | None:
        """When it was closed or merged."""
        return None if self.closed_date is None else moment(self.closed_date)


class PullRequestsList(Page[PullRequest]):
    """One page of pull requests."""


class PullRequestCreation(Model):
    """What `Pulls.create` sends."""

    title: str
    description: str | None = None
    source_branch: str
    destination_branch: str


class PullRequestCreationResponse(Model):
    """A pull request that was opened.

    Attributes:
        id: its id.
    """

    id: str


class Pulls(Group):
    """Operations on pull requests: ``client.pulls``."""

    def list(
        self,
        repository: str,
        *,
        status: str | None = None,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Listing[PullRequest]:
        """List pull requests, the newest first (``listPullRequests``).

        Args:
            repository: the repository's id.
            status: ``open``, ``closed`` (merged ones too) or ``all`` (default).
            prefix: only ids that begin so.
            after: only what comes behind this id.
            limit: so many at most.
        """
        call = Call(
            "listPullRequests", "GET", _PULLS, {"repository": repository}, PullRequestsList,
            query(prefix=prefix, status=status),
        )  # fmt: skip
        return Listing(self._sender, call, after=after, limit=limit)

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
            repository: the repository's id.
            title: its title.
            source_branch: the branch to merge.
            destination_branch: the branch to merge into.
            description: what it is about.

        Raises:
            BranchNotFound: one of the branches does not exist.
            BadRequest: both are the same.
        """
        body = PullRequestCreation.body(
            title=title, description=description, source_branch=source_branch, destination_branch=destination_branch
        )
        names = {"repository": repository}
        return self._send(Call("createPullRequest", "POST", _PULLS, names, PullRequestCreationResponse, body=body))

    def get(self, repository: str, pull_request: str) -> PullRequest:
        """Return a pull request (``getPullRequest``); it outlives its branches.

        Args:
            repository: the repository's id.
            pull_request: its id.

        Raises:
            PullRequestNotFound: no such pull request.
        """
        names = {"repository": repository, "pull_request": pull_request}
        return self._send(Call("getPullRequest", "GET", _PULL, names, PullRequest))

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
            repository: the repository's id.
            pull_request: its id.
            status: ``open``, ``closed`` or ``merged``; the last only says so, nothing is merged.
            title: a new title.
            description: a new description.

        Raises:
            PullRequestNotFound: no such pull request.
        """
        body = PullRequestBasic.body(status=status, title=title, description=description)
        names = {"repository": repository, "pull_request": pull_request}
        return self._send(Call("updatePullRequest", "PATCH", _PULL, names, NoneType, body=body, idempotent=True))

    def merge(self, repository: str, pull_request: str) -> MergeResult:
        """Merge a pull request's source into its destination (``mergePullRequest``).

        Not repeated by the client when no answer comes.

        Args:
            repository: the repository's id.
            pull_request: its id.

        Raises:
            PullRequestNotOpen: it is closed or merged.
            MergeConflict: both sides changed the same objects; it stays open. ``paths`` names them as for
                `lakefs_ops.api.refs.Refs.merge`.
            NoChanges: the source brings nothing; it stays open.
            DirtyBranch: the destination has uncommitted changes.
            HookFailed: a hook refused.
        """
        names = {"repository": repository, "pull_request": pull_request}
        try:
            return self._send(Call("mergePullRequest", "PUT", f"{_PULL}/merge", names, MergeResult))
        except MergeConflict as refused:
            conflict = refused
        with suppress(LakeFSError):
            pull = self.get(repository, pull_request)
            conflict = with_paths(self._sender, conflict, repository, pull.source_branch, pull.destination_branch)
        raise conflict
