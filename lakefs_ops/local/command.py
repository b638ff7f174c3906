"""``lakefs-ops local``: start a server by hand."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from lakefs_ops.local.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from lakefs_ops.local.server import LocalLakeFS
from lakefs_ops.local.store.check import Check
from lakefs_ops.local.store.database import InUse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep everything here (default: until it ends)")
    parser.add_argument("--port", type=int, default=8000, help="the port, 0 for a free one (default: 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: this machine alone)")
    parser.add_argument("--access-key-id", default=ACCESS_KEY_ID, metavar="KEY", help="the access key")
    parser.add_argument("--secret-access-key", default=SECRET_ACCESS_KEY, metavar="SECRET", help="its secret")
    parser.add_argument("--sample", action="store_true", help="with a repository of a few objects to look at")
    parser.add_argument("--no-installation", action="store_true", help="wait for the set-up call")
    parser.add_argument("--faults", action="store_true", help="let tests set faults over HTTP, at /_faults")
    parser.add_argument(
        "--allow-import", action="append", default=[], metavar="DIR", help="imports may read from this folder"
    )
    parser.add_argument("--check", type=Path, metavar="DIR", help="do not serve: see whether a data directory is whole")
    parser.add_argument("--deep", action="store_true", help="with --check: read the bytes of all objects too")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, or check a data directory.

    Returns:
        The exit status: 0, or 1 when it could not start, or the data directory is not whole.
    """
    if arguments.check is not None:
        return _check(arguments.check, deep=arguments.deep)
    server = LocalLakeFS(
        arguments.data,
        port=arguments.port,
        host=arguments.host,
        access_key_id=arguments.access_key_id,
        secret_access_key=arguments.secret_access_key,
        installed=not arguments.no_installation,
        allow_import=arguments.allow_import,
        faults_endpoint=arguments.faults,
    ) if _may_listen(arguments) else None  # fmt: skip
    if server is None:
        return 1
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server.start()
    except OSError as error:
        _say(f"lakefs-ops: cannot start: {error}", error=True)
        return 1
    try:
        if arguments.sample:
            server.load_sample()
        _greet(server, arguments)
        stop.wait()
    finally:
        server.stop()
    return 0


def _check(directory: Path, *, deep: bool) -> int:
    wrong = 0
    try:
        check = Check(directory, deep=deep)
        for problem in check.problems():
            wrong += 1
            _say(problem, error=True)
    except (FileNotFoundError, InUse) as error:
        _say(f"lakefs-ops: {error}", error=True)
        return 1
    seen = ", ".join(f"{number:,} {what}" for what, number in check.seen.items())
    _say(f"{wrong:,} problem{'s' * (wrong != 1)} in {directory}: {seen}")
    return 1 if wrong else 0


def _may_listen(arguments: argparse.Namespace) -> bool:
    try:
        LocalLakeFS(host=arguments.host, secret_access_key=arguments.secret_access_key)
    except ValueError as error:
        _say(f"lakefs-ops: {error}", error=True)
        return False
    return True


def _greet(server: LocalLakeFS, arguments: argparse.Namespace) -> None:
    _say(server.endpoint)
    if arguments.no_installation:
        return
    default = server.secret_access_key == SECRET_ACCESS_KEY
    secret = server.secret_access_key if default else "(as given)"
    connection = (
        f'{{"conn_type": "lakefs", "host": "{server.endpoint}", "login": "{server.access_key_id}", "password": "..."}}'
    )
    _say(
        f"\n  access key ID      {server.access_key_id}"
        f"\n  secret access key  {secret}"
        f"\n  data               {arguments.data or 'kept until it ends'}"
        "\n\n  lakectl and lakefs-ops find it by"
        f"\n    export LAKECTL_SERVER_ENDPOINT_URL={server.endpoint}"
        f"\n    export LAKECTL_CREDENTIALS_ACCESS_KEY_ID={server.access_key_id}"
        f"\n    export LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY={secret if default else '...'}"
        f"\n  Airflow by\n    export AIRFLOW_CONN_LAKEFS_DEFAULT='{connection}'"
        "\n\nFor development and tests, not for production. Ctrl-C stops it."
    )


def _say(text: str, *, error: bool = False) -> None:
    print(text, file=sys.stderr if error else sys.stdout, flush=True)
