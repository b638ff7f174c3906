"""Commits: ``/repositories/{repository}/commits`` and a branch's ``/commits``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import NoneType

from lakefs_ops.api.common import Commit, Group
from lakefs_ops.api.common import CommitCreation as CommitCreation
from lakefs_ops.call import Call, query
from lakefs_ops.model import Model


class CommitRecordCreation(Model):
    """What `Commits.create_record` sends."""

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
    """Operations on commits: ``client.commits``."""

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
        """Commit all that is uncommitted on a branch (``commit``).

        Not repeated by the client when no answer comes: `lakefs_ops.flows.once` makes it exactly once.

        Args:
            repository: the repository's id.
            branch: the branch's name.
            message: the commit's message, may be empty.
            metadata: keys and values to keep with the commit.
            date: its creation date in Unix seconds, now by default.
            allow_empty: make a commit even if nothing changed.
            force: also in a read-only repository.
            source_metarange: take this content instead of the uncommitted changes.

        Raises:
            NoChanges: nothing differs from the branch's head.
            ProtectedBranch: a rule covers the branch.
            HookFailed: a hook refused.
            BranchNotFound: no such branch.
            LostRace: another writer was first; nothing of this call took effect.

        Example:
            >>> client.commits.create("lake", "main", message="January").id  # doctest: +SKIP
        """
        names = {"repository": repository, "branch": branch}
        body = CommitCreation.body(message=message, metadata=metadata, date=date, allow_empty=allow_empty, force=force)
        return self._send(
            Call(
                "commit", "POST", "/repositories/{repository}/branches/{branch}/commits", names, Commit,
                query(source_metarange=source_metarange), body,
            )
        )  # fmt: skip

    def get(self, repository: str, commit_id: str) -> Commit:
        """Return a commit (``getCommit``).

        Args:
            repository: the repository's id.
            commit_id: a commit's id or any ref expression.

        Raises:
            CommitNotFound: nothing has that name.
        """
        names = {"repository": repository, "commitId": commit_id}
        return self._send(Call("getCommit", "GET", "/repositories/{repository}/commits/{commitId}", names, Commit))

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
        """Write a commit as it was elsewhere, on no branch (``CreateCommitRecord``, internal).

        Args:
            repository: the repository's id.
            commit_id: its id, which must be the digest of the rest.
            version: of its encoding, 0 or 1.
            committer: who made it.
            message: its message.
            metarange_id: what identifies its content.
            creation_date: when it was made, in Unix seconds.
            parents: ids of its parents.
            generation: one more than its highest parent's.
            metadata: its keys and values.
            force: also in a read-only repository.

        Raises:
            AlreadyExists: the commit is there.
            BadRequest: the id does not fit the rest.
        """
        body = CommitRecordCreation.body(
            commit_id=commit_id, version=version, committer=committer, message=message, metarange_id=metarange_id,
            creation_date=creation_date, parents=list(parents), generation=generation, metadata=metadata, force=force,
        )  # fmt: skip
        path = "/repositories/{repository}/commits"
        return self._send(Call("CreateCommitRecord", "POST", path, {"repository": repository}, NoneType, body=body))
