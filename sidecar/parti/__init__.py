"""parti: send messages to the owners of their partitions, and serve the partitions of this pod.

    async with parti.Client() as client:
        reply = await client.send(key="user-42", payload=b"hello")

    async def handle(message: parti.Message) -> bytes:
        return b"served under epoch %d" % message.epoch

    parti.Worker(handle).run_forever()

Beside messages there is a replicated key-value store (`client.kv`, `parti.kv`) with locks
(`client.lock`) and elections (`client.elect`).

All talk only to the sidecar of their own pod (`PARTI_ADDRESS`, default 127.0.0.1:5100). For
scripts without asyncio there is `SyncClient`; for unit tests of applications `parti.testing`.
"""

from parti import kv
from parti._client import Client
from parti._errors import (
    Executed,
    HandlerFailed,
    NotExecuted,
    PartiError,
    Reason,
    UnknownOutcome,
)
from parti._locks import Election, Lock, LockLost
from parti._sync import SyncClient
from parti._sync_kv import SyncElection, SyncKv, SyncLock
from parti._values import (
    ClientCounts,
    Location,
    Message,
    Outgoing,
    Phase,
    Reply,
    TableChange,
    WorkerCounts,
)
from parti._worker import Worker

__all__ = [
    "Client",
    "ClientCounts",
    "Election",
    "Executed",
    "HandlerFailed",
    "Location",
    "Lock",
    "LockLost",
    "Message",
    "NotExecuted",
    "Outgoing",
    "PartiError",
    "Phase",
    "Reason",
    "Reply",
    "SyncClient",
    "SyncElection",
    "SyncKv",
    "SyncLock",
    "TableChange",
    "UnknownOutcome",
    "Worker",
    "WorkerCounts",
    "kv",
]
