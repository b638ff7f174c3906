"""Commits: ``/repositories/{repository}/commits`` and a branch's ``/commits``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import NoneType

from lakefs_ops.api.common import Commit, Group
from lakefs_ops.api.common import CommitCreation as CommitCreation
from lakefs_ops.call import Call, query
from lakefs_ops.model import Model


class CommitRecordCreation(Model):
    """Request body of `Commits.create_record`."""

    commit_id: str
    version: int
    committer: str
    message: str
    metarange_id: str
    creation_date: int
    parents: list[str]
    metadata: dict[str, str] | None = None
    generation: int
    force: bool | None = None


class Commits(Group):
    """Operations on commits: ``client.commits``.

    Common parameters:
        repository: the repository's id.
        message: the commit's message; may be empty.
        metadata: keys and values to store with the commit.
        force: allow on a read-only repository.
    """

    def create(
        self,
        repository: str,
        branch: str,
        *,
        message: str,
        metadata: Mapping[str, str] | None = None,
        date: int | None = None,
        allow_empty: bool | None = None,
        force: bool | None = None,
        source_metarange: str | None = None,
    ) -> Commit:
        """Commit the uncommitted changes of a branch (``commit``).

        Not retried after a broken connection; `lakefs_ops.flows.step` has an exactly-once version.

        Args:
            branch: the branch's name.
            date: creation time in Unix seconds; default: now.
            allow_empty: create a commit even if nothing changed.
            source_metarange: id of a meta-range to commit instead of the uncommitted changes.

        Raises:
            NoChanges: the branch has no uncommitted changes.
            ProtectedBranch: a protection rule covers the branch.
            HookFailed: a hook rejected the change.
            BranchNotFound: the branch does not exist.
            LostRace: another writer was first; this call changed nothing.

        Example:
            >>> client.commits.create("lake", "main", message="January").id  # doctest: +SKIP
        """
        params = {"repository": repository, "branch": branch}
        body = CommitCreation.body(message=message, metadata=metadata, date=date, allow_empty=allow_empty, force=force)
        return self._send(
            Call(
                "commit", "POST", "/repositories/{repository}/branches/{branch}/commits", params, Commit,
                query(source_metarange=source_metarange), body,
            )
        )  # fmt: skip

    def get(self, repository: str, commit_id: str) -> Commit:
        """Return a commit (``getCommit``).

        Args:
            commit_id: a commit id or any ref expression.

        Raises:
            CommitNotFound: the commit does not exist.
        """
        params = {"repository": repository, "commitId": commit_id}
        return self._send(Call("getCommit", "GET", "/repositories/{repository}/commits/{commitId}", params, Commit))

    def create_record(
        self,
        repository: str,
        *,
        commit_id: str,
        version: int,
        committer: str,
        message: str,
        metarange_id: str,
        creation_date: int,
        parents: Iterable[str],
        generation: int,
        metadata: Mapping[str, str] | None = None,
        force: bool | None = None,
    ) -> None:
        """Write a copy of a commit from elsewhere, on no branch (``CreateCommitRecord``, internal).

        Args:
            commit_id: the commit's id; must be the digest of the other fields.
            version: version of the commit's encoding, 0 or 1.
            committer: name of the user who created the commit.
            metarange_id: id of the meta-range with the commit's content.
            creation_date: creation time in Unix seconds.
            parents: ids of the parents.
            generation: one more than the highest generation of the parents.

        Raises:
            AlreadyExists: the commit exists.
            BadRequest: the id does not match the other fields.
        """
        body = CommitRecordCreation.body(
            commit_id=commit_id, version=version, committer=committer, message=message, metarange_id=metarange_id,
            creation_date=creation_date, parents=list(parents), generation=generation, metadata=metadata, force=force,
        )  # fmt: skip
        path = "/repositories/{repository}/commits"
        return self._send(Call("CreateCommitRecord", "POST", path, {"repository": repository}, NoneType, body=body))
