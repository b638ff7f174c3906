"""The former provider's module for `LakeFSUploadOperator`."""

from airflow_provider.operators.objects import LakeFSUploadOperator as LakeFSUploadOperator
