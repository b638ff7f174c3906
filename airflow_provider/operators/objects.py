"""Operators for objects."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XComArg

from airflow_provider.links import LakeFSBranchLink, LakeFSObjectLink
from airflow_provider.operators.base import LakeFSOperator, checking_ref, only_one_of
from airflow_provider.rendering import REQUIRED, as_rendered, check_field, keep_given

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.api.common import ObjectStats
    from lakefs_ops.call import Stream
    from lakefs_ops.client import LakeFSClient


MAX_XCOM_BYTES = 1 << 20
"""The default limit of `LakeFSGetObjectOperator`, since an XCom is a row of Airflow's database."""

MAX_LISTED = 1000
"""The default limit of `LakeFSListObjectsOperator`."""


class LakeFSUploadOperator(LakeFSOperator):
    """Upload an object to a branch, uncommitted.

    Delivery: another try writes the same object again. If somebody else writes the object while the outcome of a
    request is unknown, the first try fails and keeps that object; a retry replaces it, since it may be an upload of the
    first try that took effect late.

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
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        path: Templated[str] = REQUIRED,
        content: bytes | str | Path | XComArg,
        content_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.path = as_rendered(path)
        self.content = content
        self.content_type = content_type
        if not isinstance(content, XComArg):
            _check_content(content)
        elif self.get_dag() is not None:
            XComArg.apply_upstream_relationship(self, content)

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Upload the object and return its physical address."""
        from lakefs_ops.errors import Conflict
        from lakefs_ops.transfer import upload_file

        content = self.content.resolve(context) if isinstance(self.content, XComArg) else self.content
        _check_content(content)
        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.branch, self.path))
        source = content.encode() if isinstance(content, str) else content

        def upload() -> ObjectStats:
            if isinstance(source, Path):
                return upload_file(client, self.repo, self.branch, self.path, source, content_type=self.content_type)
            return client.objects.upload(self.repo, self.branch, self.path, source, content_type=self.content_type)

        try:
            stats = upload()
        except Conflict as error:
            if context["ti"].try_number == 1:
                raise
            # An upload of an earlier try may have taken effect only now.
            self.log.warning("%s; this is a retry, so the object is uploaded once more", error)
            stats = upload()
        self.note_output(self.repo, self.branch, self.path)
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

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        ref: Templated[str] = REQUIRED,
        path: Templated[str] = REQUIRED,
        max_bytes: int = MAX_XCOM_BYTES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.ref = as_rendered(ref)
        self.path = as_rendered(path)
        self.max_bytes = max_bytes

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Return the object's content."""
        from lakefs_ops.errors import InvalidArgument

        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.ref, self.path))
        with checking_ref(client, self.repo, self.ref):
            stream = client.objects.open(self.repo, self.ref, self.path)
        self.note_input(self.repo, self.ref, self.path)
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

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        location: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.location = as_rendered(location)
        keep_given(self, "location")

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Write the files and return their address."""
        return client.objects.create_symlink(self.repo, self.branch, location=self.location).location


class LakeFSCopyObjectOperator(LakeFSOperator):
    """Copy an object within a repository, uncommitted.

    Delivery: another try copies again, so that the copy has the content that the source has then.

    XCom: the path of the copy.

    Args:
        repo: the repository's id (templated).
        branch: the branch to write to (templated).
        path: the path of the copy (templated).
        source_path: the path of the object to copy (templated).
        source_ref: the ref of the object to copy, by default the branch (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Keep the previous version under another name::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCopyObjectOperator(
                    task_id="keep",
                    branch="run-{{ ds_nodash }}",
                    path="previous.csv",
                    source_ref="main",
                    source_path="current.csv",
                )
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "path", "source_path", "source_ref")
    optional_fields = ("source_ref",)
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        path: Templated[str] = REQUIRED,
        source_path: Templated[str] = REQUIRED,
        source_ref: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.path = as_rendered(path)
        self.source_path = as_rendered(source_path)
        self.source_ref = as_rendered(source_ref)
        keep_given(self, "source_ref")

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Copy the object and return the path of the copy."""
        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.branch, self.path))
        source_ref = self.source_ref or self.branch
        with checking_ref(client, self.repo, source_ref):
            stats = client.objects.copy(
                self.repo, self.branch, self.path, src_path=self.source_path, src_ref=source_ref
            )
        self.note_input(self.repo, source_ref, self.source_path)
        self.note_output(self.repo, self.branch, self.path)
        self.log.info("copied %s bytes to %r on branch %r of %r", stats.size_bytes, self.path, self.branch, self.repo)
        return self.path


class LakeFSDeleteObjectsOperator(LakeFSOperator):
    """Delete objects of a branch: those of a list, or all below a prefix, uncommitted.

    Delivery: another try deletes the rest; a missing object is not an error. If some objects could not be deleted, the
    task fails and names them.

    XCom: the number of deleted objects; for a list of paths the number of paths.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        paths: the objects' paths, a list; pass either this or ``prefix`` (templated).
        prefix: the folder to delete: ``daily`` and ``daily/`` delete ``daily/a``, but not ``daily.csv`` (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Make room before the data of a day is written again::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSDeleteObjectsOperator(
                    task_id="delete", branch="run-{{ ds_nodash }}", prefix="daily/{{ ds }}/"
                )
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "paths", "prefix")
    optional_fields = ("paths", "prefix")
    template_fields_renderers = {"paths": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSBranchLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        paths: Templated[Sequence[str] | None] = None,
        prefix: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("paths", paths)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.paths = as_rendered(paths)
        self.prefix = as_rendered(prefix)
        only_one_of(self, "paths", "prefix")

    def work(self, client: LakeFSClient, context: Context) -> int:
        """Delete the objects and return their number."""
        from lakefs_ops.transfer import delete_objects, delete_tree

        LakeFSBranchLink().push(context, client.links.uncommitted(self.repo, self.branch))
        if self.paths is not None:
            count = delete_objects(client, self.repo, self.branch, self.paths)
            self.note_output(self.repo, self.branch)
        else:
            count = len(delete_tree(client, self.repo, self.branch, self.prefix or "").paths)
            self.note_output(self.repo, self.branch, self.prefix or "")
        self.log.info("deleted %s objects on branch %r of %r", count, self.branch, self.repo)
        return count


class LakeFSListObjectsOperator(LakeFSOperator):
    """List the paths of objects, for example to map a task over them.

    If there are more objects than ``limit``, the task fails without further tries, since the tasks that depend on the
    list would miss the rest.

    Delivery: reads only.

    XCom: the sorted paths, a list; with ``delimiter`` also the common prefixes.

    Args:
        repo: the repository's id (templated).
        ref: a branch (including uncommitted changes), tag, commit id or expression (templated).
        prefix: only objects with this path prefix (templated).
        delimiter: group paths up to this text, usually ``/``.
        limit: the largest number of paths, 1,000 by default, since an XCom is a row of Airflow's database (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        One task for each file of a day::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                files = LakeFSListObjectsOperator(task_id="files", ref="main", prefix="raw/{{ ds }}/")
                LakeFSGetObjectOperator.partial(task_id="read", ref="main").expand(path=files.output)
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "ref", "prefix", "limit")
    optional_fields = ("prefix",)
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        ref: Templated[str] = REQUIRED,
        prefix: Templated[str | None] = None,
        delimiter: str | None = None,
        limit: Templated[int] = MAX_LISTED,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("limit", limit)
        self.repo = as_rendered(repo)
        self.ref = as_rendered(ref)
        self.prefix = as_rendered(prefix)
        self.delimiter = delimiter
        self.limit = as_rendered(limit)
        keep_given(self, "prefix")

    def work(self, client: LakeFSClient, context: Context) -> list[str]:
        """List the objects and return their paths."""
        from lakefs_ops.errors import InvalidArgument

        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.ref, self.prefix or ""))
        listed = client.objects.list(
            self.repo, self.ref, prefix=self.prefix, delimiter=self.delimiter, limit=self.limit + 1, user_metadata=False
        )
        found = [entry.path for entry in listed]
        where = f"{self.prefix or ''!r} at {self.ref!r} of {self.repo!r}"
        if len(found) > self.limit:
            raise InvalidArgument(
                f"{where} has more than {self.limit} objects; raise limit, list a longer prefix, or use"
                " LakeFSHook().get_conn().objects.list() in a task of your own"
            )
        self.note_input(self.repo, self.ref, self.prefix or "")
        self.log.info("%s has %s objects", where, len(found))
        return found
