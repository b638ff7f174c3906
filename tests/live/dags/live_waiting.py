"""Wait in the triggerer for a file."""

from airflow.sdk import DAG

from airflow_provider.sensors import LakeFSFileSensor

with DAG("live_waiting", schedule=None) as dag:
    LakeFSFileSensor(
        task_id="wait",
        repo="lake",
        branch="main",
        path="{{ dag_run.conf['path'] }}",
        deferrable=True,
        poke_interval=2,
        timeout=180,
    )
