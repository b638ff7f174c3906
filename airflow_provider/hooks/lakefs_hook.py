"""The former provider's module for `LakeFSHook`."""

from airflow_provider.hooks.lakefs import LakeFSHook as LakeFSHook
