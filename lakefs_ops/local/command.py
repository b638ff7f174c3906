"""``lakefs-ops local``: runs a server on the command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from lakefs_ops.local.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from lakefs_ops.local.server import LocalLakeFS

STOPPING = 8.0
"""How long the server takes at most to stop, in seconds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("--data", type=Path, metavar="DIR", help="data directory (default: a temporary one)")
    parser.add_argument("--port", type=int, default=8000, help="the port, 0 for a free one (default: 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--access-key-id", default=ACCESS_KEY_ID, metavar="KEY", help="the access key")
    parser.add_argument("--secret-access-key", default=SECRET_ACCESS_KEY, metavar="SECRET", help="its secret")
    parser.add_argument("--sample", action="store_true", help="create a repository with sample objects")
    parser.add_argument("--no-installation", action="store_true", help="wait for the setup call")
    parser.add_argument("--faults", action="store_true", help="serve faults over HTTP, at /_faults")
    parser.add_argument("--presign", action="store_true", help="offer presigned addresses")
    parser.add_argument(
        "--allow-import", action="append", default=[], metavar="DIR", help="imports may read from this folder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM.

    Returns:
        The exit status: 0, or 1 when the server cannot start.
    """
    try:
        server = LocalLakeFS(
            arguments.data,
            port=arguments.port,
            host=arguments.host,
            access_key_id=arguments.access_key_id,
            secret_access_key=arguments.secret_access_key,
            installed=not arguments.no_installation,
            allow_import=arguments.allow_import,
            faults_endpoint=arguments.faults,
            presign=arguments.presign,
        )
    except ValueError as error:
        _print(f"lakefs-ops: {error}", error=True)
        return 1
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server.start()
        if arguments.sample:
            server.load_sample()
    except OSError as error:
        _print(f"lakefs-ops: cannot start: {error}", error=True)
        server.stop()
        return 1
    try:
        _greet(server, arguments)
        stop.wait()
    finally:
        threading.Thread(target=_exit_in_time, daemon=True).start()
        server.stop()
    return 0


def _exit_in_time() -> None:
    """End the process if requests or hooks hang; what the server acknowledged is on disk."""
    time.sleep(STOPPING)
    _print(f"lakefs-ops: requests or hooks were still running after {STOPPING:g} s and were abandoned", error=True)
    os._exit(0)


def _greet(server: LocalLakeFS, arguments: argparse.Namespace) -> None:
    _print(server.endpoint)
    if arguments.no_installation:
        return
    default = server.secret_access_key == SECRET_ACCESS_KEY
    secret = server.secret_access_key if default else "(as given)"
    connection = (
        f'{{"conn_type": "lakefs", "host": "{server.endpoint}", "login": "{server.access_key_id}", "password": "..."}}'
    )
    _print(
        f"\n  access key ID      {server.access_key_id}"
        f"\n  secret access key  {secret}"
        f"\n  data               {arguments.data or 'temporary'}"
        "\n\n  settings for lakectl and lakefs-ops"
        f"\n    export LAKECTL_SERVER_ENDPOINT_URL={server.endpoint}"
        f"\n    export LAKECTL_CREDENTIALS_ACCESS_KEY_ID={server.access_key_id}"
        f"\n    export LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY={secret if default else '...'}"
        f"\n  connection for Airflow\n    export AIRFLOW_CONN_LAKEFS_DEFAULT='{connection}'"
        "\n\nFor development and tests, not for production. Stop with Ctrl-C."
    )


def _print(text: str, *, error: bool = False) -> None:
    print(text, file=sys.stderr if error else sys.stdout, flush=True)
