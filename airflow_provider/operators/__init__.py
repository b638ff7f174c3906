"""Operators for lakeFS: branches, commits, merges and objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider.operators.branches import LakeFSCreateBranchOperator, LakeFSDeleteBranchOperator
    from airflow_provider.operators.commits import LakeFSCommitOperator, LakeFSGetCommitOperator
    from airflow_provider.operators.merges import LakeFSMergeOperator
    from airflow_provider.operators.objects import (
        LakeFSCreateSymlinkOperator,
        LakeFSGetObjectOperator,
        LakeFSUploadOperator,
    )

__all__ = [
    "LakeFSCommitOperator",
    "LakeFSCreateBranchOperator",
    "LakeFSCreateSymlinkOperator",
    "LakeFSDeleteBranchOperator",
    "LakeFSGetCommitOperator",
    "LakeFSGetObjectOperator",
    "LakeFSMergeOperator",
    "LakeFSUploadOperator",
]

__getattr__ = lazy_names(
    __name__,
    {
        "LakeFSCommitOperator": "commits",
        "LakeFSCreateBranchOperator": "branches",
        "LakeFSCreateSymlinkOperator": "objects",
        "LakeFSDeleteBranchOperator": "branches",
        "LakeFSGetCommitOperator": "commits",
        "LakeFSGetObjectOperator": "objects",
        "LakeFSMergeOperator": "merges",
        "LakeFSUploadOperator": "objects",
    },
)
