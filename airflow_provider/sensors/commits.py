"""The sensors that wait for a commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink
from airflow_provider.rendering import REQUIRED, as_rendered, keep_given
from airflow_provider.sensors.base import LakeFSSensor
from lakefs_ops.errors import InvalidArgument

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.flows.conditions import CommitMatches, NewCommit


class _CommitSensor(LakeFSSensor):
    """The base of the sensors for commits on a branch.

    Args:
        repo: the repository's id.
        branch: the branch.
        prev_commit_id: the last known commit.
    """

    optional_fields: tuple[str, ...] = ("prev_commit_id",)
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        prev_commit_id: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.prev_commit_id = as_rendered(prev_commit_id)

    @property
    def _after(self) -> str | None:
        after = (self.prev_commit_id or "").strip()
        return None if after.lower() in ("", "none", "null") else after

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the branch's log, and later to the commit."""
        links = self.hook.get_conn().links
        url = links.commit(self.repo, found["commit_id"]) if found else links.commits(self.repo, self.branch)
        LakeFSCommitLink().push(context, url)


class LakeFSCommitSensor(_CommitSensor):
    """Wait until a branch has a new commit.

    Without ``prev_commit_id``, the first poll only remembers the branch's current commit, and the next commit meets
    the condition. A blank value and the texts ``None`` and ``null``, as templates render a missing value, count as
    not given. Any other value is resolved once, by the first poll; if the repository has no such commit, the task
    fails. Neither ``prev_commit_id`` nor its ancestors are new, even if the branch is moved back to one of them.

    A sensor that is retried or rescheduled continues from the remembered commit (on Airflow 3.1 and 3.2, a retry
    starts over). If the branch does not exist yet, the sensor waits for it; a missing repository fails the task.

    XCom: ``{"commit_id": ...}``, the branch's new commit.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        prev_commit_id: the last known commit: its id, or another ref (templated).
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait for another team to publish, without occupying a worker slot::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCommitSensor(task_id="published", branch="main", deferrable=True, poke_interval=30, timeout=3600)
    """

    template_fields = (*LakeFSSensor.template_fields, "repo", "branch", "prev_commit_id")

    def condition(self) -> NewCommit:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import NewCommit

        return NewCommit(repository=self.repo, branch=self.branch, after=self._after)


class LakeFSCommitMatchSensor(_CommitSensor):
    """Wait until a branch has a commit with certain metadata, a certain message or changes below a prefix.

    The commit may be older than the task: without ``prev_commit_id``, the whole first-parent history of the branch
    counts. With several conditions, one commit must meet all of them. If the branch does not exist yet, the sensor
    waits for it; a missing repository fails the task.

    XCom: ``{"commit_id": ...}``, the oldest matching commit.

    Args:
        repo: the repository's id (templated).
        branch: the branch (templated).
        metadata: keys and values that the commit's metadata must have, a mapping (templated).
        message: a regular expression that must match somewhere in the commit's message (templated).
        prefix: the commit must change an object with this prefix; a merge commit counts with the changes that it
            merges (templated).
        prev_commit_id: only commits after this one: its id, or another ref (templated).
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait until the DAG of another team has published the same day::

            with DAG("report", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSCommitMatchSensor(
                    task_id="published", branch="main", prefix="daily/", metadata={"day": "{{ ds }}"}, deferrable=True
                )
    """

    template_fields = (
        *LakeFSSensor.template_fields, "repo", "branch", "metadata", "message", "prefix", "prev_commit_id",
    )  # fmt: skip
    optional_fields = ("metadata", "message", "prefix", "prev_commit_id")

    def __init__(
        self,
        *,
        metadata: Templated[Mapping[str, str] | None] = None,
        message: Templated[str | None] = None,
        prefix: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not (metadata or message or prefix):
            raise InvalidArgument("name the commit to wait for: metadata, message or prefix must be given")
        self.metadata = as_rendered(metadata)
        self.message = as_rendered(message)
        self.prefix = as_rendered(prefix)
        keep_given(self, "metadata", "message", "prefix")

    def condition(self) -> CommitMatches:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import CommitMatches

        return CommitMatches(
            repository=self.repo,
            branch=self.branch,
            metadata={key: str(value) for key, value in (self.metadata or {}).items()},
            message=self.message,
            prefix=self.prefix,
            after=self._after,
        )
