"""Steady load through several clients on every sidecar; each message's outcome is kept.

The load is open: messages come at their rate whatever became of the earlier ones, as from the
outside world. Only what a client may have in flight is bounded; what that holds back is counted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import parti
from tests.process.chaos.judge import Sent, message_of
from tests.process.chaos.notes import payload_of
from tests.process.history import Outcome

TICK_S: Final = 0.02
CATCH_UP_S: Final = 0.2  # after a stall of this process no more than so much is made up for
STALL_S: Final = 0.3
IN_FLIGHT_MAX: Final = 4_096
SETTLE_S: Final = 45.0
BY_KEY_SHARE: Final = 0.3
KEYS: Final = 10_000
SLEEP_SHARE: Final = 0.05
SLEEP_MS_MAX: Final = 20
IDEMPOTENT_SHARE: Final = 0.3  # of the messages of a client that retries


@dataclass(frozen=True, slots=True)
class Demand:
    """What the load asks for."""

    per_s: float
    partitions: int
    timeouts_s: tuple[float, ...] = (0.5, 2.0, 8.0)  # one is drawn for each burst


class MessageClient:
    """One SDK client beside one sidecar."""

    def __init__(self, sender: int, address: str, *, retry: bool, seed: int) -> None:
        self.sender = sender
        self.sent: list[Sent] = []
        self.in_flight = 0
        self.held_back = 0
        self._retry = retry
        self._client = parti.Client(address, retry=retry)
        self._chance = random.Random(seed)
        self._number = 0
        self._first = self._chance.getrandbits(16)
        self._bursts: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect in the background."""
        await self._client.__aenter__()

    async def close(self) -> None:
        """Every message has an outcome after it."""
        await self.settle()
        await self._client.close()

    async def settle(self) -> None:
        """Wait until every message has an outcome."""
        if self._bursts:
            _, late = await asyncio.wait(self._bursts, timeout=SETTLE_S)
            assert not late, f"{self.in_flight} messages without an outcome"

    def burst(self, count: int, demand: Demand) -> None:
        """Send so many messages at once."""
        room = min(count, IN_FLIGHT_MAX - self.in_flight)
        self.held_back += count - room
        if room > 0:
            # Numbered now: bursts that are made first are sent first.
            messages = [self._message(demand) for _ in range(room)]
            task = asyncio.create_task(self._send(messages, self._number - room, demand))
            self._bursts.add(task)
            task.add_done_callback(self._sent)

    async def visit(self, demand: Demand) -> list[Sent]:
        """Send one message to each partition and wait for what becomes of them."""
        before = len(self.sent)
        messages = [self._message(demand, partition) for partition in range(demand.partitions)]
        await self._send(messages, self._number - len(messages), demand)
        return self.sent[before:]

    async def _send(self, messages: Sequence[parti.Outgoing], first: int, demand: Demand) -> None:
        self.in_flight += len(messages)
        timeout_s = self._chance.choice(demand.timeouts_s)
        outcomes = await self._client.send_many(messages, timeout=timeout_s)
        for at, (message, outcome) in enumerate(zip(messages, outcomes, strict=True)):
            name = message_of(self.sender, first + at)
            self.sent.append(_sent(name, outcome, idempotent=message.idempotent))
        self.in_flight -= len(messages)

    def _message(self, demand: Demand, partition: int | None = None) -> parti.Outgoing:
        chance, number = self._chance, self._number
        self._number += 1
        sleeps = chance.random() < SLEEP_SHARE
        sleep_ms = chance.randint(1, SLEEP_MS_MAX) if sleeps else 0
        payload = payload_of(message_of(self.sender, number), sleep_ms)
        idempotent = self._retry and chance.random() < IDEMPOTENT_SHARE
        if partition is None and chance.random() < BY_KEY_SHARE:
            key = f"user-{chance.randrange(KEYS)}"
            return parti.Outgoing(payload=payload, key=key, idempotent=idempotent)
        if partition is None:  # one after the other: none waits for a message by chance
            partition = (self._first + number) % demand.partitions
        return parti.Outgoing(payload=payload, partition=partition, idempotent=idempotent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._bursts.discard(task)
        if not task.cancelled():
            task.result()


def _sent(message: int, outcome: parti.Reply | parti.PartiError, *, idempotent: bool) -> Sent:
    if isinstance(outcome, parti.Reply):
        return Sent(message, Outcome.ACKNOWLEDGED, outcome.epoch, "", idempotent)
    refused = isinstance(outcome, parti.NotExecuted)
    kind = Outcome.REFUSED if refused else Outcome.UNKNOWN
    return Sent(message, kind, 0, outcome.reason.name, idempotent)


class Load:
    """All clients, and the clock that makes them send."""

    def __init__(self, demand: Demand, seed: int) -> None:
        self.held_back = 0
        self.stalls_ms = 0  # this process, and with it the network, stood still
        self._demand = demand
        self._chance = random.Random(seed)
        self._clients: dict[str, list[MessageClient]] = {}
        self._left: list[MessageClient] = []
        self._senders = 0
        self._task: asyncio.Task[None] | None = None

    async def join(self, member: str, address: str, retries: Iterable[bool]) -> list[int]:
        """Send through this member's sidecar, by one client for each way to treat refusals."""
        clients = []
        for retry in retries:
            seed = self._chance.getrandbits(32)
            client = MessageClient(self._senders, address, retry=retry, seed=seed)
            await client.open()
            self._senders += 1
            clients.append(client)
        self._clients[member] = clients
        return [client.sender for client in clients]

    async def leave(self, member: str) -> None:
        """Send nothing more through this member's sidecar, and wait for what was sent."""
        clients = self._clients.pop(member)
        self._left += clients
        await asyncio.gather(*(client.close() for client in clients))

    def has(self, member: str) -> bool:
        """Whether it sends through this member's sidecar."""
        return member in self._clients

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop sending, and wait until every message has an outcome."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()
        await asyncio.gather(*(client.settle() for client in self._all()))

    async def close(self) -> None:
        """Stop and close all clients."""
        await self.stop()
        for member in list(self._clients):
            await self.leave(member)

    def take_sent(self) -> list[Sent]:
        """What got its outcome since the last call."""
        taken: list[Sent] = []
        for client in [*self._left, *self._all()]:
            taken += client.sent
            client.sent = []
            self.held_back += client.held_back
            client.held_back = 0
        self._left.clear()
        return taken

    async def visit_all(self, demand: Demand) -> None:
        """Reach every partition through every client; fails if one is not reached."""
        visits = (client.visit(demand) for client in self._all())
        for sent in await asyncio.gather(*visits):
            bad = [each for each in sent if each.outcome is not Outcome.ACKNOWLEDGED]
            assert not bad, f"not served: {bad}"

    def _all(self) -> list[MessageClient]:
        return [client for clients in self._clients.values() for client in clients]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        last_s, due = loop.time(), 0.0
        while True:
            await asyncio.sleep(TICK_S)
            now_s = loop.time()
            if now_s - last_s > STALL_S:
                self.stalls_ms += round((now_s - last_s) * 1000)
            due += self._demand.per_s * min(now_s - last_s, CATCH_UP_S)
            last_s = now_s
            clients = self._all()
            if not clients:
                continue
            each = int(due / len(clients))
            due -= each * len(clients)
            for client in clients:
                if each:
                    client.burst(each, self._demand)
