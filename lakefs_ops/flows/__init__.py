"""What a pipeline does: verbs made of several calls, on top of `lakefs_ops.client`.

- `once`: branch, commit, merge, tag: each takes effect once, whatever is lost or repeated.
- `conditions`: what may be waited for; a look at the server, never a sleep.
- `waiting`: the only loop that sleeps.
"""
