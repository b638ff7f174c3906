"""Import files, and wait in the triggerer."""

from airflow.sdk import DAG

from airflow_provider.operators import LakeFSImportOperator

with DAG("live_importing", schedule=None) as dag:
    LakeFSImportOperator(
        task_id="import",
        repo="lake",
        branch="{{ dag_run.conf['branch'] }}",
        sources=[{"path": "{{ dag_run.conf['path'] }}", "destination": "imported/"}],
        msg="Import {{ run_id }}",
        deferrable=True,
        poll_interval=1,
    )
