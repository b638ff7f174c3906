"""Lua hooks.

`hook` loads the script and describes the event to it. `sandbox` runs a script from plain data; ``prelude.lua`` runs
first and removes the globals that a hook must not have. `modules`, `times` and `lakefs` have the modules that a script
can ``require``; `values` converts between Lua and Python.
"""
