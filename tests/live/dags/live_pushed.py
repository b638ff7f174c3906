"""Start with each commit that a webhook of lakeFS reports."""

from airflow.sdk import DAG, Asset, get_current_context, task

from airflow_provider.assets.events import triggering_commits

with DAG("live_pushed", schedule=[Asset("lakefs://lake/main/pushed")]) as dag:

    @task
    def commits() -> list[str]:
        return [commit["commit_id"] for commit in triggering_commits(get_current_context())]

    commits()
