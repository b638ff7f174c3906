"""Tags: ``/repositories/{repository}/tags``."""

from __future__ import annotations

from types import NoneType

from lakefs_ops.api.common import Group, Ref, RefList
from lakefs_ops.call import Call, query, reference
from lakefs_ops.listing import Listing
from lakefs_ops.model import Model

_TAGS = "/repositories/{repository}/tags"


class TagCreation(Model):
    """What `Tags.create` sends."""

    id: str
    ref: str
    force: bool | None = None


class Tags(Group):
    """Operations on tags: ``client.tags``."""

    def list(
        self,
        repository: str,
        *,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Listing[Ref]:
        """List tags in the order of their names (``listTags``).

        Args:
            repository: the repository's id.
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        call = Call("listTags", "GET", _TAGS, {"repository": repository}, RefList, query(prefix=prefix))
        return Listing(self._sender, call, after=after, limit=limit)

    def create(self, repository: str, *, id: str, ref: str, force: bool | None = None) -> Ref:
        """Create a tag (``createTag``); it can never be moved.

        Args:
            repository: the repository's id.
            id: the tag's name.
            ref: the commit it names.
            force: also in a read-only repository.

        Raises:
            AlreadyExists: a tag of that name exists, be it for the same commit.
            Conflict: a branch or a commit has that name.
            RefNotFound: the ref does not exist.
            HookFailed: a hook refused.

        Example:
            >>> client.tags.create("lake", id="2015-01", ref="main").commit_id  # doctest: +SKIP
        """
        body = TagCreation.body(id=id, ref=reference("ref", ref), force=force)
        return self._send(Call("createTag", "POST", _TAGS, {"repository": repository}, Ref, body=body))

    def get(self, repository: str, tag: str) -> Ref:
        """Return a tag and its commit (``getTag``).

        Args:
            repository: the repository's id.
            tag: the tag's name.

        Raises:
            TagNotFound: no such tag.
        """
        return self._send(Call("getTag", "GET", f"{_TAGS}/{{tag}}", {"repository": repository, "tag": tag}, Ref))

    def delete(self, repository: str, tag: str, *, force: bool | None = None) -> None:
        """Delete a tag (``deleteTag``).

        Args:
            repository: the repository's id.
            tag: the tag's name.
            force: also in a read-only repository.

        Raises:
            TagNotFound: no such tag.
        """
        names = {"repository": repository, "tag": tag}
        return self._send(Call("deleteTag", "DELETE", f"{_TAGS}/{{tag}}", names, NoneType, query(force=force)))
