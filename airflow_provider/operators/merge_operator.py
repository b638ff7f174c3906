"""The former provider's module for `LakeFSMergeOperator`."""

from airflow_provider.operators.merges import LakeFSMergeOperator as LakeFSMergeOperator
