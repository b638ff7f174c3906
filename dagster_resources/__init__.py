"""The Dagster integration for lakeFS."""
