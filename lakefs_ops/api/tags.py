"""Tags: ``/repositories/{repository}/tags``."""

from __future__ import annotations

from types import NoneType

from lakefs_ops.api.common import Group, Ref, RefList
from lakefs_ops.call import Call, query, reference
from lakefs_ops.listing import Listing
from lakefs_ops.model import Model

_TAGS = "/repositories/{repository}/tags"


class TagCreation(Model):
    """Request body of `Tags.create`."""

    id: str
    ref: str
    force: bool | None = None


class Tags(Group):
    """Operations on tags: ``client.tags``.

    Common parameters:
        repository: the repository's id.
        tag: the tag's name.
        force: allow on a read-only repository.
    """

    def list(
        self, repository: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Ref]:
        """List tags sorted by name (``listTags``).

        Args:
            prefix: only names that start with this.
            after: only names that sort after this.
            limit: maximum number of results.
        """
        return self._list("listTags", _TAGS, {"repository": repository}, RefList, after, limit, prefix=prefix)

    def create(self, repository: str, *, id: str, ref: str, force: bool | None = None) -> Ref:
        """Create a tag (``createTag``). A tag cannot be moved.

        Args:
            id: the tag's name.
            ref: the ref to tag.

        Raises:
            AlreadyExists: a tag with this name exists, even if it points to the same commit.
            Conflict: a branch or a commit has this name.
            RefNotFound: the ref does not exist.
            HookFailed: a hook rejected the change.

        Example:
            >>> client.tags.create("lake", id="2015-01", ref="main").commit_id  # doctest: +SKIP
        """
        body = TagCreation.body(id=id, ref=reference("ref", ref), force=force)
        return self._send(Call("createTag", "POST", _TAGS, {"repository": repository}, Ref, body=body))

    def get(self, repository: str, tag: str) -> Ref:
        """Return a tag (``getTag``).

        Raises:
            TagNotFound: the tag does not exist.
        """
        return self._send(Call("getTag", "GET", f"{_TAGS}/{{tag}}", {"repository": repository, "tag": tag}, Ref))

    def delete(self, repository: str, tag: str, *, force: bool | None = None) -> None:
        """Delete a tag (``deleteTag``).

        Raises:
            TagNotFound: the tag does not exist.
        """
        params = {"repository": repository, "tag": tag}
        return self._send(Call("deleteTag", "DELETE", f"{_TAGS}/{{tag}}", params, NoneType, query(force=force)))
