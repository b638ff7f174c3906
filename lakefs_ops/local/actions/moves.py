"""Commit, merge and the others with the hooks before and behind them.

Hooks run outside of any transaction, so that they may ask the server. On read-only repositories there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.actions.events import Event, new_run_id
from lakefs_ops.local.actions.runs import Runs
from lakefs_ops.local.errors import Refusal
from lakefs_ops.local.store.branches import Branches, Tags
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.refs import Resolved
from lakefs_ops.local.store.versions import Versions

if TYPE_CHECKING:
    from lakefs_ops.local.actions.runner import Runner
    from lakefs_ops.local.http import Request
    from lakefs_ops.local.store.lake import Repository


class Moves:
    """What moves the branches and tags of a repository, for the user of a request.

    Args:
        request: who asks.
        repository: where.
    """

    def __init__(self, request: Request, repository: Repository) -> None:
        self._request, self._repository = request, repository
        self._runner: Runner = request.server.actions
        self._user: str = request.server.identity.committer
        self._versions = Versions(request.lake, repository, self._user)
        self._branches = Branches(request.lake, repository)
        self._hooked = not repository.read_only

    # commits --------------------------------------------------------------------------------------------

    def commit(self, branch: str, *, message: str, metadata: Mapping[str, str], **arguments: Any) -> Commit:
        """Commit as `Versions.commit` does."""
        told = {"message": message, "metadata": metadata, "committer": self._user}
        if not self._hooked:
            return self._versions.commit(branch, message=message, metadata=metadata, **arguments)
        head = self._branches.head(branch)
        self._before("prepare-commit", Resolved(head, branch), branch=branch, source_ref=branch, **told)
        event = self._event("pre-commit", branch=branch, source_ref=branch, parents=(head.id,), **told)
        made = self._versions.commit(
            branch,
            message=message,
            metadata=metadata,
            before=lambda: self._run_before(event, Resolved(self._branches.head(branch), branch)),
            **arguments,
        )
        Runs(self._request.lake, self._repository.uid).set_commit(event.run_id, made.id)
        self._behind_commit("post-commit", branch, made, pre_run_id=event.run_id)
        return made

    def merge(self, source: str, destination: str, **arguments: Any) -> Commit:
        """Merge as `Versions.merge` does."""
        if not self._hooked:
            return self._versions.merge(source, destination, **arguments)
        run_ids: list[str] = []

        def hook(made: Commit, theirs: Commit) -> None:
            event = self._of_commit(
                "pre-merge", destination, made, source_ref=theirs.id, commit_id=made.id, merge_source=source
            )
            run_ids[:] = [event.run_id]
            _with_words(f"update branch {destination}: ", self._run_before, event, Resolved(theirs))

        made = self._versions.merge(source, destination, hook=hook, **arguments)
        self._behind_commit("post-merge", destination, made, merge_source=source, pre_run_id=run_ids[0])
        return made

    def revert(self, branch: str, ref: str, **arguments: Any) -> Commit:
        """Revert as `Versions.revert` does."""
        return self._undo("revert", branch, ref, arguments)

    def cherry_pick(self, branch: str, ref: str, **arguments: Any) -> Commit:
        """Cherry-pick as `Versions.cherry_pick` does."""
        return self._undo("cherry-pick", branch, ref, arguments)

    def _undo(self, what: str, branch: str, ref: str, arguments: dict[str, Any]) -> Commit:
        move = self._versions.revert if what == "revert" else self._versions.cherry_pick
        if not self._hooked:
            return move(branch, ref, **arguments)
        run_ids: list[str] = []

        def hook(made: Commit, head: Commit) -> None:
            event = self._of_commit(f"pre-{what}", branch, made, source_ref=branch)
            run_ids[:] = [event.run_id]
            _with_words("update branch: ", self._run_before, event, Resolved(head, branch))

        made = move(branch, ref, hook=hook, **arguments)
        if what == "revert":
            Runs(self._request.lake, self._repository.uid).set_commit(run_ids[0], made.id)
        self._behind_commit(f"post-{what}", branch, made, pre_run_id=run_ids[0])
        return made

    def replace(
        self, branch: str, content: Callable[[str], str], *, message: str, metadata: Mapping[str, str]
    ) -> Commit:
        """Replace the content as `Versions.replace` does, with the hooks of a commit."""
        if not self._hooked:
            return self._versions.replace(branch, content, message=message, metadata=metadata)
        run_ids: list[str] = []

        def hook(made: Commit, head: Commit) -> None:
            event = self._of_commit("pre-commit", branch, made, source_ref=branch)
            run_ids[:] = [event.run_id]
            self._run_before(event, Resolved(head, branch))

        made = self._versions.replace(branch, content, message=message, metadata=metadata, hook=hook)
        self._behind_commit("post-commit", branch, made, pre_run_id=run_ids[0])
        return made

    # branches and tags ----------------------------------------------------------------------------------

    def create_branch(self, name: str, source: str, *, hidden: bool) -> Commit:
        """Make a branch as `Branches.create` does."""
        if not self._hooked:
            return self._branches.create(name, source, hidden=hidden)
        commit = self._branches.check_new(name, source)
        about = {"branch": name, "source_ref": source, "commit_id": commit.id}
        at = self._request.lake.refs.resolve(self._repository.uid, source)  # of a branch, uncommitted actions too
        before = self._before("pre-create-branch", at, **about)
        made = self._branches.create(name, source, hidden=hidden)
        self._behind("post-create-branch", at, before, **{**about, "commit_id": made.id})
        return made

    def delete_branch(self, name: str) -> None:
        """Forget a branch as `Branches.delete` does."""
        if not self._hooked or name == self._repository.default_branch:
            self._branches.delete(name)
            return
        head = self._branches.head(name)
        about = {"branch": name, "source_ref": head.id}
        before = self._before("pre-delete-branch", Resolved(head), **about)
        self._branches.delete(name)
        self._behind("post-delete-branch", Resolved(head), before, **about)

    def create_tag(self, name: str, ref: str) -> Commit:
        """Make a tag as `Tags.create` does."""
        tags = Tags(self._request.lake, self._repository)
        if not self._hooked:
            return tags.create(name, ref)
        commit = tags.check_new(name, ref)
        about = {"tag": name, "source_ref": commit.id, "commit_id": commit.id}
        before = self._before("pre-create-tag", Resolved(commit), **about)
        tags.create(name, commit.id)
        self._behind("post-create-tag", Resolved(commit), before, **about)
        return commit

    def delete_tag(self, name: str) -> None:
        """Forget a tag as `Tags.delete` does."""
        tags = Tags(self._request.lake, self._repository)
        if not self._hooked:
            tags.delete(name)
            return
        commit = self._request.lake.commits.get(self._repository.uid, tags.get(name))
        about = {"tag": name, "source_ref": commit.id, "commit_id": commit.id}
        before = self._before("pre-delete-tag", Resolved(commit), **about)
        tags.delete(name)
        self._behind("post-delete-tag", Resolved(commit), before, **about)

    # events ---------------------------------------------------------------------------------------------

    def _event(self, kind: str, **about: Any) -> Event:
        return Event(
            kind,
            self._repository.id,
            new_run_id(),
            storage_namespace=self._repository.storage_namespace,
            **about,
        )

    def _of_commit(self, kind: str, branch: str, made: Commit, **about: Any) -> Event:
        return self._event(
            kind,
            branch=branch,
            message=made.message,
            committer=made.committer,
            metadata=made.metadata,
            parents=made.parents,
            meta_range_id=made.meta_range_id,
            **about,
        )

    def _before(self, kind: str, at: Resolved, **about: Any) -> str:
        """Run the hooks before something; return the id of their run."""
        event = self._event(kind, **about)
        self._run_before(event, at)
        return event.run_id

    def _run_before(self, event: Event, at: Resolved) -> None:
        self._runner.before(self._request, self._repository, event, at)

    def _behind(self, kind: str, at: Resolved, before: str, **about: Any) -> None:
        event = self._event(kind, pre_run_id=before, **about)
        self._runner.behind(self._request, self._repository, event, at)

    def _behind_commit(self, kind: str, branch: str, made: Commit, **about: Any) -> None:
        event = self._of_commit(kind, branch, made, source_ref=made.id, commit_id=made.id, **about)
        self._runner.behind(self._request, self._repository, event, Resolved(made))


def _with_words(words: str, run: Any, event: Event, at: Resolved) -> None:
    """Run hooks, and put words before what they say when they refuse."""
    try:
        run(event, at)
    except Refusal as refused:
        raise type(refused)(words + refused.message) from None
