"""Operators for objects."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XComArg

from airflow_provider.links import LakeFSObjectLink
from airflow_provider.operators.base import LakeFSOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.call import Stream
    from lakefs_ops.client import LakeFSClient


MAX_XCOM_BYTES = 1 << 20
"""The default limit of `LakeFSGetObjectOperator`, since an XCom is a row of Airflow's database."""


class LakeFSUploadOperator(LakeFSOperator):
    """Upload an object to a branch, uncommitted.

    Delivery: another try writes the same object again.

    XCom: the object's physical address.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        path: the object's path (templated).
        content: the object's content: bytes, a string (encoded as UTF-8), a `pathlib.Path` of a file that the worker
            reads, or the output of another task that returns one of these; not templated.
        content_type: the object's media type.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Mark a run as complete::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSUploadOperator(
                    task_id="mark", branch="run-{{ ds_nodash }}", path="daily/{{ ds }}/_SUCCESS", content=b""
                )
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "path")
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(
        self,
        *,
        repo: str,
        branch: str,
        path: str,
        content: bytes | str | Path | XComArg,
        content_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch
        self.path = path
        self.content = content
        self.content_type = content_type
        if not isinstance(content, XComArg):
            _check_content(content)
        elif self.get_dag() is not None:
            XComArg.apply_upstream_relationship(self, content)

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Upload the object and return its physical address."""
        from lakefs_ops.transfer import upload_file

        content = self.content.resolve(context) if isinstance(self.content, XComArg) else self.content
        _check_content(content)
        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.branch, self.path))
        if isinstance(content, Path):
            stats = upload_file(client, self.repo, self.branch, self.path, content, content_type=self.content_type)
        else:
            data = content.encode() if isinstance(content, str) else content
            stats = client.objects.upload(self.repo, self.branch, self.path, data, content_type=self.content_type)
        self.log.info("wrote %s bytes to %r on branch %r of %r", stats.size_bytes, self.path, self.branch, self.repo)
        return stats.physical_address


def _check_content(content: object) -> None:
    from lakefs_ops.errors import InvalidArgument

    if not isinstance(content, (bytes, str, Path)):
        raise InvalidArgument(
            f"content must be bytes, a string, a pathlib.Path or the output of a task, got {type(content).__name__};"
            " pass an open file as its path, and other data as bytes"
        )


class LakeFSGetObjectOperator(LakeFSOperator):
    """Read a small text object.

    An object that is larger than ``max_bytes`` or is not UTF-8 text fails the task without further tries. For such
    objects, write a task that calls ``LakeFSHook.get_object`` or the client's ``objects.open``.

    XCom: the object's content, decoded as UTF-8.

    Args:
        repo: the repository's id (templated).
        ref: a branch, tag, commit id or expression (templated).
        path: the object's path (templated).
        max_bytes: the size up to which an object is read, 1 MiB by default.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Read an object that another team published::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSGetObjectOperator(task_id="limits", ref="main", path="config/limits.json")
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "ref", "path")
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(self, *, repo: str, ref: str, path: str, max_bytes: int = MAX_XCOM_BYTES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.ref = ref
        self.path = path
        self.max_bytes = max_bytes

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Return the object's content."""
        from lakefs_ops.errors import InvalidArgument, ObjectNotFound

        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.ref, self.path))
        try:
            stream = client.objects.open(self.repo, self.ref, self.path)
        except ObjectNotFound:
            client.commits.get(self.repo, self.ref)  # raises RefNotFound if it is the ref that does not exist
            raise
        with contextlib.closing(stream):
            content = _read_up_to(stream, self.max_bytes + 1)
        advice = "read it in a task of your own with LakeFSHook().get_conn().objects.open()"
        if len(content) > self.max_bytes:
            raise InvalidArgument(
                f"{self.path!r} at {self.ref!r} of {self.repo!r} has more than {self.max_bytes} bytes, too many for an"
                f" XCom; {advice}, or raise max_bytes"
            )
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgument(
                f"{self.path!r} at {self.ref!r} of {self.repo!r} is not UTF-8 text ({error}); {advice}"
            ) from None


def _read_up_to(stream: Stream, size: int) -> bytes:
    content = bytearray()
    while len(content) < size and (block := stream.read(size - len(content))):
        content += block
    return bytes(content)


class LakeFSCreateSymlinkOperator(LakeFSOperator):
    """Write symlink files for a branch's objects, for Hive and compatible readers.

    Delivery: another try writes the same files again.

    XCom: the address of the files.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        location: only objects with this path prefix (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        After a merge, for all tables below one path::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCreateSymlinkOperator(task_id="symlinks", branch="main", location="daily/")
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "location")
    optional_fields = ("location",)

    def __init__(self, *, repo: str, branch: str, location: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repo = repo
        self.branch = branch
        self.location = location

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Write the files and return their address."""
        return client.objects.create_symlink(self.repo, self.branch, location=self.location).location
