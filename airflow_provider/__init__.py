"""The Airflow provider for lakeFS: a connection type, a hook, operators, sensors and a trigger.

DAGs import from ``airflow_provider.operators``, ``.sensors``, ``.hooks`` and ``.triggers``; a name is loaded when it
is first used, so that a DAG file pays only for what it imports.
"""
