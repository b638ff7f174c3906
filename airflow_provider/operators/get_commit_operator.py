"""The former provider's module for `LakeFSGetCommitOperator`."""

from airflow_provider.operators.commits import LakeFSGetCommitOperator as LakeFSGetCommitOperator
