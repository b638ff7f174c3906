"""The answers of each operation: one module for each noun; handlers keep no state."""

from __future__ import annotations

from collections.abc import Mapping

from lakefs_ops.local.handlers import (
    actions,
    auth,
    branches,
    commits,
    dumps,
    imports,
    metadata,
    objects,
    pulls,
    refs,
    repositories,
    server,
    settings,
    staging,
    tags,
)
from lakefs_ops.local.http import Handler

_MODULES = (
    actions, auth, branches, commits, dumps, imports, metadata, objects, pulls, refs, repositories, server, settings,
    staging, tags,
)  # fmt: skip

HANDLERS: Mapping[str, Handler] = {name: handler for module in _MODULES for name, handler in module.HANDLERS.items()}
"""The handler of each operation, by its name in the lakeFS specification."""

CHECK_USER_LATER = frozenset(
    {
        "createUser", "createUserExternalPrincipal", "deleteObjects", "deleteUserExternalPrincipal", "getCurrentUser",
        "getExternalPrincipal", "headObject", "listUserExternalPrincipals", "mergePullRequest",
    }
)  # fmt: skip
"""Operations that lakeFS 1.84 starts for anonymous callers; their handlers check the user themselves."""

INLINE = frozenset(
    {
        "getBranch", "getCommit", "getConfig", "getCurrentUser", "getRepository", "getSetupState", "getTag",
        "headObject", "healthCheck", "statObject",
    }
)  # fmt: skip
"""Operations fast enough to be answered on the event loop."""

HOOKED = frozenset(
    {
        "cherryPick", "commit", "createBranch", "createTag", "deleteBranch", "deleteTag", "mergeIntoBranch",
        "mergePullRequest", "revertBranch",
    }
)  # fmt: skip
"""Operations whose hooks are canceled when the client disconnects (lakeFS 1.84, observed)."""
