"""The former provider's module for `LakeFSDeleteBranchOperator`."""

from airflow_provider.operators.branches import LakeFSDeleteBranchOperator as LakeFSDeleteBranchOperator
