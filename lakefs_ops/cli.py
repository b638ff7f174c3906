"""The command line: ``lakefs-ops``, also ``python -m lakefs_ops``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lakefs_ops import __version__
from lakefs_ops.errors import LakeFSError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after the program's name; those of the process by default.

    Returns:
        The exit status: 0, 1 after an error that was told on standard error, or 2 after wrong usage.
    """
    parser = argparse.ArgumentParser(prog="lakefs-ops", description="lakeFS for data pipelines")
    parser.add_argument("--version", action="version", version=f"lakefs-ops {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    local = commands.add_parser("local", help="start a lakeFS on this machine, to try and to test on")
    try:
        from lakefs_ops.local import command
    except ImportError as missing:
        words = sys.argv[1:] if arguments is None else arguments
        if words[:1] == ["local"]:
            print(f"lakefs-ops: {missing}", file=sys.stderr)  # noqa: T201
            return 1
    else:
        command.add_arguments(local)
    given = parser.parse_args(arguments)
    try:
        return command.run(given)
    except LakeFSError as error:
        print(f"lakefs-ops: {error}", file=sys.stderr)  # noqa: T201
        return 1
