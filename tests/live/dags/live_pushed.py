"""A DAG that a webhook of lakeFS starts."""

from airflow.sdk import DAG, Asset

with DAG("live_pushed", schedule=[Asset("lakefs://lake/main/pushed")]) as dag:

    @dag.task
    def report() -> None: ...

    report()
