"""``lakefs-ops hooks install KIND``: write and commit the action file of a hook.

To add a kind, add it to `KINDS`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from lakefs_ops import errors
from lakefs_ops.client import LakeFSClient
from lakefs_ops.flows.hooks import InstalledAction, branches_without
from lakefs_ops.uri import LakeFSURI


def add_hooks(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``hooks``."""
    install = parser.add_subparsers(dest="action", metavar="ACTION", required=True).add_parser(
        "install", help="write and commit an action file"
    )
    kinds = install.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, kind in KINDS.items():
        arguments = kinds.add_parser(name, help=kind.text, description=kind.text)
        arguments.add_argument("uri", help="lakefs://repository/branch, the branch to commit to")
        kind.add(arguments)
        arguments.add_argument("--dry-run", action="store_true", help="only report what would change")
        arguments.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _add_audit_gate(parser: argparse.ArgumentParser) -> None:
    from lakefs_ops.flows.audit_gate import MAX_AGE_HOURS, VARIABLE

    parser.add_argument(
        "--branch", action="append", metavar="BRANCH", help="a branch to protect, or a glob (default: that of the URI)"
    )
    parser.add_argument(
        "--max-age",
        type=float,
        default=MAX_AGE_HOURS,
        metavar="HOURS",
        help=f"of a certificate (default: {MAX_AGE_HOURS})",
    )
    parser.add_argument(
        "--exact", action="store_true", help="refuse a merge whose result is not exactly the audited content"
    )
    parser.add_argument(
        "--secret-env",
        default=VARIABLE,
        metavar="NAME",
        help=f"the environment variable of the lakeFS server with the key (default: {VARIABLE})",
    )


def _install_audit_gate(client: LakeFSClient, uri: LakeFSURI, arguments: argparse.Namespace) -> InstalledAction:
    from lakefs_ops.flows.audit_gate import install_audit_gate

    return install_audit_gate(
        client,
        uri.repository,
        uri.ref,
        protect=arguments.branch or [uri.ref],
        max_age_hours=arguments.max_age,
        exact=arguments.exact,
        secret_env=arguments.secret_env,
        dry_run=arguments.dry_run,
    )


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


def _install_webhooks(client: LakeFSClient, uri: LakeFSURI, arguments: argparse.Namespace) -> InstalledAction:
    from lakefs_ops.flows.webhooks import install_webhook

    return install_webhook(
        client,
        uri.repository,
        uri.ref,
        url=arguments.url,
        watch=arguments.branch or [uri.ref],
        secret_env=arguments.secret_env,
        name=arguments.name,
        dry_run=arguments.dry_run,
    )


class Kind(NamedTuple):
    """A kind of hook.

    Attributes:
        text: the help text.
        add: adds its arguments to a parser.
        install: writes and commits its action file.
    """

    text: str
    add: Callable[[argparse.ArgumentParser], None]
    install: Callable[[LakeFSClient, LakeFSURI, argparse.Namespace], InstalledAction]


KINDS: Mapping[str, Kind] = {
    "audit-gate": Kind(
        "refuse merges whose source has no valid audit certificate", _add_audit_gate, _install_audit_gate
    ),
    "webhooks": Kind("send new commits and tags to Airflow or Dagster", _add_webhooks, _install_webhooks),
}


def _run(arguments: argparse.Namespace) -> int:
    uri = branch_uri(arguments.uri)
    with LakeFSClient() as client:
        installed = KINDS[arguments.kind].install(client, uri, arguments)
        without = list(branches_without(client, uri.repository, installed.path))
    report(arguments, uri, installed, [name for name in without if name != uri.ref])
    return 0


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
