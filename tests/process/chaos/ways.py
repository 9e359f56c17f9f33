"""One direction of one connection as a network treats it: held, late, slow, or lost silently.

A `Way` is the state of the network from one member to another; all connections between the two
share it. A `Pipe` carries the bytes of one connection along a way: whatever comes in leaves in the
same order, as soon as the way lets it. The end of a connection travels in the queue like its bytes,
so a process that dies behind a cut looks alive until the cut is healed.

What a pipe holds is bounded: above `HELD_BYTES_MAX` it reads no more, and the sender's kernel
fills.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

HELD_BYTES_MAX: Final = 256 << 10
END: Final = b""  # in the queue: the sender writes nothing more


@dataclass(frozen=True, slots=True)
class Condition:
    """What the network does with bytes that go one way."""

    cut: bool = False
    delay_ms: int = 0
    bytes_per_s: int = 0  # 0: as fast as it can


CLEAR: Final = Condition()


@dataclass(slots=True)
class Way:
    """The network from one member to another."""

    condition: Condition = CLEAR
    pipes: set[Pipe] = field(default_factory=set)
    waiting: set[asyncio.Future[None]] = field(default_factory=set)

    def change(self, condition: Condition) -> None:
        """Treat everything so from here on, also what is held already."""
        self.condition = condition
        for pipe in list(self.pipes):
            pipe.pump()
        if not condition.cut:
            for future in self.waiting:
                if not future.done():
                    future.set_result(None)
            self.waiting.clear()

    async def passable(self) -> None:
        """Wait until it is not cut."""
        while self.condition.cut:
            future = asyncio.get_running_loop().create_future()
            self.waiting.add(future)
            await future


class Pipe:
    """Carries what one transport receives to another one."""

    def __init__(self, way: Way, on_lost: Callable[[], None]) -> None:
        self._way = way
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._source: asyncio.Transport | None = None
        self._sink: asyncio.Transport | None = None
        self._queue: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        self._free_at_s = 0.0  # a slow way is busy until then
        self._sink_full = self._source_paused = self._source_lost = self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        way.pipes.add(self)

    def reads_from(self, source: asyncio.Transport) -> None:
        self._source = source

    def writes_to(self, sink: asyncio.Transport) -> None:
        """Bytes can leave from here on."""
        self._sink = sink
        self.pump()

    def received(self, data: bytes) -> None:
        """The source has read something, or `END`."""
        self._queue.append((self._loop.time(), data))
        self._held_bytes += len(data)
        self.pump()
        if self._held_bytes > HELD_BYTES_MAX and self._source is not None:
            self._source_paused = True
            self._source.pause_reading()

    def source_lost(self) -> None:
        """The source is gone; the sink learns it after everything that is still held."""
        self._source_lost = True
        self._source = None
        self.pump()

    def sink_full(self, *, full: bool) -> None:
        self._sink_full = full
        self.pump()

    def close(self) -> None:
        """Carry nothing any more."""
        self._closed = True
        self._way.pipes.discard(self)
        self._queue.clear()
        self._disarm()

    def pump(self) -> None:
        """Let out what may leave now, and look again when the next piece may."""
        self._disarm()
        if self._closed:
            return
        while self._queue and self._sink is not None and not self._sink_full:
            condition, (came_s, data) = self._way.condition, self._queue[0]
            if condition.cut:
                return
            leaves_s = max(came_s + condition.delay_ms / 1000, self._free_at_s)
            if leaves_s > self._loop.time():
                self._timer = self._loop.call_at(leaves_s, self.pump)
                return
            self._queue.popleft()
            self._held_bytes -= len(data)
            if condition.bytes_per_s:
                self._free_at_s = self._loop.time() + len(data) / condition.bytes_per_s
            self._write(data)
        self._read_on()
        cut = self._way.condition.cut
        if self._source_lost and not self._queue and not cut:
            self._on_lost()

    def _write(self, data: bytes) -> None:
        assert self._sink is not None
        if self._sink.is_closing():
            return
        if data == END:
            with suppress(OSError):  # broken by the peer, of which the loop will tell
                self._sink.write_eof()
        else:
            self._sink.write(data)

    def _read_on(self) -> None:
        if self._source_paused and self._held_bytes <= HELD_BYTES_MAX // 2:
            self._source_paused = False
            if self._source is not None and not self._source.is_closing():
                self._source.resume_reading()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
