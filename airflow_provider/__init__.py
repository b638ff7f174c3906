"""The Airflow provider for lakeFS: a connection type, a hook, operators, sensors and a trigger.

DAGs import from ``airflow_provider.operators``, ``.sensors``, ``.hooks`` and ``.triggers``. These packages load a class
when it is first used, so a DAG file pays only for the classes that it imports.
"""
