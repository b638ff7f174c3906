"""Operators for repositories and their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSRepositoryLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_number, as_rendered, check_field

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient


class LakeFSCreateRepositoryOperator(LakeFSOperator):
    """Create a repository, if it does not exist.

    Delivery: another try changes nothing. An existing repository is accepted if it has the same storage namespace and
    default branch; any other one fails the task without further tries.

    XCom: the repository's id.

    Args:
        repo: the repository's id: 3 to 63 lower-case letters, digits and ``-`` (templated).
        storage_namespace: the address in the object store for the repository's data, such as ``s3://bucket/lake``; no
            other repository may use it or have used it (templated).
        default_branch: the first branch; by default ``main``, or any that an existing repository has (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        A repository for each team::

            with DAG("teams", schedule=None):
                LakeFSCreateRepositoryOperator(
                    task_id="create", repo="team-a", storage_namespace="s3://bucket/team-a"
                )
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "storage_namespace", "default_branch")
    optional_fields = ("default_branch",)
    operator_extra_links = (LakeFSRepositoryLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        storage_namespace: Templated[str] = REQUIRED,
        default_branch: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.storage_namespace = as_rendered(storage_namespace)
        self.default_branch = as_rendered(default_branch)

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Create the repository and return its id."""
        from lakefs_ops.flows.ensure import ensure_repository

        LakeFSRepositoryLink().push(context, client.links.repository(self.repo))
        repository = ensure_repository(
            client, self.repo, storage_namespace=self.storage_namespace, default_branch=self.default_branch
        )
        self.log.info("repository %r stores its data in %s", repository.id, repository.storage_namespace)
        return repository.id


class LakeFSDeleteRepositoryOperator(LakeFSOperator):
    """Delete a repository with all its branches, tags and commits, if it exists. Its data is kept in the store.

    Delivery: another try changes nothing; a repository that does not exist is not an error. If a repository with this
    name was created while the deletion was in progress, it is kept, and the task fails.

    XCom: nothing.

    Args:
        repo: the repository's id (templated).
        confirm: the repository's id once more; if it is another text, the task fails and nothing is deleted
            (templated).
        force: delete it even if it is read-only.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Remove the repository of a finished project::

            with DAG("project_end", schedule=None):
                LakeFSDeleteRepositoryOperator(task_id="delete", repo="project-x", confirm="project-x")
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "confirm")

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        confirm: Templated[str] = REQUIRED,
        force: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.confirm = as_rendered(confirm)
        self.force = force

    def work(self, client: LakeFSClient, context: Context) -> None:
        """Delete the repository."""
        from lakefs_ops.errors import InvalidArgument
        from lakefs_ops.flows.removals import delete_repository_if_exists

        if self.confirm != self.repo:
            raise InvalidArgument(
                f"confirm must be the name of the repository to delete, {self.repo!r}, got {self.confirm!r}"
            )
        existed = delete_repository_if_exists(client, self.repo, force=self.force)
        self.log.info("repository %r %s", self.repo, "deleted" if existed else "did not exist")


class LakeFSSetBranchProtectionOperator(LakeFSOperator):
    """Replace the branch protection rules of a repository.

    A protected branch accepts merges, but no direct writes. The server applies new rules within seconds.

    Delivery: another try changes nothing. Rules that are as wanted are not written again; a change by another writer at
    the same moment is noticed.

    XCom: nothing.

    Args:
        repo: the repository's id (templated).
        patterns: a glob for branch names for each rule, such as ``main`` or ``release-*``; an empty list removes all
            rules (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Only merges may change main::

            with DAG("settings", schedule=None):
                LakeFSSetBranchProtectionOperator(task_id="protect", repo="lake", patterns=["main"])
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "patterns")
    template_fields_renderers = {"patterns": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSRepositoryLink(),)

    def __init__(
        self, *, repo: Templated[str] = REQUIRED, patterns: Templated[Sequence[str]] = REQUIRED, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_field("patterns", patterns)
        self.repo = as_rendered(repo)
        self.patterns = as_rendered(patterns)

    def work(self, client: LakeFSClient, context: Context) -> None:
        """Set the rules."""
        from lakefs_ops.flows.settings import ensure_branch_protection

        LakeFSRepositoryLink().push(context, client.links.repository(self.repo))
        ensure_branch_protection(client, self.repo, self.patterns)
        self.log.info("branches of %r are protected by %s", self.repo, list(self.patterns))


class LakeFSSetRetentionOperator(LakeFSOperator):
    """Replace the garbage collection rules of a repository: for how many days deleted objects are kept.

    The rules delete nothing by themselves; a garbage collector, run separately, follows them.

    Delivery: another try changes nothing.

    XCom: nothing.

    Args:
        repo: the repository's id (templated).
        default_retention_days: number of days for all branches without their own rule (templated).
        branch_retention_days: number of days for single branches, a mapping of branch names to numbers (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Keep what was deleted from main for a year::

            with DAG("settings", schedule=None):
                LakeFSSetRetentionOperator(
                    task_id="retention", repo="lake", default_retention_days=7, branch_retention_days={"main": 365}
                )
    """

    template_fields = (
        *LakeFSOperator.template_fields, "repo", "default_retention_days", "branch_retention_days",
    )  # fmt: skip
    optional_fields = ("branch_retention_days",)
    template_fields_renderers = {"branch_retention_days": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSRepositoryLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        default_retention_days: Templated[int] = REQUIRED,
        branch_retention_days: Templated[Mapping[str, int] | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("default_retention_days", default_retention_days)
        check_field("branch_retention_days", branch_retention_days)
        self.repo = as_rendered(repo)
        self.default_retention_days = as_rendered(default_retention_days)
        self.branch_retention_days = as_rendered(branch_retention_days)

    def work(self, client: LakeFSClient, context: Context) -> None:
        """Set the rules."""
        from lakefs_ops.errors import InvalidArgument
        from lakefs_ops.flows.settings import ensure_retention

        days = self.branch_retention_days or {}
        branch_days = {name: as_number(f"branch_retention_days[{name!r}]", value) for name, value in days.items()}
        if min(self.default_retention_days, *branch_days.values(), 1) < 1:
            raise InvalidArgument("default_retention_days and branch_retention_days must be at least 1")
        LakeFSRepositoryLink().push(context, client.links.repository(self.repo))
        ensure_retention(client, self.repo, default_days=self.default_retention_days, branch_days=branch_days)
        self.log.info("%r keeps deleted objects for %s days, %s", self.repo, self.default_retention_days, branch_days)
