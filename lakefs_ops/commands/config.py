"""``lakefs-ops config``: the client configuration and the source of each setting."""

from __future__ import annotations

import argparse

from lakefs_ops.config import Config


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``config``: none."""
    parser.set_defaults(run=_config)


def _config(_arguments: argparse.Namespace) -> int:
    print(Config.load().describe())  # noqa: T201
    return 0
