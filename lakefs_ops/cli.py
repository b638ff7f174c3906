"""The command line tool ``lakefs-ops``, also ``python -m lakefs_ops``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lakefs_ops import __version__
from lakefs_ops.commands import history, hooks
from lakefs_ops.errors import LakeFSError

HISTORY = {
    "blame": "print the commits that changed a path, and their runs",
    "bisect": "find the first commit that a check rejects, and its run",
    "undo": "revert a commit exactly once, and print what was built on it",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command line without the program's name; ``sys.argv[1:]`` by default.

    Returns:
        The exit status: 0, or 1 after an error, which is printed to standard error. Invalid usage exits with 2.
    """
    parser = argparse.ArgumentParser(prog="lakefs-ops", description="lakeFS for data pipelines")
    parser.add_argument("--version", action="version", version=f"lakefs-ops {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    config = commands.add_parser("config", help="print the client configuration and the source of each setting")
    config.set_defaults(run=_print_config)
    for name, text in HISTORY.items():
        add = getattr(history, f"add_{name}")
        add(commands.add_parser(name, help=text, description=text))
    hooks.add_hooks(commands.add_parser("hooks", help="install hooks that run in lakeFS"))
    local = commands.add_parser("local", help="start an embedded lakeFS server for trials and tests")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if "local" in arguments:
            from lakefs_ops.local import command  # needs the extra `local`

            command.add_arguments(local)
            local.set_defaults(run=command.run)
        parsed = parser.parse_args(arguments)
        return int(parsed.run(parsed))
    except (ImportError, LakeFSError) as error:
        print(f"lakefs-ops: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _print_config(_arguments: argparse.Namespace) -> int:
    from lakefs_ops.config import Config

    print(Config.load().describe())  # noqa: T201
    return 0
