"""The Airflow provider for lakeFS."""
