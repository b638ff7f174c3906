"""The former provider's module for `LakeFSCommitSensor`."""

from airflow_provider.sensors.commits import LakeFSCommitSensor as LakeFSCommitSensor
