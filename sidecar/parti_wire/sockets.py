"""The sockets below streams of frames, with every option that matters pinned."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

UNWRITTEN_BYTES_HIGH = 256 << 10  # above it nothing more is taken for a stream
UNWRITTEN_BYTES_LOW = 64 << 10  # below it again

Make = Callable[[], asyncio.Protocol]


async def dial(host: str, port: int, make: Make) -> None:
    """Connect to a host by name or address. Raises OSError."""
    await asyncio.get_running_loop().create_connection(make, host, port)


async def dial_unix(path: str, make: Make) -> None:
    """Connect to a unix socket. Raises OSError."""
    await asyncio.get_running_loop().create_unix_connection(make, path)


def tune(transport: asyncio.Transport, unconfirmed_ms: int) -> None:
    """Set what both ends of a stream want of their connection."""
    transport.set_write_buffer_limits(high=UNWRITTEN_BYTES_HIGH, low=UNWRITTEN_BYTES_LOW)
    connection = transport.get_extra_info("socket")
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if unconfirmed_ms:  # beware: a peer that does not read for so long is given up, too
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unconfirmed_ms)
