"""File systems for Airflow's `ObjectStoragePath`."""
