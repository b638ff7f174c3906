"""Operators that move files between the worker and lakeFS."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from airflow_provider.links import LakeFSObjectLink
from airflow_provider.operators.base import LakeFSOperator, checking_ref, only_one_of
from airflow_provider.rendering import REQUIRED, as_rendered, check_field
from lakefs_ops.errors import InvalidArgument

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.transfer import TreeResult

MAX_OUTPUT = 2000
"""How many characters of a failed command's output the error message has."""


class LakeFSUploadFilesOperator(LakeFSOperator):
    """Upload a file, or all files of a directory, from the worker to a branch, uncommitted.

    Delivery: another try uploads what is missing: files of a directory that exist with the same content are skipped.
    After an error, some files of a directory are uploaded and others not; all of them are uncommitted. Objects that the
    directory does not have are kept, also those of an earlier try: if the directory may change between two tries, start
    with `LakeFSDeleteObjectsOperator`.

    XCom: a mapping with ``objects``, the number of files; ``skipped``, how many of them existed with the same content;
    and ``bytes``, the number of bytes that were transferred.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        path: the object's path; for a directory the prefix to write to (templated).
        source: the file or the directory on the worker (templated).
        content_type: the media type of all objects, ``application/octet-stream`` by default.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Upload what an earlier task wrote to a shared disk::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSUploadFilesOperator(
                    task_id="upload", branch="run-{{ ds_nodash }}", path="daily/{{ ds }}/", source="/data/{{ ds }}"
                )
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "branch", "path", "source")
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        path: Templated[str] = REQUIRED,
        source: Templated[str | Path] = REQUIRED,
        content_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.path = as_rendered(path)
        self.source = cast("str | Path", source)
        self.content_type = content_type

    def work(self, client: LakeFSClient, context: Context) -> dict[str, int]:
        """Upload the files and return their number and size."""
        from lakefs_ops.transfer import upload_file, upload_tree

        source = Path(self.source)
        if not source.exists():
            raise InvalidArgument(f"source {str(source)!r} does not exist on this worker")
        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.branch, self.path))
        if source.is_dir():
            media_type = self.content_type
            tree = upload_tree(
                client, self.repo, self.branch, self.path, source,
                content_type=(lambda path: media_type) if media_type else None,
            )  # fmt: skip
            found = _summary(tree)
        else:
            stats = upload_file(client, self.repo, self.branch, self.path, source, content_type=self.content_type)
            found = {"objects": 1, "skipped": 0, "bytes": stats.size_bytes or 0}
        self.note_output(self.repo, self.branch, self.path)
        self.log.info("uploaded %s to %r on branch %r of %r: %s", source, self.path, self.branch, self.repo, found)
        return found


class LakeFSDownloadFilesOperator(LakeFSOperator):
    """Download an object to a file, or all objects below a prefix to a directory on the worker.

    Each file is written under another name, verified and renamed, so a file is always complete.

    Delivery: another try downloads what is missing: files that exist with the same content are skipped. After an error,
    some files of a directory are new and others not. Files of the directory that the prefix does not have are kept.

    XCom: a mapping with ``objects``, the number of objects; ``skipped``, how many of them existed with the same
    content; and ``bytes``, the number of bytes that were transferred.

    Args:
        repo: the repository's id (templated).
        ref: a branch (including uncommitted changes), tag, commit id or expression (templated).
        target: the file; for a prefix the directory, which is created if missing (templated).
        path: the object to download; pass either this or ``prefix`` (templated).
        prefix: the folder to download (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Fetch a model for the tasks of this worker::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSDownloadFilesOperator(task_id="download", ref="v7", prefix="model/", target="/data/model")
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "ref", "target", "path", "prefix")
    optional_fields = ("path", "prefix")
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        ref: Templated[str] = REQUIRED,
        target: Templated[str | Path] = REQUIRED,
        path: Templated[str | None] = None,
        prefix: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.ref = as_rendered(ref)
        self.target = cast("str | Path", target)
        self.path = as_rendered(path)
        self.prefix = as_rendered(prefix)
        only_one_of(self, "path", "prefix")

    def work(self, client: LakeFSClient, context: Context) -> dict[str, int]:
        """Download the objects and return their number and size."""
        from lakefs_ops.transfer import download_file, download_tree

        where = self.path or self.prefix or ""
        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.ref, where))
        if self.path is not None:
            with checking_ref(client, self.repo, self.ref):
                stats = download_file(client, self.repo, self.ref, self.path, self.target)
            found = {"objects": 1, "skipped": 0, "bytes": stats.size_bytes or 0}
        else:
            tree = download_tree(client, self.repo, self.ref, where, self.target)
            found = _summary(tree)
        self.note_input(self.repo, self.ref, where)
        self.log.info("downloaded %r at %r of %r to %s: %s", where, self.ref, self.repo, self.target, found)
        return found


def _summary(tree: TreeResult) -> dict[str, int]:
    return {"objects": len(tree.transferred) + len(tree.equal), "skipped": len(tree.equal), "bytes": tree.bytes}


