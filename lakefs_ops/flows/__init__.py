"""What a pipeline does to history: verbs of several calls each, on top of `lakefs_ops.client`.

- `step`: commit, merge, revert, cherry-pick, import, pull request: exactly once for a key.
- `ensure`: branch, tag, repository and the merge of a pull request: safe to repeat without a key.
- `publish`: write and audit on a separate branch, then merge it.
- `backfill`: many runs that are published with one merge.
- `verify`: compare a merge commit with both of its sides.
- `conditions`: what can be waited for; a condition polls the server and never sleeps.
- `waiting`: the loop that waits for a condition.
"""
