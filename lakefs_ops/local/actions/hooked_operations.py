"""The operations that have hooks: commit, merge, revert, cherry-pick, and those on branches and tags.

Hooks run outside of any transaction, so that they can send requests to the server. Read-only repositories run none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.actions.events import Event, new_run_id
from lakefs_ops.local.actions.runs import Runs
from lakefs_ops.local.errors import prefixed
from lakefs_ops.local.store.branches import Branches, Tags
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.refs import Resolved
from lakefs_ops.local.store.versions import PreHook, Versions

if TYPE_CHECKING:
    from lakefs_ops.local.actions.runner import Runner
    from lakefs_ops.local.http import Request
    from lakefs_ops.local.store.lake import Repository


class HookedOperations:
    """The operations on a repository, each with its pre and post hooks."""

    def __init__(self, request: Request, repository: Repository) -> None:
        self._lake, self._repository = request.lake, repository
        self._runner: Runner = request.server.actions
        self._user = request.user
        self._cancellation = request.cancellation
        self._committer: str = request.server.identity.committer
        self._versions = Versions(request.lake, repository, self._committer)
        self._branches = Branches(request.lake, repository)
        self._tags = Tags(request.lake, repository)
        self._hooked = not repository.read_only

    # commits --------------------------------------------------------------------------------------------

    def commit(self, branch: str, *, message: str, metadata: Mapping[str, str], **arguments: Any) -> Commit:
        """Commit as `Versions.commit` does."""
        if not self._hooked:
            return self._versions.commit(branch, message=message, metadata=metadata, **arguments)
        fields = {"branch": branch, "message": message, "metadata": metadata, "committer": self._committer}
        head = self._branches.head(branch)
        self._run_pre_hooks(self._event("prepare-commit", source_ref=branch, **fields), Resolved(head, branch))
        event = self._event("pre-commit", source_ref=branch, parents=(head.id,), **fields)
        commit = self._versions.commit(
            branch,
            message=message,
            metadata=metadata,
            before=lambda: self._run_pre_hooks(event, Resolved(self._branches.head(branch), branch)),
            **arguments,
        )
        self._set_commit(event.run_id, commit)
        self._run_post_hooks_of_commit("post-commit", branch, commit, pre_run_id=event.run_id)
        return commit

    def merge(self, source: str, destination: str, **arguments: Any) -> Commit:
        """Merge as `Versions.merge` does."""
        return self._create_commit(
            "merge",
            destination,
            lambda hook: self._versions.merge(source, destination, hook=hook, **arguments),
            prefix=f"update branch {destination}: ",
            merge_source=source,
        )

    def revert(self, branch: str, ref: str, **arguments: Any) -> Commit:
        """Revert as `Versions.revert` does."""
        return self._create_commit(
            "revert",
            branch,
            lambda hook: self._versions.revert(branch, ref, hook=hook, **arguments),
            prefix="update branch: ",
        )

    def cherry_pick(self, branch: str, ref: str, **arguments: Any) -> Commit:
        """Cherry-pick as `Versions.cherry_pick` does."""
        return self._create_commit(
            "cherry-pick",
            branch,
            lambda hook: self._versions.cherry_pick(branch, ref, hook=hook, **arguments),
            prefix="update branch: ",
        )

    def replace(
        self, branch: str, content: Callable[[str], str], *, message: str, metadata: Mapping[str, str]
    ) -> Commit:
        """Replace the content as `Versions.replace` does, with the hooks of a commit."""
        return self._create_commit(
            "commit",
            branch,
            lambda hook: self._versions.replace(branch, content, message=message, metadata=metadata, hook=hook),
        )

    def _create_commit(
        self,
        what: str,
        branch: str,
        operation: Callable[[PreHook | None], Commit],
        *,
        prefix: str = "",
        merge_source: str = "",
    ) -> Commit:
        """Run an operation that calls a hook with its commit before the branch points at it.

        Args:
            what: the operation in the names of its events.
            branch: the branch.
            operation: creates the commit.
            prefix: goes in front of the message when a hook refuses.
            merge_source: the merged ref; its commit has the actions, otherwise the branch.
        """
        if not self._hooked:
            return operation(None)
        run_id = ""

        def hook(commit: Commit, other: Commit) -> None:
            nonlocal run_id
            if merge_source:
                at, refs = Resolved(other), {"source_ref": other.id, "commit_id": commit.id}
            else:
                at, refs = Resolved(other, branch), {"source_ref": branch}
            event = self._event_of_commit(f"pre-{what}", branch, commit, merge_source=merge_source, **refs)
            run_id = event.run_id
            with prefixed(prefix):
                self._run_pre_hooks(event, at)

        commit = operation(hook)
        if what in ("commit", "revert"):  # the runs of no other operation get the id of its commit (lakeFS 1.84)
            self._set_commit(run_id, commit)
        self._run_post_hooks_of_commit(f"post-{what}", branch, commit, merge_source=merge_source, pre_run_id=run_id)
        return commit

    # branches and tags ----------------------------------------------------------------------------------

    def create_branch(self, name: str, source: str, *, hidden: bool) -> Commit:
        """Create a branch as `Branches.create` does."""
        if not self._hooked:
            return self._branches.create(name, source, hidden=hidden)
        refs = {"branch": name, "source_ref": source}
        expected = self._branches.check_new(name, source)
        at = self._lake.refs.resolve(self._repository.uid, source)  # the uncommitted actions of a branch count too
        event = self._event("pre-create-branch", commit_id=expected.id, **refs)
        self._run_pre_hooks(event, at)
        commit = self._branches.create(name, source, hidden=hidden)
        post = self._event("post-create-branch", commit_id=commit.id, pre_run_id=event.run_id, **refs)
        self._run_post_hooks(post, at)
        return commit

    def delete_branch(self, name: str) -> None:
        """Delete a branch as `Branches.delete` does."""
        if not self._hooked or name == self._repository.default_branch:
            self._branches.delete(name)
            return
        head = self._branches.head(name)
        self._run("delete-branch", head, lambda: self._branches.delete(name), branch=name, source_ref=head.id)

    def create_tag(self, name: str, ref: str) -> Commit:
        """Create a tag as `Tags.create` does."""
        if not self._hooked:
            return self._tags.create(name, ref)
        commit = self._tags.check_new(name, ref)
        refs = {"tag": name, "source_ref": commit.id, "commit_id": commit.id}
        self._run("create-tag", commit, lambda: self._tags.create(name, commit.id), **refs)
        return commit

    def delete_tag(self, name: str) -> None:
        """Delete a tag as `Tags.delete` does."""
        if not self._hooked:
            self._tags.delete(name)
            return
        commit = self._lake.commits.get(self._repository.uid, self._tags.get(name))
        refs = {"tag": name, "source_ref": commit.id, "commit_id": commit.id}
        self._run("delete-tag", commit, lambda: self._tags.delete(name), **refs)

    def _run(self, what: str, commit: Commit, operation: Callable[[], object], **refs: str) -> None:
        """Run an operation between its pre and post hooks, with the actions of a commit."""
        event = self._event(f"pre-{what}", **refs)
        self._run_pre_hooks(event, Resolved(commit))
        operation()
        self._run_post_hooks(self._event(f"post-{what}", pre_run_id=event.run_id, **refs), Resolved(commit))

    # events ---------------------------------------------------------------------------------------------

    def _event(self, kind: str, **fields: Any) -> Event:
        namespace = self._repository.storage_namespace
        return Event(kind, self._repository.id, new_run_id(), storage_namespace=namespace, **fields)

    def _event_of_commit(self, kind: str, branch: str, commit: Commit, **refs: str) -> Event:
        return self._event(
            kind,
            branch=branch,
            message=commit.message,
            committer=commit.committer,
            metadata=commit.metadata,
            parents=commit.parents,
            meta_range_id=commit.meta_range_id,
            **refs,
        )

    def _run_pre_hooks(self, event: Event, at: Resolved) -> None:
        self._runner.run_pre_hooks(self._user, self._repository, event, at, self._cancellation)

    def _run_post_hooks(self, event: Event, at: Resolved) -> None:
        self._runner.run_post_hooks(self._user, self._repository, event, at)

    def _run_post_hooks_of_commit(self, kind: str, branch: str, commit: Commit, **refs: str) -> None:
        event = self._event_of_commit(kind, branch, commit, source_ref=commit.id, commit_id=commit.id, **refs)
        self._run_post_hooks(event, Resolved(commit))

    def _set_commit(self, run_id: str, commit: Commit) -> None:
        Runs(self._lake, self._repository.uid).set_commit(run_id, commit.id)
