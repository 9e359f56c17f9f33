"""Senders that remember every outcome, and a steady load made of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import parti
from tests.process.history import Outcome, Sent
from tests.process.recorder import boottime_ns

PARTITIONS = 64
BURST_EVERY_S = 0.02
BY_KEY_SHARE = 0.3
SETTLE_S = 40.0


class Sender:
    """One client on one member. What it sends has an id of its own and ends up in `sent`."""

    def __init__(self, name: str, address: str, *, retry: bool = False) -> None:
        self.name = name
        self.sent: list[Sent] = []
        self._retry = retry
        self._client = parti.Client(address, retry=retry)
        self._number = 0

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self._client.ready()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def send(
        self,
        *,
        partition: int | None = None,
        key: str | None = None,
        order: str = "echo",
        timeout_s: float = 30.0,
        idempotent: bool = False,
    ) -> Sent:
        """Send one message and remember what became of it."""
        self._number += 1
        number, name, begun_ns = self._number, f"{self.name}:{self._number}", boottime_ns()
        outcome, reason, epoch = Outcome.ACKNOWLEDGED, "OK", 0
        try:
            reply = await self._client.send(
                partition=partition,
                key=key,
                payload=f"{name} {order}",
                timeout=timeout_s,
                idempotent=idempotent,
            )
            epoch = reply.epoch
        except parti.NotExecuted as error:
            outcome, reason = Outcome.REFUSED, error.reason.name
        except parti.UnknownOutcome as error:
            outcome, reason = Outcome.UNKNOWN, error.reason.name
        sent = Sent(
            name,
            self.name,
            number,
            outcome,
            reason,
            epoch,
            idempotent,
            not self._retry,
            begun_ns,
            boottime_ns(),
        )
        self.sent.append(sent)
        return sent


class Load:
    """Sends steadily through all senders, by partition and by key, until the block ends."""

    def __init__(
        self,
        senders: Sequence[Sender],
        *,
        per_s: float = 300.0,
        timeout_s: float = 30.0,
        seed: int = 1,
        partitions: Sequence[int] = range(PARTITIONS),
    ) -> None:
        self._senders = list(senders)
        self._burst = per_s * BURST_EVERY_S
        self._timeout_s = timeout_s
        self._chance = random.Random(seed)
        self._partitions = partitions
        self._flying: set[asyncio.Task[Sent]] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._flying:
            await asyncio.wait(self._flying, timeout=SETTLE_S)
        assert not self._flying, f"{len(self._flying)} messages without an outcome"
        if not self._task.cancelled():
            self._task.result()

    def leave(self, sender: Sender) -> None:
        """Send nothing more through this one."""
        self._senders.remove(sender)

    def join(self, sender: Sender) -> None:
        """Send through this one, too."""
        self._senders.append(sender)

    async def _run(self) -> None:
        due = 0.0
        while True:
            due += self._burst
            while due >= 1.0:
                due -= 1.0
                self._launch(self._chance.choice(self._senders))
            await asyncio.sleep(BURST_EVERY_S)

    def _launch(self, sender: Sender) -> None:
        partition = self._chance.choice(self._partitions)
        by_key = self._chance.random() < BY_KEY_SHARE
        task = asyncio.create_task(
            sender.send(
                partition=None if by_key else partition,
                key=f"user-{self._chance.randrange(10_000)}" if by_key else None,
                timeout_s=self._timeout_s,
            )
        )
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)


async def settled(sender: Sender, count: int) -> None:
    """Wait until a sender has so many outcomes more than now."""
    goal = len(sender.sent) + count
    deadline = asyncio.get_running_loop().time() + SETTLE_S
    while len(sender.sent) < goal:
        assert asyncio.get_running_loop().time() < deadline, f"{sender.name}: no outcomes"
        await asyncio.sleep(0.01)
