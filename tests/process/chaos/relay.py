"""One connection that goes through the network: two sockets and a pipe each way."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

from tests.process.chaos.ways import END, Pipe, Way

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time


class Relay:
    """Carries one connection of a dialler to a port of a listener until both sides are gone."""

    def __init__(self, there: Way, back: Way, on_gone: Callable[[Relay], None]) -> None:
        self._there = Pipe(there, self._far_leaves)
        self._back = Pipe(back, self._near_leaves)
        self._on_gone = on_gone
        self.near = End(self._there, self._back, self._check_gone)  # the dialler's
        self.far = End(self._back, self._there, self._check_gone)  # the listener's

    def half_open(self) -> None:
        """The listener finds it broken; the dialler hears nothing and writes into the void."""
        self._stop_pipes()
        self.near.deaf = True
        self.far.break_off()

    def reset(self) -> None:
        """Both sides find it broken."""
        self._stop_pipes()
        self.near.break_off()
        self.far.break_off()

    def _stop_pipes(self) -> None:
        for pipe in (self._there, self._back):
            pipe.close()

    def _far_leaves(self) -> None:
        """The dialler has gone, and the news has come through."""
        self.far.leave()

    def _near_leaves(self) -> None:
        self.near.leave()

    def _check_gone(self) -> None:
        if self.near.gone and self.far.gone:
            self._stop_pipes()
            self._on_gone(self)


class End(asyncio.Protocol):
    """One of the two sockets. It is gone when it is closed, or will never be connected."""

    def __init__(self, out: Pipe, into: Pipe, on_gone: Callable[[], None]) -> None:
        self.deaf = False
        self.gone = False
        self._out = out  # takes what this socket receives
        self._into = into  # writes to this socket
        self._on_gone = on_gone
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast("asyncio.Transport", transport)  # uvloop's is none by name
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.gone:  # given up while it was being dialled
            self.break_off()
            return
        self._out.reads_from(stream)
        self._into.writes_to(stream)

    def data_received(self, data: bytes) -> None:
        if not self.deaf:
            self._out.received(data)

    def eof_received(self) -> bool:
        if not self.deaf:
            self._out.received(END)
        return not self.deaf  # the other direction goes on

    def pause_writing(self) -> None:
        self._into.sink_full(full=True)

    def resume_writing(self) -> None:
        self._into.sink_full(full=False)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        if not self.deaf:
            self._out.source_lost()
        self._on_gone()

    def leave(self) -> None:
        """Close after what was written."""
        if self._transport is not None:
            self._transport.close()

    def break_off(self) -> None:
        """Close so that the peer finds the connection reset, whatever was written."""
        if self._transport is None:
            self.gone = True
            self._on_gone()
            return
        if not self._transport.is_closing():
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()
