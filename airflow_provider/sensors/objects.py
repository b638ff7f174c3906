"""The sensors that wait for objects."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSObjectLink
from airflow_provider.rendering import REQUIRED, as_rendered, keep_given
from airflow_provider.sensors.base import LakeFSSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.flows.conditions import ObjectExists, PrefixHolds, PrefixUnchanged


class LakeFSFileSensor(LakeFSSensor):
    """Wait until an object exists, committed or uncommitted.

    If the branch or the repository does not exist yet, the sensor waits for it, too.

    XCom: ``checksum``, ``size_bytes`` and ``mtime`` of the object.

    Args:
        repo: the repository's id (templated).
        branch: the branch, or any other ref (templated).
        path: the object's path (templated).
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait until another run has written its success marker::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSFileSensor(task_id="complete", branch="main", path="daily/{{ ds }}/_SUCCESS", deferrable=True)
    """

    template_fields = (*LakeFSSensor.template_fields, "repo", "branch", "path")
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        path: Templated[str] = REQUIRED,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.path = as_rendered(path)

    def condition(self) -> ObjectExists:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import ObjectExists

        return ObjectExists(repository=self.repo, ref=self.branch, path=self.path)

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the object."""
        links = self.hook.get_conn().links
        LakeFSObjectLink().push(context, links.objects(self.repo, self.branch, self.path))


class _PrefixSensor(LakeFSSensor):
    """The base of the sensors for a prefix.

    Args:
        repo: the repository's id.
        branch: the branch, or any other ref.
        prefix: only objects whose path starts with this.
    """

    template_fields = (*LakeFSSensor.template_fields, "repo", "branch", "prefix")
    optional_fields = ("prefix",)
    operator_extra_links = (LakeFSObjectLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        prefix: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.prefix = as_rendered(prefix)
        keep_given(self, "prefix")

    def link(self, context: Context, found: dict[str, Any] | None = None) -> None:
        """Store the link to the objects."""
        links = self.hook.get_conn().links
        LakeFSObjectLink().push(context, links.objects(self.repo, self.branch, self.prefix or ""))


class LakeFSPrefixSensor(_PrefixSensor):
    """Wait until a prefix holds a minimum number of objects and bytes, committed or uncommitted.

    If the branch or the repository does not exist yet, the sensor waits for it, too. A poll lists objects only until
    there are enough.

    XCom: ``objects`` and ``size_bytes``, as far as they were counted.

    Args:
        repo: the repository's id (templated).
        branch: the branch, or any other ref (templated).
        prefix: only objects whose path starts with this; by default all (templated).
        min_objects: minimum number of objects.
        min_bytes: minimum total size in bytes.
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait until all 24 hours have arrived::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSPrefixSensor(
                    task_id="complete", branch="main", prefix="hourly/{{ ds }}/", min_objects=24, deferrable=True
                )
    """

    def __init__(self, *, min_objects: int = 1, min_bytes: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_objects = min_objects
        self.min_bytes = min_bytes

    def condition(self) -> PrefixHolds:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import PrefixHolds

        return PrefixHolds(
            repository=self.repo,
            ref=self.branch,
            prefix=self.prefix or "",
            objects=self.min_objects,
            size_bytes=self.min_bytes,
        )


class LakeFSPrefixUnchangedSensor(_PrefixSensor):
    """Wait until the objects with a prefix have not changed for a time, committed or uncommitted.

    For data of writers that leave no marker when they are done; a marker and `LakeFSFileSensor` are safer. A new, a
    deleted and an overwritten object are changes. The time runs from the first poll that has seen the objects as they
    are; each poll lists all of them. If the branch or the repository does not exist yet, the sensor waits for it, too.

    XCom: ``objects`` and ``size_bytes``.

    Args:
        repo: the repository's id (templated).
        branch: the branch, or any other ref (templated).
        prefix: only objects whose path starts with this; by default all (templated).
        inactivity_period: how long the objects must stay unchanged, in seconds; one hour by default.
        min_objects: minimum number of objects.
        lakefs_conn_id: the connection's id (templated).
        deferrable: wait in the triggerer instead of on a worker.
        tolerance: seconds for which lakeFS may be down before the task fails; 15 minutes by default.

    Example:
        Wait until nobody has written for ten minutes::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSPrefixUnchangedSensor(
                    task_id="quiet", branch="incoming", prefix="{{ ds }}/", inactivity_period=600, mode="reschedule"
                )
    """

    def __init__(self, *, inactivity_period: timedelta | float = 3600, min_objects: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inactivity_period = (
            inactivity_period.total_seconds() if isinstance(inactivity_period, timedelta) else inactivity_period
        )
        self.min_objects = min_objects

    def condition(self) -> PrefixUnchanged:
        """Return the condition to wait for."""
        from lakefs_ops.flows.conditions import PrefixUnchanged

        return PrefixUnchanged(
            repository=self.repo,
            ref=self.branch,
            prefix=self.prefix or "",
            seconds=self.inactivity_period,
            objects=self.min_objects,
        )
