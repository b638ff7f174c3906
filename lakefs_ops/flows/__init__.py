"""What a pipeline does to history: verbs of several calls each, on top of `lakefs_ops.client`.

Verbs on the history:

- `step`: commit, merge, revert, cherry-pick, import, pull request: exactly once for a key.
- `ensure`: branch, tag, repository and the merge of a pull request: safe to repeat without a key.
- `removals`: reset a branch; delete a tag or a repository; cancel an import.
- `settings`: branch protection and retention of a repository.
- `hooks`, `webhooks`: install the action file of a hook, and of a webhook for new commits.

Publishing:

- `publish`: write and audit on a separate branch, then merge it.
- `checks`: the results of checks, Pandera, Great Expectations and Soda.
- `certificates`, `audit_gate`: sign what passed its audit, and let lakeFS refuse the rest.
- `verify`: compare a merge commit with both of its sides.
- `backfill`: many runs that are published with one merge.
- `sweep`: delete the branches that finished runs have left.
- `partitions`: partitions of a data set, and the paths of their objects.

Reading and waiting:

- `history`: whether an effect is still in force, and whether a branch is published.
- `blame`: the run that changed a path, and the first bad commit.
- `conditions`: what can be waited for; a condition polls the server and never sleeps.
- `waiting`: the loop that waits for a condition.
- `polling`: one branch listing for many waiters.

What the others are built on:

- `attempts`: the retry budget, and the search for an earlier effect.
- `claims`: one of several callers acts, the others return its result.
- `names`: branch names that are derived from a key.
- `reverts`: refs that cannot move, and ranges of commits to revert.
"""
