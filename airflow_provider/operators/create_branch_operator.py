"""The former provider's module for `LakeFSCreateBranchOperator`."""

from airflow_provider.operators.branches import LakeFSCreateBranchOperator as LakeFSCreateBranchOperator
