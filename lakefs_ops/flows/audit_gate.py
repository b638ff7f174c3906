"""The audit gate: a Lua hook that refuses merges without a valid certificate (see `lakefs_ops.flows.certificates`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.flows.certificates import AUDITS_BRANCH, ensure_registry
from lakefs_ops.flows.hooks import InstalledAction, branch_patterns, install_action, secret_reference

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

NAME = "lakefs-ops-audit-gate"
"""The name of the action; its file is ``_lakefs_actions/lakefs-ops-audit-gate.yaml``."""

VARIABLE = "LAKEFSACTION_AUDIT_KEY"
"""The environment variable of the lakeFS server that has the key, by default."""

MAX_AGE_HOURS = 168
"""The maximum age of a certificate, by default."""

_SCRIPT = Path(__file__).with_suffix(".lua")


def install_audit_gate(
    client: LakeFSClient,
    repository: str,
    branch: str,
    *,
    protect: Iterable[str],
    max_age_hours: float = MAX_AGE_HOURS,
    exact: bool = False,
    secret_env: str = VARIABLE,
    dry_run: bool = False,
) -> InstalledAction:
    """Commit the action file of the audit gate to a branch, unless the branch has it, and create the registry.

    From then on, lakeFS refuses every merge and every cherry-pick into the protected branches, whoever requests it,
    except merges of a commit with a valid certificate. docs/enforced-audits.md has the rules and their limits.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to commit to. The gate applies to merges of branches that have its file.
        protect: the protected branches: names or globs.
        max_age_hours: the maximum age of a certificate, in hours.
        exact: refuse a merge whose result is not exactly the audited content, because the protected branch has changed.
        secret_env: the environment variable of the lakeFS server that has the key.
        dry_run: only compare the content.

    Raises:
        InvalidArgument: no branch to protect, or a pattern that matches none, an invalid age, or a variable that lakeFS
            does not pass to hooks.
        DirtyBranch: the branch has uncommitted changes.
        ProtectedBranch: a protection rule forbids commits; nothing was written.
    """
    text = action_file(protect, max_age_hours=max_age_hours, exact=exact, secret_env=secret_env)
    if not dry_run:
        ensure_registry(client, repository, branch)
    return install_action(client, repository, branch, f"{NAME}.yaml", text, dry_run=dry_run)


def action_file(protect: Iterable[str], *, max_age_hours: float, exact: bool, secret_env: str) -> str:
    """Return the action file of the audit gate; the arguments are those of `install_audit_gate`."""
    branches = branch_patterns("protect", protect)
    if not 0 < max_age_hours < float("inf"):
        raise errors.InvalidArgument(f"max_age_hours must be a number above 0, got {max_age_hours!r}")
    key = secret_reference(secret_env)
    script = "".join(f"        {line}".rstrip() + "\n" for line in _SCRIPT.read_text().splitlines())
    events = ("pre-merge", "pre-cherry-pick", "post-merge")
    on = "".join(f"  {event}:\n    branches: {json.dumps(branches)}\n" for event in events)
    return (
        "# Written by `lakefs-ops hooks install audit-gate`.\n"
        f"name: {NAME}\n"
        "description: refuse merges whose source has no valid audit certificate\n"
        f"on:\n{on}"
        "hooks:\n"
        "  - id: audit_certificate\n"
        "    type: lua\n"
        "    properties:\n"
        "      args:\n"
        f'        key: "{key}"\n'
        f"        certificates: {AUDITS_BRANCH}\n"
        f"        max_age_hours: {max_age_hours:g}\n"
        f"        exact: {json.dumps(exact)}\n"
        f"      script: |\n{script}"
    )