class LakeFSTransformOperator(LakeFSOperator):
    """Download an object, transform it with a command or a function on the worker, and upload the result, uncommitted.

    The files are in a temporary directory, which is removed afterwards.

    Delivery: another try transforms and writes the same object again. If the transformation fails or writes no file,
    nothing is uploaded. If the task is killed or times out, the command ends, with all processes that it started.

    XCom: the path of the object that was written.

    Args:
        repo: the repository's id (templated).
        source_ref: the ref of the object to read: a branch (including uncommitted changes), tag or commit id
            (templated).
        source_path: the path of the object to read (templated).
        branch: the branch to write to (templated).
        path: the path of the object to write, by default ``source_path`` (templated).
        command: the program and its arguments, a list; the file to read and the file to write are added as the last
            two arguments. It runs without a shell. Pass either this or ``transform`` (templated).
        transform: a function that takes the file to read and the file to write, both as `pathlib.Path`.
        content_type: the media type of the new object, ``application/octet-stream`` by default.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Convert a file with a script that takes two file names::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSTransformOperator(
                    task_id="convert",
                    source_ref="main",
                    source_path="raw/{{ ds }}.csv",
                    branch="run-{{ ds_nodash }}",
                    path="daily/{{ ds }}.parquet",
                    command=["/opt/convert", "--strict"],
                )
    """

    template_fields = (
        *LakeFSOperator.template_fields, "repo", "source_ref", "source_path", "branch", "path", "command",
    )  # fmt: skip
    optional_fields = ("path", "command")
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        source_ref: Templated[str] = REQUIRED,
        source_path: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        path: Templated[str | None] = None,
        command: Templated[Sequence[str] | None] = None,
        transform: Callable[[Path, Path], object] | None = None,
        content_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("command", command)
        if transform is not None and not callable(transform):
            raise InvalidArgument(f"transform must be a function of two paths, got {type(transform).__name__}")
        self.repo = as_rendered(repo)
        self.source_ref = as_rendered(source_ref)
        self.source_path = as_rendered(source_path)
        self.branch = as_rendered(branch)
        self.path = as_rendered(path)
        self.command = as_rendered(command)
        self.transform = transform
        self.content_type = content_type
        only_one_of(self, "command", "transform")

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Transform the object and return the path of the new one."""
        from lakefs_ops.transfer import download_file, upload_file

        path = self.path or self.source_path
        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.source_ref, self.source_path))
        client.branches.get(self.repo, self.branch)  # A missing branch is found before the work, not after it.
        with tempfile.TemporaryDirectory(prefix="lakefs-transform-") as folder:
            # Each file in its own directory, so that both keep their names, on which many tools depend.
            before, after = (Path(folder) / name for name in ("read", "written"))
            after.mkdir()
            read, written = before / Path(self.source_path).name, after / Path(path).name
            with checking_ref(client, self.repo, self.source_ref):
                stats = download_file(client, self.repo, self.source_ref, self.source_path, read)
            self.log.info("downloaded %s bytes of %r at %r", stats.size_bytes, self.source_path, self.source_ref)
            if self.transform is not None:
                self.transform(read, written)
            else:
                self._run([*(self.command or ()), str(read), str(written)])
            if self._killed:
                raise RuntimeError("the task was killed during the transformation, so nothing was uploaded")
            if not written.is_file():
                raise InvalidArgument(f"the transformation wrote no file {written.name!r}, so nothing was uploaded")
            stats = upload_file(client, self.repo, self.branch, path, written, content_type=self.content_type)
        self.note_input(self.repo, self.source_ref, self.source_path)
        self.note_output(self.repo, self.branch, path)
        LakeFSObjectLink().push(context, client.links.objects(self.repo, self.branch, path))
        self.log.info("wrote %s bytes to %r on branch %r of %r", stats.size_bytes, path, self.branch, self.repo)
        return path

    def _run(self, command: list[str]) -> None:
        """Run the command and log its output.

        Raises:
            RuntimeError: it could not be started or failed; the task may be retried.
        """
        try:
            process = subprocess.Popen(  # noqa: S603
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise RuntimeError(f"the command {command[0]!r} could not be started: {error}") from error
        output = ""
        with process:
            self._process = process
            try:
                if self._killed:  # before the command was started
                    self._signal(signal.SIGTERM)
                for line in process.stdout or ():
                    text = line.decode(errors="replace")
                    self.log.info("%s", text.rstrip())
                    output = (output + text)[-MAX_OUTPUT:]
            except BaseException:  # the task's execution_timeout, too: leaving `with` would wait for the command
                self._signal(signal.SIGKILL)
                raise
        if process.returncode:
            raise RuntimeError(f"the command {command[0]!r} ended with status {process.returncode}: {output.strip()}")

    _process: subprocess.Popen[bytes] | None = None
    _killed = False

    def on_kill(self) -> None:
        """End the command, with all processes that it started, if the task is killed."""
        self._killed = True
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
