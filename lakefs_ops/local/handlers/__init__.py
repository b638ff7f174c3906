"""What each operation answers: a module a noun; handlers keep no state."""

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

HANDLERS: Mapping[str, Handler] = {
    **actions.HANDLERS,
    **auth.HANDLERS,
    **branches.HANDLERS,
    **commits.HANDLERS,
    **dumps.HANDLERS,
    **imports.HANDLERS,
    **metadata.HANDLERS,
    **objects.HANDLERS,
    **pulls.HANDLERS,
    **refs.HANDLERS,
    **repositories.HANDLERS,
    **server.HANDLERS,
    **settings.HANDLERS,
    **staging.HANDLERS,
    **tags.HANDLERS,
}
"""The handler of each operation, by its name in the lakeFS specification."""

ASKING_LATER = frozenset(
    {
        "createUser",
        "createUserExternalPrincipal",
        "deleteObjects",
        "deleteUserExternalPrincipal",
        "getCurrentUser",
        "getExternalPrincipal",
        "headObject",
        "listUserExternalPrincipals",
        "mergePullRequest",
    }
)
"""Operations that lakeFS 1.84 begins for anybody; their handlers ask who it is."""

INLINE = frozenset(
    {
        "getBranch",
        "getCommit",
        "getConfig",
        "getCurrentUser",
        "getRepository",
        "getSetupState",
        "getTag",
        "headObject",
        "healthCheck",
        "statObject",
    }
)
"""Operations quick enough to be answered without another thread."""
