"""Actions: hooks that can refuse an operation on a repository, or that are notified of it.

`definitions` parses the files below ``_lakefs_actions/``, `runner` runs the hooks of an event, `runs` stores their
results. `hooked_operations` has the operations with hooks. The kinds of hooks are `webhook`, `airflow` and `lua`.
"""
