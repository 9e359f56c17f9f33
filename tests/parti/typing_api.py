"""The public surface as a type checker sees it: checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type

import parti
from parti.testing import FakeSidecar, run_handler


async def handle(message: parti.Message) -> bytes:
    assert_type(message.partition, int)
    assert_type(message.epoch, int)
    assert_type(message.key, bytes)
    assert_type(message.remaining, float)
    return message.payload


def plain(message: parti.Message) -> str | None:
    return message.headers.get("name")


async def on_assigned(partition: int, epoch: int) -> None: ...


def on_revoked(partition: int, epoch: int) -> None: ...


async def client_calls() -> None:
    async with parti.Client("unix:/run/parti.sock", retry=False) as client:
        reply = await client.send(key="k", payload="p", headers={"a": "b"}, timeout=1)
        assert_type(reply, parti.Reply)
        assert_type(reply.payload, bytes)
        assert_type(reply.epoch, int)
        outcomes = await client.send_many([parti.Outgoing(key=b"k", idempotent=True)])
        assert_type(outcomes, list[parti.Reply | parti.PartiError])
        assert_type(await client.locate(partition=1), parti.Location)
        async for change in client.watch_table():
            assert_type(change, parti.TableChange)
            assert_type(change.changed, tuple[parti.Location, ...])


async def worker_calls() -> None:
    worker = parti.Worker(handle, concurrency="key", on_assigned=on_assigned, on_revoked=on_revoked)
    async with worker:
        await worker.ready(timeout=5)
        assert_type(worker.partitions, dict[int, int])
    parti.Worker(plain).run_forever()
    parti.Worker(handle, concurrency="any")  # type: ignore[arg-type]


def sync_calls() -> None:
    with parti.SyncClient() as client:
        assert_type(client.send(partition=3), parti.Reply)
        assert_type(client.watch_table(), Iterator[parti.TableChange])
        assert_type(client.kv.get("a"), parti.kv.Entry | None)
        assert_type(client.kv.cas("a", None, expect=3), parti.kv.CasResult)
        assert_type(client.kv.range(), Iterator[parti.kv.Item])
        assert_type(client.kv.watch(after=1), Iterator[parti.kv.Change])
        with client.lock("a", ttl=5) as lock:
            assert_type(lock.token, int)
        with client.elect("a", "me") as leading:
            assert_type(leading.leader(), parti.kv.LockState)


async def errors(client: parti.Client) -> None:
    try:
        await client.send(partition=1)
    except parti.NotExecuted as error:
        assert_type(error.reason, parti.Reason)
        assert_type(error.retryable, bool)
    except (parti.UnknownOutcome, parti.HandlerFailed) as error:
        assert_type(error.executed, parti.Executed)
        assert_type(error.retry_after_ms, int)


async def testing() -> None:
    async with FakeSidecar(partitions=4) as sidecar:
        assert_type(sidecar.address, str)
        assert_type(await sidecar.move(0), int)
        assert_type(sidecar.store.value("a"), bytes | None)
    assert_type(await run_handler(plain, b"p"), bytes)
