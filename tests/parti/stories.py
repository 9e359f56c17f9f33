"""A handler and callbacks that record what the worker calls."""

from __future__ import annotations

import asyncio

from parti import Message, Worker
from parti._assignments import Concurrency
from parti.testing import FakeSidecar


async def echo(message: Message) -> bytes:
    return message.payload


class Story:
    """Records what the worker calls, in order; handlers wait for `go`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.go = asyncio.Event()
        self.running = 0

    async def handle(self, message: Message) -> bytes:
        name = f"{message.partition}:{message.payload.decode()}"
        self.events.append(f"enter {name}")
        self.running += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.events.append(f"cancelled {name}")
            raise
        finally:
            self.running -= 1
        self.events.append(f"exit {name}")
        return message.payload

    async def on_assigned(self, partition: int, epoch: int) -> None:
        self.events.append(f"assigned {partition} {epoch}")

    async def on_revoked(self, partition: int, epoch: int) -> None:
        self.events.append(f"revoked {partition} {epoch}")

    def worker(self, sidecar: FakeSidecar, concurrency: Concurrency = "partition") -> Worker:
        return Worker(
            self.handle,
            sidecar.address,
            concurrency=concurrency,
            on_assigned=self.on_assigned,
            on_revoked=self.on_revoked,
        )
