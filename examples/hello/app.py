"""The smallest application: counts visits per user, in the memory of the partition's owner."""

import asyncio
import sys
from collections import Counter

import parti

visits: dict[int, Counter[bytes]] = {}  # by partition: what this process counts now


async def on_assigned(partition: int, epoch: int) -> None:
    print(f"partition {partition} is mine (epoch {epoch})")
    visits[partition] = Counter()


async def on_revoked(partition: int, epoch: int) -> None:
    print(f"partition {partition} goes elsewhere (epoch {epoch})")
    del visits[partition]


async def handle(message: parti.Message) -> str:
    visits[message.partition][message.key] += 1
    return f"visit {visits[message.partition][message.key]} of {message.key.decode()}"


async def visit(user: str) -> None:
    async with parti.Client() as client:
        reply = await client.send(key=user, timeout=5)
        print(reply.payload.decode(), f"(epoch {reply.epoch})")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(visit(sys.argv[1]))
    else:
        parti.Worker(handle, on_assigned=on_assigned, on_revoked=on_revoked).run_forever()
