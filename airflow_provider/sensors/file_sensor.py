"""The former provider's module for `LakeFSFileSensor`."""

from airflow_provider.sensors.objects import LakeFSFileSensor as LakeFSFileSensor
