"""Sends the bytes of large objects from their file to the socket, without copying them through Python."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from typing import Any, Protocol

from lakefs_ops.local.store.blobs import FilePart

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LARGE = 1 << 20
"""Smallest part of a file that a thread sends to the socket itself, in bytes."""

TURN = 16 << 20
"""Number of bytes that a thread sends to one socket before others may have it."""

IDLE = 0.01
"""How long a thread waits for a slow client before others may have it, in seconds."""


class Connection(Protocol):
    """A connection to whose socket a body can be sent without the server's event loop.

    Attributes:
        transport: the transport.
    """

    transport: asyncio.Transport

    def sink(self, send: Send) -> tuple[socket.socket, Callable[[int], None]] | None:
        """Return a socket to send a part of the body to, and what to call with the number of sent bytes; else None."""


async def send_part(part: FilePart, send: Send, connection: Connection, pool: Executor) -> bool:
    """Send a large part of a file, as far as that is possible; update the part.

    A thread sends in turns; the event loop waits for a client that is slower.

    Args:
        part: the part, whose start moves on.
        send: what has sent the head of the response.
        connection: its connection.
        pool: the threads.

    Returns:
        Whether the client is still there.
    """
    if part.length < LARGE or (sink := connection.sink(send)) is None:
        return True
    (target, count), loop, before = sink, asyncio.get_running_loop(), part.start
    with target:
        try:
            while await loop.run_in_executor(pool, _send_turn, part, target):
                ready = loop.create_future()
                loop.add_writer(target, ready.set_result, None)
                try:
                    await ready
                finally:
                    loop.remove_writer(target)
        except ConnectionError:
            connection.transport.abort()
            await asyncio.sleep(0)  # lets the server notice
            return False
    count(part.start - before)
    return True


def _send_turn(part: FilePart, target: socket.socket) -> bool:
    """Send a turn; return whether more can be sent."""
    target.settimeout(IDLE)
    waits = False
    try:
        file, position = part.plain_file()
        file.seek(position)
        sent = target.sendfile(file, position, min(part.length, TURN))
    except TimeoutError:
        sent, waits = file.tell() - position, True
    except EOFError:
        return False
    part.start += sent
    part.length -= sent
    return part.length > 0 and (sent > 0 or waits)
