"""Branches: ``/repositories/{repository}/branches``."""

from __future__ import annotations

from types import NoneType

from lakefs_ops.api.common import Commit, Diff, DiffList, Group, Ref, RefList
from lakefs_ops.call import Call, query, reference
from lakefs_ops.listing import Listing
from lakefs_ops.model import Model

_BRANCHES = "/repositories/{repository}/branches"
_BRANCH = "/repositories/{repository}/branches/{branch}"


class BranchCreation(Model):
    """Request body of `Branches.create`."""

    name: str
    source: str
    force: bool | None = None
    hidden: bool | None = None


class ResetCreation(Model):
    """Request body of `Branches.reset`."""

    type: str
    path: str | None = None
    force: bool | None = None


class CommitOverrides(Model):
    """Message and metadata that replace those of the cherry-picked or reverted commit.

    Attributes:
        message: the new message; an empty message is ignored.
        metadata: the new metadata; an empty mapping removes the original metadata.
    """

    message: str | None = None
    metadata: dict[str, str] | None = None


class RevertCreation(Model):
    """Request body of `Branches.revert`."""

    ref: str
    parent_number: int
    commit_overrides: CommitOverrides | None = None
    force: bool | None = None
    allow_empty: bool | None = None


class CherryPickCreation(Model):
    """Request body of `Branches.cherry_pick`."""

    ref: str
    parent_number: int | None = None
    commit_overrides: CommitOverrides | None = None
    force: bool | None = None


