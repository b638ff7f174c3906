"""Operators for objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSObjectLink
from airflow_provider.operators.base import LakeFSOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.client import LakeFSClient


class LakeFSUploadOperator(LakeFSOperator):
    """Upload an object to a branch, uncommitted.

    Delivery: another try writes the same object again.

    XCom: the object's physical address.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        path: the object's path (templated).
        content: the object's content; not templated. A string is encoded as UTF-8.
        content_type: the object's media type.
        lakefs_conn_id: the id of the Airflow connection.

    Example:
        Mark a run as complete::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSUploadOperator(
                    task_id="mark", branch="run-{{ ds_nodash }}", path="daily/{{ ds }}/_SUCCESS", content=b""
                )
    """

    template_fields = ("repo", "branch", "path")
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(
        self,
        *,
        repo: str,
        branch: str,
        path: str,
        content: bytes | str,
        content_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch
        self.path = path
        self.content = content
        self.content_type = content_type

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Upload the object and return its physical address."""
        content = self.content.encode() if isinstance(self.content, str) else self.content
        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.branch, self.path))
        stats = client.objects.upload(self.repo, self.branch, self.path, content, content_type=self.content_type)
        self.log.info("wrote %d bytes to %r on branch %r of %r", len(content), self.path, self.branch, self.repo)
        return stats.physical_address


class LakeFSGetObjectOperator(LakeFSOperator):
    """Read a small object.

    XCom: the object's content, decoded as UTF-8. If it is too large for an XCom, write a task that calls
    ``LakeFSHook.get_object`` or the client's ``objects.open``.

    Args:
        repo: the repository's id (templated).
        ref: a branch, tag, commit id or expression (templated).
        path: the object's path (templated).
        lakefs_conn_id: the id of the Airflow connection.

    Example:
        Read an object that another team published::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSGetObjectOperator(task_id="limits", ref="main", path="config/limits.json")
    """

    template_fields = ("repo", "ref", "path")
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(self, *, repo: str, ref: str, path: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.ref = ref
        self.path = path

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Return the object's content."""
        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.ref, self.path))
        return client.objects.get(self.repo, self.ref, self.path).decode()


class LakeFSCreateSymlinkOperator(LakeFSOperator):
    """Write symlink files for a branch's objects, for Hive and compatible readers.

    Delivery: another try writes the same files again.

    XCom: the address of the files.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        location: only objects with this path prefix (templated).
        lakefs_conn_id: the id of the Airflow connection.

    Example:
        After a merge, for all tables below one path::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCreateSymlinkOperator(task_id="symlinks", branch="main", location="daily/")
    """

    template_fields = ("repo", "branch", "location")

    def __init__(self, *, repo: str, branch: str, location: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch
        self.location = location

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Write the files and return their address."""
        return client.objects.create_symlink(self.repo, self.branch, location=self.location).location
