"""Operators for lakeFS, one module for each noun; docs/operators.md lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider.operators.actions import LakeFSWaitForActionRunOperator
    from airflow_provider.operators.backfills import LakeFSCancelBackfillOperator, LakeFSFinishBackfillOperator
    from airflow_provider.operators.branches import (
        LakeFSCreateBranchOperator,
        LakeFSDeleteBranchOperator,
        LakeFSHardResetBranchOperator,
        LakeFSResetBranchOperator,
    )
    from airflow_provider.operators.commits import (
        LakeFSCommitOperator,
        LakeFSGetCommitOperator,
        LakeFSListCommitsOperator,
    )
    from airflow_provider.operators.diffs import LakeFSDiffOperator
    from airflow_provider.operators.imports import LakeFSImportOperator
    from airflow_provider.operators.merges import LakeFSMergeOperator
    from airflow_provider.operators.objects import (
        LakeFSCopyObjectOperator,
        LakeFSCreateSymlinkOperator,
        LakeFSDeleteObjectsOperator,
        LakeFSGetObjectOperator,
        LakeFSListObjectsOperator,
        LakeFSUploadOperator,
    )
    from airflow_provider.operators.partitions import LakeFSChangedPartitionsOperator
    from airflow_provider.operators.pull_requests import (
        LakeFSCreatePullRequestOperator,
        LakeFSMergePullRequestOperator,
    )
    from airflow_provider.operators.repositories import (
        LakeFSCreateRepositoryOperator,
        LakeFSDeleteRepositoryOperator,
        LakeFSSetBranchProtectionOperator,
        LakeFSSetRetentionOperator,
    )
    from airflow_provider.operators.reverts import (
        LakeFSCherryPickOperator,
        LakeFSRevertOperator,
    )
    from airflow_provider.operators.sweep import LakeFSSweepOperator
    from airflow_provider.operators.tags import (
        LakeFSCreateTagOperator,
        LakeFSDeleteTagOperator,
    )
    from airflow_provider.operators.transfers import (
        LakeFSDownloadFilesOperator,
        LakeFSTransformOperator,
        LakeFSUploadFilesOperator,
    )

__all__ = [
    "LakeFSCancelBackfillOperator",
    "LakeFSChangedPartitionsOperator",
    "LakeFSCherryPickOperator",
    "LakeFSCommitOperator",
    "LakeFSCopyObjectOperator",
    "LakeFSCreateBranchOperator",
    "LakeFSCreatePullRequestOperator",
    "LakeFSCreateRepositoryOperator",
    "LakeFSCreateSymlinkOperator",
    "LakeFSCreateTagOperator",
    "LakeFSDeleteBranchOperator",
    "LakeFSDeleteObjectsOperator",
    "LakeFSDeleteRepositoryOperator",
    "LakeFSDeleteTagOperator",
    "LakeFSDiffOperator",
    "LakeFSDownloadFilesOperator",
    "LakeFSFinishBackfillOperator",
    "LakeFSGetCommitOperator",
    "LakeFSGetObjectOperator",
    "LakeFSHardResetBranchOperator",
    "LakeFSImportOperator",
    "LakeFSListCommitsOperator",
    "LakeFSListObjectsOperator",
    "LakeFSMergeOperator",
    "LakeFSMergePullRequestOperator",
    "LakeFSResetBranchOperator",
    "LakeFSRevertOperator",
    "LakeFSSetBranchProtectionOperator",
    "LakeFSSetRetentionOperator",
    "LakeFSSweepOperator",
    "LakeFSTransformOperator",
    "LakeFSUploadFilesOperator",
    "LakeFSUploadOperator",
    "LakeFSWaitForActionRunOperator",
]

__getattr__ = lazy_names(
    __name__,
    {
        "LakeFSCancelBackfillOperator": "backfills",
        "LakeFSChangedPartitionsOperator": "partitions",
        "LakeFSCherryPickOperator": "reverts",
        "LakeFSCommitOperator": "commits",
        "LakeFSCopyObjectOperator": "objects",
        "LakeFSCreateBranchOperator": "branches",
        "LakeFSCreatePullRequestOperator": "pull_requests",
        "LakeFSCreateRepositoryOperator": "repositories",
        "LakeFSCreateSymlinkOperator": "objects",
        "LakeFSCreateTagOperator": "tags",
        "LakeFSDeleteBranchOperator": "branches",
        "LakeFSDeleteObjectsOperator": "objects",
        "LakeFSDeleteRepositoryOperator": "repositories",
        "LakeFSDeleteTagOperator": "tags",
        "LakeFSDiffOperator": "diffs",
        "LakeFSDownloadFilesOperator": "transfers",
        "LakeFSFinishBackfillOperator": "backfills",
        "LakeFSGetCommitOperator": "commits",
        "LakeFSGetObjectOperator": "objects",
        "LakeFSHardResetBranchOperator": "branches",
        "LakeFSImportOperator": "imports",
        "LakeFSListCommitsOperator": "commits",
        "LakeFSListObjectsOperator": "objects",
        "LakeFSMergeOperator": "merges",
        "LakeFSMergePullRequestOperator": "pull_requests",
        "LakeFSResetBranchOperator": "branches",
        "LakeFSRevertOperator": "reverts",
        "LakeFSSetBranchProtectionOperator": "repositories",
        "LakeFSSetRetentionOperator": "repositories",
        "LakeFSTransformOperator": "transfers",
        "LakeFSUploadFilesOperator": "transfers",
        "LakeFSSweepOperator": "sweep",
        "LakeFSUploadOperator": "objects",
        "LakeFSWaitForActionRunOperator": "actions",
    },
)
