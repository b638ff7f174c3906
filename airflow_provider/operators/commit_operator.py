"""The former provider's module for `LakeFSCommitOperator`."""

from airflow_provider.operators.commits import LakeFSCommitOperator as LakeFSCommitOperator
