"""``lakefs-ops hooks install KIND``: write and commit the action file of a hook.

To add a kind, add a function to `KINDS` that adds its arguments to a parser and sets ``run``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.client import LakeFSClient
from lakefs_ops.flows.hooks import branches_without
from lakefs_ops.uri import LakeFSURI

if TYPE_CHECKING:
    from lakefs_ops.flows.hooks import InstalledAction


def add_hooks(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hooks``."""
    install = parser.add_subparsers(dest="action", metavar="ACTION", required=True).add_parser(
        "install", help="write and commit an action file"
    )
    kinds = install.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, (text, add) in KINDS.items():
        kind = kinds.add_parser(name, help=text, description=text)
        kind.add_argument("uri", help="lakefs://repository/branch, the branch to commit to")
        add(kind)
        kind.add_argument("--dry-run", action="store_true", help="only report what would change")
        kind.add_argument("--json", action="store_true", help="print JSON")


def _add_audit_gate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--branch", action="append", metavar="BRANCH", help="a branch to protect, or a glob (default: that of the URI)"
    )
    parser.add_argument("--max-age", type=float, default=168, metavar="HOURS", help="of a certificate (default: 168)")
    parser.add_argument(
        "--exact", action="store_true", help="refuse a merge whose result is not exactly the audited content"
    )
    parser.add_argument(
        "--secret-env",
        default="LAKEFSACTION_AUDIT_KEY",
        metavar="NAME",
        help="the environment variable of the lakeFS server with the key (default: LAKEFSACTION_AUDIT_KEY)",
    )
    parser.set_defaults(run=_install_audit_gate)


def _install_audit_gate(arguments: argparse.Namespace) -> int:
    from lakefs_ops.flows.audit_gate import install_audit_gate

    uri = branch_uri(arguments.uri)
    with LakeFSClient() as client:
        installed = install_audit_gate(
            client,
            uri.repository,
            uri.ref,
            protect=arguments.branch or [uri.ref],
            max_age_hours=arguments.max_age,
            exact=arguments.exact,
            secret_env=arguments.secret_env,
            dry_run=arguments.dry_run,
        )
        without = list(branches_without(client, uri.repository, installed.path))
    report(arguments, uri, installed, [name for name in without if name != uri.ref])
    return 0


def _add_webhooks(parser: argparse.ArgumentParser) -> None:
    from lakefs_ops.flows.webhooks import NAME, VARIABLE

    parser.add_argument("--url", required=True, help="the receiver, such as https://airflow.example.com/lakefs/webhook")
    parser.add_argument(
        "--branch", action="append", metavar="BRANCH", help="a branch to watch, or a glob (default: that of the URI)"
    )
    parser.add_argument(
        "--secret-env",
        default=VARIABLE,
        metavar="NAME",
        help=f"the environment variable of the lakeFS server with the secret (default: {VARIABLE})",
    )
    parser.add_argument("--name", default=NAME, help=f"the action's name, one for each receiver (default: {NAME})")
    parser.set_defaults(run=_install_webhooks)


def _install_webhooks(arguments: argparse.Namespace) -> int:
    from lakefs_ops.flows.webhooks import install_webhook

    uri = branch_uri(arguments.uri)
    with LakeFSClient() as client:
        installed = install_webhook(
            client,
            uri.repository,
            uri.ref,
            url=arguments.url,
            watch=arguments.branch or [uri.ref],
            secret_env=arguments.secret_env,
            name=arguments.name,
            dry_run=arguments.dry_run,
        )
        without = list(branches_without(client, uri.repository, installed.path))
    report(arguments, uri, installed, [name for name in without if name != uri.ref])
    return 0


KINDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "audit-gate": ("refuse merges whose source has no valid audit certificate", _add_audit_gate),
    "webhooks": ("send new commits and tags to Airflow or Dagster", _add_webhooks),
}
"""The kinds of hooks: the help text, and the function that adds the arguments."""


def branch_uri(text: str) -> LakeFSURI:
    """Parse the URI of a branch.

    Raises:
        InvalidArgument: it is another URI.
    """
    uri = LakeFSURI.parse(text)
    if not uri.ref or uri.path:
        raise errors.InvalidArgument(f"{text} must be the URI of a branch: lakefs://{uri.repository}/main")
    return uri


def report(arguments: argparse.Namespace, uri: LakeFSURI, installed: InstalledAction, without: list[str]) -> None:
    """Print what the installation did, and the branches to which the hook does not apply."""
    if arguments.json:
        result = {
            "path": installed.path,
            "branch": installed.branch,
            "change": installed.change,
            "commit": installed.commit_id,
            "dry_run": arguments.dry_run,
            "branches_without": without,
        }
        print(json.dumps(result))  # noqa: T201
        return
    would = "would be " if arguments.dry_run and installed.change != "unchanged" else ""
    commit = f" in commit {installed.commit_id}" if installed.commit_id else ""
    print(f"{would}{installed.change}: lakefs://{uri.repository}/{uri.ref}/{installed.path}{commit}")  # noqa: T201
    if without:
        names = ", ".join(without[:10]) + (f" and {len(without) - 10} more" if len(without) > 10 else "")
        print(  # noqa: T201
            f"the hook does not run for merges from these branches, which do not have the file: {names};"
            f" merge {uri.ref} into them, or delete them"
        )
