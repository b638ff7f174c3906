"""The command line tool ``lakefs-ops``, also ``python -m lakefs_ops``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name

from lakefs_ops import __version__
from lakefs_ops.errors import LakeFSError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "config": ("print the client configuration and the source of each setting", "commands.config:add_config"),
    "blame": ("print the commits that changed a path, and their runs", "commands.blame:add_blame"),
    "bisect": ("find the first commit that a check rejects, and its run", "commands.blame:add_bisect"),
    "undo": ("revert a commit exactly once, and print what was built on it", "commands.blame:add_undo"),
    "hooks": ("install hooks that run in lakeFS", "commands.hooks:add_hooks"),
    "local": ("start an embedded lakeFS server for trials and tests", "local.command:add_arguments"),
}
"""The help text of each command, and the function that adds its arguments and sets ``run``.

Only the module of the given command is imported: each needs another part of the package, or the extra ``local``.
"""


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
    arguments = sys.argv[1:] if arguments is None else arguments
    given = next((word for word in arguments if not word.startswith("-")), None)
    try:
        for name, (text, add) in COMMANDS.items():
            command = commands.add_parser(name, help=text, description=text)
            if name == given:
                resolve_name(f"lakefs_ops.{add}")(command)
        parsed = parser.parse_args(arguments)
        status = int(parsed.run(parsed))
        sys.stdout.flush()
    except (ImportError, LakeFSError) as error:
        print(f"lakefs-ops: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except BrokenPipeError:  # such as `lakefs-ops blame ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end of the process
        return 1
    return status
