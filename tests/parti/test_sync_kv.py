"""The blocking client's store, locks and elections, against the fake sidecar."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from parti import LockLost, SyncClient, kv
from parti.testing import FakeSidecar

T = TypeVar("T")


async def beside(script: Callable[[SyncClient], T]) -> T:
    """Run a blocking script with a client of a sidecar of its own."""

    def run(address: str) -> T:
        with SyncClient(address) as client:
            return script(client)

    async with FakeSidecar() as sidecar:
        return await asyncio.to_thread(run, sidecar.address)


async def test_every_call_of_the_store_blocks_and_returns() -> None:
    def script(client: SyncClient) -> None:
        store = client.kv
        assert store.get("a") is None
        assert store.put("a", "1") == 1
        assert store.get("a") == kv.Entry(b"1", 1, 1)
        assert store.get("a", stale=True) == kv.Entry(b"1", 1, 1)
        assert store.cas("a", "2", expect=9) == kv.CasResult(ok=False, revision=1)
        assert store.cas("a", "2", expect=1)
        done = store.txn([kv.Compare("a", value="2")], then=[kv.Put("b", "3")])
        assert done.succeeded
        page = store.page(limit=1)
        assert [item.key for item in page.items] == [b"a"]
        assert page.more
        assert [item.key for item in store.range()] == [b"a", b"b"]
        assert store.delete("a")
        assert not store.delete("a")

    await beside(script)


async def test_a_watch_yields_changes_until_it_is_closed() -> None:
    def script(client: SyncClient) -> list[kv.Change]:
        changes = client.kv.watch("a", after=0)
        for value in ("1", "2"):
            client.kv.put("a", value)
        seen = [next(changes), next(changes)]
        changes.close()  # type: ignore[attr-defined]  # a generator
        return seen

    assert await beside(script) == [kv.Change(b"a", b"1", 1), kv.Change(b"a", b"2", 2)]


async def test_closing_the_client_wakes_who_still_waits() -> None:
    def script(client: SyncClient) -> None:
        waits = threading.Event()

        def watch() -> None:
            changes = client.kv.watch(after=0)
            client.kv.put("a", "1")
            next(changes)
            waits.set()
            next(changes)

        with ThreadPoolExecutor(1) as threads:
            watching = threads.submit(watch)
            assert waits.wait(5)
            client.close()
            with pytest.raises(RuntimeError, match="closed"):
                watching.result(5)

    await beside(script)


async def test_one_lock_is_held_by_one_thread_at_a_time() -> None:
    def script(client: SyncClient) -> list[int]:
        holders: list[int] = []
        tokens: list[int] = []

        def work(number: int) -> None:
            with client.lock("one", value=str(number)) as lock:
                holders.append(number)
                tokens.append(lock.token)
                assert lock.held
                assert holders[-1] == number
                assert not lock.wait_lost(0.01)
                assert holders[-1] == number, "another one got it meanwhile"

        with ThreadPoolExecutor(4) as threads:
            for future in [threads.submit(work, number) for number in range(4)]:
                future.result(20)
        return tokens

    tokens = await beside(script)
    assert tokens == sorted(set(tokens))


async def test_a_lock_that_is_held_is_not_given() -> None:
    def script(client: SyncClient) -> None:
        with client.lock("one") as first:
            second = client.lock("one")
            assert not second.acquire(wait=False)
            assert not second.acquire(timeout=0.05)
            assert first.name == "one"
            first.check()
        assert second.acquire(timeout=5)
        second.release()
        with pytest.raises(LockLost):
            _ = second.token

    await beside(script)


async def test_a_lost_lock_says_so() -> None:
    def run(address: str, lose: Callable[[], None]) -> bool:
        with SyncClient(address) as client, client.lock("one", ttl=1) as lock:
            lose()
            assert lock.wait_lost(10)
            return lock.held

    async with FakeSidecar() as sidecar:
        loop = asyncio.get_running_loop()

        def lose() -> None:
            loop.call_soon_threadsafe(sidecar.store.expire_sessions)

        assert not await asyncio.to_thread(run, sidecar.address, lose)


async def test_an_election_tells_who_leads() -> None:
    def script(client: SyncClient) -> None:
        election = client.elect("main", "pod-1")
        assert election.leader().token == 0
        with election as leading:
            assert leading.leader().value == b"pod-1"
            assert next(iter(leading.observe())).token == leading.token

    await beside(script)


def test_a_client_that_is_not_open_has_no_store() -> None:
    client = SyncClient("127.0.0.1:1")
    for use in (lambda: client.kv, lambda: client.lock("a"), lambda: client.elect("a")):
        with pytest.raises(RuntimeError, match="not open"):
            use()
