"""Branches: ``/repositories/{repository}/branches``."""

from __future__ import annotations

import re
from types import NoneType

from lakefs_ops.api.common import Commit, Diff, DiffList, Group, Ref, RefList
from lakefs_ops.call import Call, query, reference
from lakefs_ops.listing import Listing
from lakefs_ops.model import Model

_BRANCHES = "/repositories/{repository}/branches"
_BRANCH = "/repositories/{repository}/branches/{branch}"
_COMMIT_ID = re.compile("[0-9a-f]{64}")


class BranchCreation(Model):
    """What `Branches.create` sends."""

    name: str
    source: str
    force: bool | None = None
    hidden: bool | None = None


class ResetCreation(Model):
    """What `Branches.reset` sends."""

    type: str
    path: str | None = None
    force: bool | None = None


class CommitOverrides(Model):
    """What to write instead of the picked or reverted commit's own words.

    Attributes:
        message: the new message; an empty one counts as none.
        metadata: the new metadata; an empty mapping replaces as well.
    """

    message: str | None = None
    metadata: dict[str, str] | None = None


class RevertCreation(Model):
    """What `Branches.revert` sends."""

    ref: str
    parent_number: int
    commit_overrides: CommitOverrides | None = None
    force: bool | None = None
    allow_empty: bool | None = None


class CherryPickCreation(Model):
    """What `Branches.cherry_pick` sends."""

    ref: str
    parent_number: int | None = None
    commit_overrides: CommitOverrides | None = None
    force: bool | None = None


