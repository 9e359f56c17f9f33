"""`client.kv`, locks and elections against a sidecar with the real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import parti
from parti import _limits as limits
from parti import kv
from parti._kv_sessions import Session
from tests.parti.kv_world import Sidecar, sidecar
from tests.parti_sidecar.driver_world import until


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sidecar]:
    async with sidecar(monkeypatch) as made:
        yield made


@pytest.fixture
async def client(world: Sidecar) -> AsyncIterator[parti.Client]:
    async with parti.Client(world.address) as opened:
        yield opened


async def test_put_get_delete(client: parti.Client) -> None:
    assert await client.kv.get("k") is None
    assert await client.kv.put("k", "v") == 1
    assert await client.kv.get(b"k") == kv.Entry(b"v", 1, 1)
    assert await client.kv.get("k", stale=True) == kv.Entry(b"v", 1, 1)
    assert await client.kv.delete("k") is True
    assert await client.kv.delete("k") is False
    assert await client.kv.get("k", stale=True) is None


async def test_compare_and_set(client: parti.Client) -> None:
    assert await client.kv.cas("k", "v", expect=0) == kv.CasResult(ok=True, revision=1)
    refused = await client.kv.cas("k", "w", expect=0)
    assert not refused
    assert refused.revision == 1
    assert await client.kv.cas("k", None, expect=1)
    assert not await client.kv.cas("k", None, expect=1)


async def test_transactions(client: parti.Client) -> None:
    await client.kv.put("a", "1")
    result = await client.kv.txn(
        [kv.Compare("a", value="1"), kv.Compare("b", revision=0)],
        [kv.Put("b", "2"), kv.Get("b"), kv.Delete("a")],
        [kv.Get("a")],
    )
    assert result
    assert result.actions[1].value == b"2"
    again = await client.kv.txn([kv.Compare("a", "!=", value="x")], [], [kv.Get("a")])
    assert again.succeeded
    created = await client.kv.txn([kv.Compare("b", "<", created=2)], [], [kv.Get("b")])
    assert not created
    assert created.actions[0].value == b"2"


def test_a_compare_names_one_thing() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        kv.Compare("a").message()
    with pytest.raises(ValueError, match="no relation"):
        kv.Compare("a", "=", revision=1).message()


async def test_ranges(client: parti.Client) -> None:
    keys = [b"a/%04d" % number for number in range(1_500)]
    await asyncio.gather(*(client.kv.put(key, "v") for key in [*keys, b"b"]))
    found = [item.key async for item in client.kv.range("a/", keys_only=True)]
    assert found == keys
    page = await client.kv.page("a/", after=keys[9], limit=2, stale=True)
    assert [item.key for item in page.items] == keys[10:12]
    assert page.more


@pytest.mark.parametrize("key", ["", "k" * 1025])
async def test_keys_have_bounds(client: parti.Client, key: str) -> None:
    for call in (client.kv.get(key), client.kv.put(key, ""), client.kv.delete(key)):
        with pytest.raises(parti.NotExecuted):
            await call


async def test_values_have_bounds(client: parti.Client) -> None:
    largest = bytes(limits.KV_VALUE_BYTES_MAX)
    await client.kv.put("k", largest)
    entry = await client.kv.get("k")
    assert entry is not None
    assert entry.value == largest
    with pytest.raises(parti.NotExecuted) as raised:
        await client.kv.put("k", largest + b"x")
    assert raised.value.reason is parti.Reason.PAYLOAD_TOO_LARGE
    with pytest.raises(TypeError):
        await client.kv.put("k", 5)  # type: ignore[arg-type]


async def test_a_full_store_says_so(world: Sidecar, client: parti.Client) -> None:
    await client.kv.put("k", "v")
    world.kv._bytes_max = 0
    await until(lambda: world.store.bytes_max == 0)
    with pytest.raises(parti.NotExecuted) as raised:
        await client.kv.put("other", "v")
    assert raised.value.reason is parti.Reason.STORE_FULL


async def test_operations_of_one_moment_share_a_frame(world: Sidecar, client: parti.Client) -> None:
    await client.kv.put("k", "v")
    frames = world.meter.frames["KV.Stream", "in"]
    await asyncio.gather(*(client.kv.put(f"k{n}", "v") for n in range(200)))
    assert world.meter.frames["KV.Stream", "in"] - frames < 5


async def test_writes_outlive_the_connection_and_count_once(
    world: Sidecar, client: parti.Client
) -> None:
    await client.kv.put("count", "0")

    async def add_one() -> None:
        await client.kv.txn(then=[kv.Get("count"), kv.Put("count", "x")])

    revision = world.store.revision
    for _ in range(5):
        adding = [asyncio.ensure_future(add_one()) for _ in range(40)]
        await until(lambda: world.meter.messages["KV.Stream", "in"])
        await world.close()
        await world.open()
        await asyncio.gather(*adding)
    assert world.store.revision == revision + 200


async def test_when_its_session_expired_a_client_opens_another(
    world: Sidecar, client: parti.Client
) -> None:
    await client.kv.put("k", "1")
    (session,) = world.store.sessions.open
    world.kv.keeper._ending[session] = 0  # as if it had been silent
    world.kv.close_session(object(), session, world.driver.now_ms(), 1_000)
    world.driver.touch()
    await until(lambda: not world.store.sessions.open)
    await client.kv.put("k", "2")
    assert world.value(b"k") == b"2"
    assert list(world.store.sessions.open) == [session + 1]


async def test_answers_are_acknowledged_at_rest(world: Sidecar, client: parti.Client) -> None:
    await asyncio.gather(*(client.kv.put(f"k{n}", "v") for n in range(50)))
    await until(lambda: world.store.sessions.answers_kept == 0)


async def test_closing_ends_the_session(world: Sidecar, client: parti.Client) -> None:
    await client.kv.put("k", "1")
    assert world.store.sessions.open
    await client.close()
    await until(lambda: not world.store.sessions.open)


async def test_without_a_sidecar_calls_end_in_time(world: Sidecar, client: parti.Client) -> None:
    await client.kv.put("k", "1")
    await world.close()
    for call in (client.kv.get("k", timeout=0.3), client.kv.page(timeout=0.3)):
        with pytest.raises(parti.NotExecuted):
            await call
    with pytest.raises(parti.PartiError) as raised:
        await client.kv.put("k", "2", timeout=0.3)
    assert raised.value.reason is parti.Reason.DEADLINE_EXCEEDED
    await world.open()


async def test_a_watch_goes_on_after_a_lost_connection(
    world: Sidecar, client: parti.Client
) -> None:
    await client.kv.put("a", "0")
    seen: list[kv.Change] = []

    async def watch() -> None:
        async for change in client.kv.watch("a", after=0):
            seen.append(change)  # noqa: PERF401 - looked at meanwhile

    watching = asyncio.ensure_future(watch())
    await until(lambda: seen)
    await client.kv.put("a/1", "1")
    await world.close()
    await world.open()
    await client.kv.delete("a")
    await client.kv.put("b", "not seen")
    await until(lambda: len(seen) == 3)
    watching.cancel()
    assert seen == [
        kv.Change(b"a", b"0", 1),
        kv.Change(b"a/1", b"1", 2),
        kv.Change(b"a", None, 3),
    ]


async def test_a_watch_says_when_changes_are_gone(world: Sidecar, client: parti.Client) -> None:
    await client.kv.put("a", "0")
    world.store.history.begin_after(world.store.revision)
    with pytest.raises(parti.PartiError) as raised:
        async for _ in client.kv.watch("a", after=0):
            pass
    assert raised.value.reason is parti.Reason.COMPACTED


# --- locks ------------------------------------------------------------------------------------


async def test_one_holds_a_lock_at_a_time_with_rising_tokens(client: parti.Client) -> None:
    holders = 0
    tokens: list[int] = []

    async def work() -> None:
        nonlocal holders
        async with client.lock("l") as lock:
            holders += 1
            assert holders == 1
            tokens.append(lock.token)
            await client.kv.put("k", "v")
            holders -= 1

    await asyncio.gather(*(work() for _ in range(10)))
    assert tokens == sorted(set(tokens))


async def test_trying_and_waiting_with_a_limit(world: Sidecar, client: parti.Client) -> None:
    async with client.lock("l") as first:
        other = client.lock("l")
        assert not await other.acquire(wait=False)
        assert not await other.acquire(timeout=0.2)
        assert not other.held
        await until(lambda: world.store.lock(b"l").waiting == 0)
        with pytest.raises(RuntimeError, match="taken already"):
            await first.acquire()
    assert await other.acquire(wait=False)
    await other.release()
    await until(lambda: not world.store.locks.queues)


async def test_a_released_lock_is_not_held(client: parti.Client) -> None:
    lock = client.lock("l")
    async with lock:
        assert lock.held
    assert not lock.held
    assert not lock.lost.is_set()
    with pytest.raises(parti.LockLost):
        lock.check()


async def test_a_lock_that_cannot_be_kept_alive_is_lost_before_the_cluster_ends_it(
    world: Sidecar, client: parti.Client
) -> None:
    async with client.lock("l", ttl=1.0) as lock:
        assert lock.token
        await world.close()
        async with asyncio.timeout(5):
            await lock.lost.wait()
        assert world.store.lock(b"l").session, "the cluster counts longer"
        with pytest.raises(parti.LockLost):
            _ = lock.token
        await world.open()
    await until(lambda: not world.store.lock(b"l").session)


async def test_a_lock_whose_session_ended_is_lost(world: Sidecar, client: parti.Client) -> None:
    async with client.lock("l", ttl=1.0) as lock:
        session = world.store.lock(b"l").session
        world.kv.close_session(object(), session, world.driver.now_ms(), 1_000)
        world.driver.touch()
        async with asyncio.timeout(5):
            await lock.lost.wait()


async def test_a_lock_is_kept_alive(world: Sidecar, client: parti.Client) -> None:
    async with client.lock("l", ttl=1.0) as lock:
        session = lock._session
        assert isinstance(session, Session)
        until_ms = session.until_ms
        await until(lambda: session.until_ms > until_ms + 1_000)
        assert lock.held
        assert world.store.lock(b"l").token == lock.token


async def test_a_ttl_has_bounds(client: parti.Client) -> None:
    with pytest.raises(parti.NotExecuted):
        await client.lock("l", ttl=0.1).acquire()


async def test_an_election_is_observed(world: Sidecar, client: parti.Client) -> None:
    watcher = client.elect("main")
    assert (await watcher.leader()).token == 0
    seen: list[tuple[bytes, bool]] = []

    async def observe() -> None:
        async for state in watcher.observe():
            seen.append((state.value, state.token > 0))  # noqa: PERF401

    observing = asyncio.ensure_future(observe())
    await until(lambda: seen)
    async with client.elect("main", "one") as one:
        assert (await watcher.leader()).value == b"one"
        assert (await watcher.leader()).token == one.token
        second = client.elect("main", "two")
        waiting = asyncio.ensure_future(second.acquire())
        await until(lambda: any(value == b"one" for value, _ in seen))
        await until(lambda: world.store.lock(b"main").waiting)
    assert await waiting
    await second.release()
    await until(lambda: seen[-1] == (b"", False))
    observing.cancel()
    values = [value for value, _ in seen]
    assert [value for n, value in enumerate(values) if values[n - 1 : n] != [value]] == [
        b"",
        b"one",
        b"two",
        b"",
    ]
