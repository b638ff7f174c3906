"""The former provider's module for `LakeFSGetObjectOperator`."""

from airflow_provider.operators.objects import LakeFSGetObjectOperator as LakeFSGetObjectOperator
