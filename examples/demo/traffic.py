"""The demo's users: send every event, and heartbeats to every partition, through all sidecars.

Events go through the sidecars in turn. When the sidecar a message went through dies, the message
is sent again through another one: that is safe because the database counts every id once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import parti

EVENTS_PER_S = 150
HEARTBEATS_PER_S = 4  # of each partition
_TIMEOUT_S = 30.0
_IN_FLIGHT_MAX = 2_000
_ERRORS_KEPT_MAX = 5


@dataclass(slots=True)
class Tally:
    """What became of the messages."""

    events: int = 0
    heartbeats: int = 0
    sent_again: int = 0
    failures: int = 0
    errors: list[str] = field(default_factory=list)  # of the first failures


@dataclass(slots=True)
class Served:
    """What the heartbeats of a partition tell."""

    epoch: int = 0  # of the latest reply
    first_of_epoch_at: float = 0.0
    slowest_s: float = 0.0  # since the last look

    def note(self, epoch: int, begun: float) -> None:
        """A heartbeat sent at `begun` was answered just now."""
        now = time.monotonic()
        self.slowest_s = max(self.slowest_s, now - begun)
        if epoch > self.epoch:
            self.epoch = epoch
            self.first_of_epoch_at = now


class Traffic:
    """Sends in the background until everything is sent; `heartbeats` go on until `stop`."""

    def __init__(self, lines: Sequence[str], partitions: int) -> None:
        self.tally = Tally()
        self.served = [Served() for _ in range(partitions)]
        self._lines = lines
        self._clients: dict[str, parti.Client] = {}
        self._turn: deque[str] = deque()
        self._paced = True
        self._beating = True
        self._in_flight: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def use(self, member: str, address: str) -> None:
        """From now on also send through this sidecar."""
        client = parti.Client(address)
        await client.__aenter__()
        await client.ready()
        self._clients[member] = client
        self._turn.append(member)

    async def leave(self, member: str) -> None:
        """Send nothing more through this sidecar; what still waits there goes through another."""
        self._turn.remove(member)
        await self._clients.pop(member).close()

    def start(self) -> None:
        """Begin."""
        self._tasks = [
            asyncio.create_task(self._send_events()),
            asyncio.create_task(self._send_heartbeats()),
        ]

    async def finish(self) -> None:
        """Send the remaining events without pausing, stop the heartbeats, wait for all replies."""
        self._paced = False
        self._beating = False
        for task in self._tasks:
            await task
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    async def close(self) -> None:
        """Stop, finished or not."""
        for task in (*self._tasks, *self._in_flight):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._in_flight, return_exceptions=True)
        for member in list(self._clients):
            await self.leave(member)

    def check_alive(self) -> None:
        """Raise what ended the sending, if something did."""
        for task in self._tasks:
            if task.done():
                task.result()

    def slowest_heartbeat_s(self) -> float:
        """The longest a heartbeat took since the last look."""
        slowest = max(served.slowest_s for served in self.served)
        for served in self.served:
            served.slowest_s = 0.0
        return slowest

    async def _send_events(self) -> None:
        for line in self._lines:
            await self._launch(self._event(line))
            if self._paced:
                await asyncio.sleep(1 / EVENTS_PER_S)

    async def _send_heartbeats(self) -> None:
        beat = 0
        while self._beating:
            beat += 1
            for partition in range(len(self.served)):
                await self._launch(self._heartbeat(partition, beat))
                await asyncio.sleep(1 / HEARTBEATS_PER_S / len(self.served))

    async def _launch(self, message: Coroutine[Any, Any, None]) -> None:
        if len(self._in_flight) >= _IN_FLIGHT_MAX:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(message)
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _event(self, line: str) -> None:
        user = line.split()[2]
        reply = await self._deliver(
            lambda client: client.send(key=user, payload=line, timeout=_TIMEOUT_S, idempotent=True)
        )
        self.tally.events += reply is not None

    async def _heartbeat(self, partition: int, beat: int) -> None:
        begun = time.monotonic()
        reply = await self._deliver(
            lambda client: client.send(
                partition=partition,
                payload=f"heartbeat {beat}",
                timeout=_TIMEOUT_S,
                idempotent=True,
            )
        )
        if reply is not None:
            self.tally.heartbeats += 1
            self.served[partition].note(reply.epoch, begun)

    async def _deliver(
        self, send: Callable[[parti.Client], Coroutine[Any, Any, parti.Reply]]
    ) -> parti.Reply | None:
        """Send, and again through another sidecar if the first one is gone."""
        while True:
            self._turn.rotate()
            member = self._turn[0]
            try:
                return await send(self._clients[member])
            except parti.PartiError as error:
                if member in self._clients:
                    self._note_failure(f"through {member}: {error}")
                    return None
                self.tally.sent_again += 1

    def _note_failure(self, text: str) -> None:
        self.tally.failures += 1
        if len(self.tally.errors) < _ERRORS_KEPT_MAX:
            self.tally.errors.append(text)
