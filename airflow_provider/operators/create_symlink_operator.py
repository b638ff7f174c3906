"""The former provider's module for `LakeFSCreateSymlinkOperator`."""

from airflow_provider.operators.objects import LakeFSCreateSymlinkOperator as LakeFSCreateSymlinkOperator
