"""The command line: ``lakefs-ops``, also ``python -m lakefs_ops``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

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
    commands.add_parser("config", help="show how a lakeFS would be reached, and where each setting comes from")
    local = commands.add_parser("local", help="start a lakeFS on this machine, to try and to test on")
    words = sys.argv[1:] if arguments is None else arguments
    run: Callable[[argparse.Namespace], int] = _config
    try:
        if words[:1] != ["config"]:
            from lakefs_ops.local import command

            command.add_arguments(local)
            run = command.run
    except ImportError as missing:
        if words[:1] == ["local"]:
            print(f"lakefs-ops: {missing}", file=sys.stderr)  # noqa: T201
            return 1
    given = parser.parse_args(arguments)
    try:
        return run(given)
    except LakeFSError as error:
        print(f"lakefs-ops: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _config(_given: argparse.Namespace) -> int:
    from lakefs_ops.config import Config

    print(Config.load().describe())  # noqa: T201
    return 0
