"""The methods of the former provider's hook (``airflow-provider-lakefs``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import get_hook_lineage_collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.providers.common.compat.sdk import BaseHook

    from lakefs_ops.client import LakeFSClient

    _Base = BaseHook
else:
    _Base = object


class LegacyMethods(_Base):
    """Pass-through methods that keep DAGs of the former provider working; new code uses the client of `get_conn`.

    Names, arguments and results are those of the former provider: ``repo`` is the repository's id, models are
    returned as dicts. Each method sends its call once. For a task that may be retried, use the operators instead, or
    the verbs of `lakefs_ops.flows`.

    `get_object` and `upload` report the folder of the object to Airflow's hook lineage, because Airflow keeps only 100
    assets of a task.
    """

    def get_conn(self) -> LakeFSClient:
        """Return the client; implemented by the hook."""
        raise NotImplementedError

    def get_base_url(self) -> str:
        """Return the server's address, without ``/api/v1``."""
        return self.get_conn().config.endpoint

    def create_branch(self, repository: str, name: str, source_branch: str = "main") -> str:
        """Create a branch and return the id of the commit that it points at."""
        return self.get_conn().branches.create(repository, name=name, source=source_branch)

    def delete_branch(self, repo: str, branch: str) -> None:
        """Delete a branch and its uncommitted changes."""
        self.get_conn().branches.delete(repo, branch)

    def get_branch_commit_id(self, repo: str, name: str) -> str:
        """Return the id of the commit that a branch points at."""
        return self.get_conn().branches.get(repo, name).commit_id

    def commit(self, repo: str, branch: str, msg: str, metadata: Mapping[str, str] | None = None) -> str:
        """Commit the uncommitted changes of a branch and return the commit's id."""
        return self.get_conn().commits.create(repo, branch, message=msg, metadata=metadata).id

    def merge(
        self,
        repo: str,
        source_ref: str,
        destination_branch: str,
        msg: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Merge a ref into a branch and return the id of the merge commit."""
        merged = self.get_conn().refs.merge(repo, source_ref, destination_branch, message=msg, metadata=metadata)
        return merged.reference

    def get_commit(self, repo: str, ref: str) -> dict[str, Any]:
        """Return the commit that a ref points at."""
        return self.get_conn().commits.get(repo, ref).model_dump()

    def log_commits(self, repo: str, ref: str, size: int = 100) -> Iterator[dict[str, Any]]:
        """Yield all commits of a ref, newest first, fetching ``size`` per request (at most 1,000)."""
        log, after = self.get_conn().refs.log(repo, ref), None
        while True:
            page = log.page(after=after, amount=size)
            yield from (commit.model_dump() for commit in page.results)
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset

    def upload(self, repo: str, branch: str, path: str, content: bytes | str, content_type: str | None = None) -> str:
        """Upload bytes, or a string as UTF-8, to a branch and return the object's physical address."""
        data = content.encode() if isinstance(content, str) else content
        address = self.get_conn().objects.upload(repo, branch, path, data, content_type=content_type).physical_address
        get_hook_lineage_collector().add_output_asset(self, scheme="lakefs", asset_kwargs=_folder(repo, branch, path))
        return address

    def get_object(self, repo: str, ref: str, path: str) -> bytes:
        """Return an object's bytes; raise `lakefs_ops.errors.ObjectNotFound` if it does not exist."""
        content = self.get_conn().objects.get(repo, ref, path)
        get_hook_lineage_collector().add_input_asset(self, scheme="lakefs", asset_kwargs=_folder(repo, ref, path))
        return content

    def stat_object(self, repo: str, ref: str, path: str) -> dict[str, Any]:
        """Return an object's metadata; raise `lakefs_ops.errors.ObjectNotFound` if it does not exist."""
        return self.get_conn().objects.stat(repo, ref, path).model_dump()

    def create_symlink_file(self, repo: str, branch: str, location: str | None = None) -> str:
        """Write Hive symlink files for a branch's objects (only those below ``location``) and return their location."""
        return self.get_conn().objects.create_symlink(repo, branch, location=location).location


def _folder(repository: str, ref: str, path: str) -> dict[str, str]:
    return {"repository": repository, "ref": ref, "path": path.rpartition("/")[0]}