class Branches(Group):
    """Operations on branches: ``client.branches``."""

    def list(
        self,
        repository: str,
        *,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        show_hidden: bool | None = None,
    ) -> Listing[Ref]:
        """List branches in the order of their names (``listBranches``).

        Args:
            repository: the repository's id.
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
            show_hidden: hidden branches too.

        Example:
            >>> [branch.id for branch in client.branches.list("lake", prefix="run-")]  # doctest: +SKIP
            ['run-2015-01']
        """
        call = Call(
            "listBranches", "GET", _BRANCHES, {"repository": repository}, RefList,
            query(prefix=prefix, show_hidden=show_hidden),
        )  # fmt: skip
        return Listing(self._sender, call, after=after, limit=limit)

    def create(
        self,
        repository: str,
        *,
        name: str,
        source: str,
        force: bool | None = None,
        hidden: bool | None = None,
    ) -> str:
        """Create a branch (``createBranch``); what is uncommitted on the source does not come along.

        Args:
            repository: the repository's id.
            name: the new branch: ASCII letters, digits, ``_`` and ``-``, not beginning with ``-``.
            source: the ref whose commit it begins at.
            force: also in a read-only repository.
            hidden: leave it out of listings.

        Returns:
            The id of the commit that the branch points at.

        Raises:
            AlreadyExists: a branch of that name exists.
            Conflict: a tag or a commit has that name.
            RefNotFound: the source does not exist.
            HookFailed: a hook refused.

        Example:
            >>> client.branches.create("lake", name="experiment", source="main")  # doctest: +SKIP
        """
        body = BranchCreation.body(name=name, source=reference("source", source), force=force, hidden=hidden)
        return self._send(Call("createBranch", "POST", _BRANCHES, {"repository": repository}, str, body=body))

    def get(self, repository: str, branch: str) -> Ref:
        """Return a branch and the commit it points at (``getBranch``).

        Args:
            repository: the repository's id.
            branch: the branch's name.

        Raises:
            BranchNotFound: no such branch.
        """
        return self._send(Call("getBranch", "GET", _BRANCH, {"repository": repository, "branch": branch}, Ref))

    def delete(self, repository: str, branch: str, *, force: bool | None = None) -> None:
        """Delete a branch with its uncommitted changes (``deleteBranch``); its commits stay.

        Args:
            repository: the repository's id.
            branch: the branch's name.
            force: also in a read-only repository.

        Raises:
            BranchNotFound: no such branch.
            PermissionDenied: it is the default branch.
        """
        names = {"repository": repository, "branch": branch}
        return self._send(Call("deleteBranch", "DELETE", _BRANCH, names, NoneType, query(force=force)))

    def reset(
        self, repository: str, branch: str, *, type: str, path: str | None = None, force: bool | None = None
    ) -> None:
        """Drop uncommitted changes (``resetBranch``).

        Args:
            repository: the repository's id.
            branch: the branch's name.
            type: ``reset`` for all, ``object`` for one object, ``common_prefix`` for all below a prefix.
            path: the object or the prefix.
            force: also in a read-only repository.

        Raises:
            BranchNotFound: no such branch.
            ProtectedBranch: a rule covers the branch.
        """
        names = {"repository": repository, "branch": branch}
        body = ResetCreation.body(type=type, path=path, force=force)
        return self._send(Call("resetBranch", "PUT", _BRANCH, names, NoneType, body=body, idempotent=True))

    def hard_reset(self, repository: str, branch: str, *, ref: str, force: bool | None = None) -> None:
        """Let the branch point at another commit (``hardResetBranch``, experimental).

        Uncommitted changes survive the move as changes against the new head, as a rule (lakeFS 1.84).

        Args:
            repository: the repository's id.
            branch: the branch's name.
            ref: the commit to point at; with a whole commit id a repeat changes nothing.
            force: also in a read-only repository.

        Raises:
            RefNotFound: the target does not exist.
            DirtyBranch: uncommitted changes that an earlier commit or reset has touched are in the way.
            ProtectedBranch: a rule covers the branch.
        """
        names = {"repository": repository, "branch": branch}
        return self._send(
            Call(
                "hardResetBranch", "PUT", f"{_BRANCH}/hard_reset", names, NoneType,
                query(ref=reference("ref", ref), force=force), idempotent=bool(_COMMIT_ID.fullmatch(ref)),
            )
        )  # fmt: skip

    def revert(
        self,
        repository: str,
        branch: str,
        *,
        ref: str,
        parent_number: int = 0,
        commit_overrides: CommitOverrides | None = None,
        force: bool | None = None,
        allow_empty: bool | None = None,
    ) -> None:
        """Undo a commit by a new one (``revertBranch``); read the branch for the new commit.

        Args:
            repository: the repository's id.
            branch: the branch's name.
            ref: the commit to undo.
            parent_number: for a merge commit, the parent to go back to, from 1.
            commit_overrides: message and metadata of the new commit.
            force: also in a read-only repository.
            allow_empty: make a commit even if nothing changes.

        Raises:
            NoChanges: the commit's changes are not there any more.
            MergeConflict: later commits changed the same objects; ``paths`` is empty, for lakeFS does not tell
                which, and no diff of two refs does.
            DirtyBranch: the branch has uncommitted changes.
            RefNotFound: the commit does not exist.
        """
        names = {"repository": repository, "branch": branch}
        body = RevertCreation.body(
            ref=reference("ref", ref), parent_number=parent_number, commit_overrides=commit_overrides,
            force=force, allow_empty=allow_empty,
        )  # fmt: skip
        return self._send(Call("revertBranch", "POST", f"{_BRANCH}/revert", names, NoneType, body=body))

    def cherry_pick(
        self,
        repository: str,
        branch: str,
        *,
        ref: str,
        parent_number: int | None = None,
        commit_overrides: CommitOverrides | None = None,
        force: bool | None = None,
        carry_metadata: bool = True,
    ) -> Commit:
        """Apply another commit's changes by a new one (``cherryPick``).

        The new commit has the picked one's message and metadata, unless others are given. A fault of lakeFS 1.84:
        when it copies the metadata itself, it spoils its cached copy of the picked commit, whose id then is not found
        for ten minutes. So the commit is read first, one request, and its metadata sent along.

        Args:
            repository: the repository's id.
            branch: the branch to apply them to.
            ref: the commit to take.
            parent_number: for a merge commit, the parent to compare with, from 1.
            commit_overrides: message and metadata instead of the picked commit's own.
            force: also in a read-only repository.
            carry_metadata: read the picked commit and send its metadata along, unless ``commit_overrides`` has some.
                False sends the request as it stands, and leaves copying to the server.

        Raises:
            MergeConflict: the branch changed the same objects; ``paths`` is empty, for lakeFS does not tell which, and
                no diff of two refs does.
            DirtyBranch: the branch has uncommitted changes.
            NoChanges: the commit itself changes nothing.
            RefNotFound: the commit does not exist.
        """
        if carry_metadata and (commit_overrides is None or commit_overrides.metadata is None):
            names = {"repository": repository, "commitId": ref}
            picked = self._send(
                Call("getCommit", "GET", "/repositories/{repository}/commits/{commitId}", names, Commit)
            )
            # By its id, for a branch may have moved on meanwhile.
            ref = picked.id
            if picked.metadata:
                message = commit_overrides.message if commit_overrides else None
                commit_overrides = CommitOverrides(message=message, metadata=picked.metadata)
        names = {"repository": repository, "branch": branch}
        body = CherryPickCreation.body(
            ref=reference("ref", ref), parent_number=parent_number, commit_overrides=commit_overrides, force=force
        )
        return self._send(Call("cherryPick", "POST", f"{_BRANCH}/cherry-pick", names, Commit, body=body))

    def diff(
        self,
        repository: str,
        branch: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Listing[Diff]:
        """List the branch's uncommitted changes by path (``diffBranch``).

        Args:
            repository: the repository's id.
            branch: the branch's name.
            prefix: only paths that begin so.
            delimiter: group paths up to this text, ``/`` as a rule.
            after: only paths that sort behind this.
            limit: so many at most.

        Raises:
            BranchNotFound: no such branch.
        """
        call = Call(
            "diffBranch", "GET", f"{_BRANCH}/diff", {"repository": repository, "branch": branch}, DiffList,
            query(prefix=prefix, delimiter=delimiter),
        )  # fmt: skip
        return Listing(self._sender, call, after=after, limit=limit)
