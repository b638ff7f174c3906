"""Actions: hooks that are told of, or may refuse, what happens to a repository.

`definitions` reads the files below ``_lakefs_actions/``, `runner` runs the hooks of an event and keeps what they did,
`moves` is commit, merge, revert and the others with the hooks before and behind them. The kinds of
hooks are `webhook`, `airflow` and `lua`.
"""
