"""The worker of the benchmarks: answers with the payload, does nothing else."""

from __future__ import annotations

import asyncio

import uvloop

import parti


async def echo(message: parti.Message) -> bytes:
    return message.payload


async def main() -> None:
    async with parti.Worker(echo, credits=4096):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