class Branches(Group):
    """Operations on branches: ``client.branches``.

    Common parameters:
        repository: the repository's id.
        branch: the branch's name.
        force: allow on a read-only repository.
        prefix: only names (or paths, in `diff`) that start with this.
        after: only names (or paths, in `diff`) that sort after this.
        limit: maximum number of results.
        commit_overrides: message and metadata of the new commit; default: those of the original commit.
    """

    def list(
        self,
        repository: str,
        *,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        show_hidden: bool | None = None,
    ) -> Listing[Ref]:
        """List branches sorted by name (``listBranches``).

        Args:
            show_hidden: include hidden branches.

        Example:
            >>> [branch.id for branch in client.branches.list("lake", prefix="run-")]  # doctest: +SKIP
            ['run-2015-01']
        """
        params = {"repository": repository}
        return self._list(
            "listBranches", _BRANCHES, params, RefList, after, limit, prefix=prefix, show_hidden=show_hidden
        )

    def create(
        self, repository: str, *, name: str, source: str, force: bool | None = None, hidden: bool | None = None
    ) -> str:
        """Create a branch (``createBranch``). Uncommitted changes of the source are not copied.

        Args:
            name: the branch's name: ASCII letters, digits, ``_`` and ``-``, not starting with ``-``.
            source: the ref to start from.
            hidden: hide the branch in listings.

        Returns:
            The id of the commit that the branch points to.

        Raises:
            AlreadyExists: a branch with this name exists.
            Conflict: a tag or a commit has this name.
            RefNotFound: the source does not exist.
            HookFailed: a hook rejected the change.

        Example:
            >>> client.branches.create("lake", name="experiment", source="main")  # doctest: +SKIP
        """
        body = BranchCreation.body(name=name, source=reference("source", source), force=force, hidden=hidden)
        return self._send(Call("createBranch", "POST", _BRANCHES, {"repository": repository}, str, body=body))

    def get(self, repository: str, branch: str) -> Ref:
        """Return a branch (``getBranch``).

        Raises:
            BranchNotFound: the branch does not exist.
        """
        return self._send(Call("getBranch", "GET", _BRANCH, {"repository": repository, "branch": branch}, Ref))

    def delete(self, repository: str, branch: str, *, force: bool | None = None) -> None:
        """Delete a branch and its uncommitted changes (``deleteBranch``). Its commits are kept.

        Raises:
            BranchNotFound: the branch does not exist.
            PermissionDenied: it is the default branch.
        """
        params = {"repository": repository, "branch": branch}
        return self._send(Call("deleteBranch", "DELETE", _BRANCH, params, NoneType, query(force=force)))

    def reset(
        self, repository: str, branch: str, *, type: str, path: str | None = None, force: bool | None = None
    ) -> None:
        """Discard uncommitted changes (``resetBranch``).

        Not retried after a broken connection: a repeat would discard what others have staged in the meantime.

        Args:
            type: ``reset`` for all changes, ``object`` for one object, ``common_prefix`` for all below a prefix.
            path: the object or the prefix.

        Raises:
            BranchNotFound: the branch does not exist.
            ProtectedBranch: a protection rule covers the branch.
        """
        params = {"repository": repository, "branch": branch}
        body = ResetCreation.body(type=type, path=path, force=force)
        return self._send(Call("resetBranch", "PUT", _BRANCH, params, NoneType, body=body))

    def hard_reset(self, repository: str, branch: str, *, ref: str, force: bool | None = None) -> None:
        """Move a branch to another commit (``hardResetBranch``, experimental).

        Uncommitted changes usually survive, as changes relative to the new head (lakeFS 1.84). Not retried after a
        broken connection: a repeat would drop commits that others have made in the meantime;
        `lakefs_ops.flows.ensure.hard_reset` has a guarded version.

        Args:
            ref: the new head.

        Raises:
            RefNotFound: the target does not exist.
            DirtyBranch: the branch has uncommitted changes that an earlier commit or reset has touched.
            ProtectedBranch: a protection rule covers the branch.
        """
        params = {"repository": repository, "branch": branch}
        return self._send(
            Call(
                "hardResetBranch", "PUT", f"{_BRANCH}/hard_reset", params, NoneType,
                query(ref=reference("ref", ref), force=force),
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
        """Revert a commit by a new commit (``revertBranch``). Use `get` to find the new commit.

        Args:
            ref: the commit to revert.
            parent_number: for a merge commit, the number of the parent to return to, from 1.
            allow_empty: create a commit even if nothing changes.

        Raises:
            NoChanges: the branch no longer has the commit's changes.
            MergeConflict: later commits changed the same objects. ``paths`` is empty: lakeFS does not report them, and
                no diff of two refs finds them.
            DirtyBranch: the branch has uncommitted changes.
            RefNotFound: the commit does not exist.
        """
        params = {"repository": repository, "branch": branch}
        body = RevertCreation.body(
            ref=reference("ref", ref), parent_number=parent_number, commit_overrides=commit_overrides,
            force=force, allow_empty=allow_empty,
        )  # fmt: skip
        return self._send(Call("revertBranch", "POST", f"{_BRANCH}/revert", params, NoneType, body=body))

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
        """Apply the changes of another commit by a new commit (``cherryPick``).

        When lakeFS 1.84 copies the original metadata itself, it corrupts its cached copy of the original commit, whose
        id then is not found for ten minutes. Therefore this method first reads the commit (one request) and sends its
        metadata explicitly.

        Args:
            ref: the commit to apply.
            parent_number: for a merge commit, the number of the parent to compare with, from 1.
            carry_metadata: read the original commit and send its metadata, unless ``commit_overrides`` has metadata.
                If False, the server copies the metadata.

        Raises:
            MergeConflict: the branch changed the same objects. ``paths`` is empty: lakeFS does not report them, and no
                diff of two refs finds them.
            DirtyBranch: the branch has uncommitted changes.
            NoChanges: the commit has no changes.
            RefNotFound: the commit does not exist.
        """
        if carry_metadata and (commit_overrides is None or commit_overrides.metadata is None):
            params = {"repository": repository, "commitId": ref}
            picked = self._send(
                Call("getCommit", "GET", "/repositories/{repository}/commits/{commitId}", params, Commit)
            )
            # Use its id, because a branch may have moved in the meantime.
            ref = picked.id
            if picked.metadata:
                message = commit_overrides.message if commit_overrides else None
                commit_overrides = CommitOverrides(message=message, metadata=picked.metadata)
        params = {"repository": repository, "branch": branch}
        body = CherryPickCreation.body(
            ref=reference("ref", ref), parent_number=parent_number, commit_overrides=commit_overrides, force=force
        )
        return self._send(Call("cherryPick", "POST", f"{_BRANCH}/cherry-pick", params, Commit, body=body))

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
        """List the uncommitted changes of a branch, sorted by path (``diffBranch``).

        Args:
            delimiter: group paths up to this text, usually ``/``.

        Raises:
            BranchNotFound: the branch does not exist.
        """
        params = {"repository": repository, "branch": branch}
        return self._list(
            "diffBranch", f"{_BRANCH}/diff", params, DiffList, after, limit, prefix=prefix, delimiter=delimiter
        )
