"""Commits: ``/repositories/{repository}/commits`` and a branch's ``/commits``."""

from __future__ import annotations

from collections.abc import Mapping

from lakefs_ops.api.common import Commit, Group
from lakefs_ops.call import Call, query
from lakefs_ops.model import Model


class CommitCreation(Model):
    """What `Commits.create` sends."""

    message: str
    metadata: dict[str, str] | None = None
    date: int | None = None
    allow_empty: bool | None = None
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
