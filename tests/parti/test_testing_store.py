"""The store of the fake sidecar: the rules of the real one, and what tests may do to it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest

from parti import Client, LockLost, NotExecuted, PartiError, Reason, kv
from parti.testing import FakeSidecar
from parti_kv.limits import RECORD_OVERHEAD_BYTES, STORE_BYTES_MAX
from parti_shard.kv_keeper import SCAN_EVERY_MS
from parti_shard.lease import keeper_term_ms


async def test_what_was_written_is_seen_by_tests_and_outlives_the_sidecar() -> None:
    async with FakeSidecar() as sidecar, Client(sidecar.address) as client:
        assert await client.kv.put("a", "1") == 1
        assert (sidecar.store.value("a"), sidecar.store.value(b"b")) == (b"1", None)
        await sidecar.stop()
        await sidecar.start()
        assert await client.kv.get("a") == kv.Entry(b"1", 1, 1)
        assert await client.kv.put("a", "2") == sidecar.store.revision == 2


async def test_a_full_store_refuses_as_the_real_one() -> None:
    async with (
        FakeSidecar(store_bytes_max=3 * RECORD_OVERHEAD_BYTES) as sidecar,
        Client(sidecar.address) as client,
    ):
        await client.kv.put("a", "1")
        with pytest.raises(NotExecuted) as caught:
            await client.kv.put("b", bytes(RECORD_OVERHEAD_BYTES))
        assert caught.value.reason is Reason.STORE_FULL


def test_the_limit_is_the_real_default() -> None:
    assert FakeSidecar().store.store.bytes_max == STORE_BYTES_MAX


async def test_a_watch_that_is_behind_hears_of_the_compaction() -> None:
    async with FakeSidecar() as sidecar, Client(sidecar.address) as client:
        await client.kv.put("a", "1")
        sidecar.store.forget_changes()
        with pytest.raises(PartiError) as caught:
            await anext(client.kv.watch(after=0))
        assert caught.value.reason is Reason.COMPACTED


async def test_expired_sessions_lose_their_locks_to_who_waits() -> None:
    async with FakeSidecar() as sidecar, Client(sidecar.address) as client:
        first, second = client.lock("one", ttl=1), client.lock("one")
        assert await first.acquire()
        token = first.token
        waiting = asyncio.create_task(second.acquire())
        while len(sidecar.store.store.locks.queues[b"one"]) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        (holder, *_) = sidecar.store.store.sessions.open
        sidecar.store.expire_sessions(holder)
        assert await asyncio.wait_for(waiting, 5)
        assert second.token > token
        async with asyncio.timeout(5):
            await first.lost.wait()
        with pytest.raises(LockLost):
            first.check()
        await first.release()
        await second.release()


async def test_a_silent_session_expires_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = 1_000
    monkeypatch.setattr("parti.testing._store.boottime_ms", lambda: now_ms)
    async with FakeSidecar() as sidecar, Client(sidecar.address) as client:
        lock = client.lock("one", ttl=3600)
        await lock.acquire()
        now_ms += SCAN_EVERY_MS
        sidecar.store.sweep()  # it is counted as heard from here on
        now_ms += 3_600_000
        sidecar.store.sweep()
        assert lock.held, "the bound of the keeper is later than that of the client"
        now_ms += keeper_term_ms(3_600_000) - 3_600_000
        async with asyncio.timeout(5):
            while sidecar.store.store.locks.queues:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


def test_the_fake_sidecar_needs_only_what_the_sdk_installs() -> None:
    script = """
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                extras = ("google_crc32c", "grpc_health", "grpc_reflection", "h11",
                          "kopf", "kubernetes", "prometheus_client", "uvloop")
                if name.split(".")[0] in extras:
                    raise ImportError(name)

        sys.meta_path.insert(0, Absent())
        import parti
        assert not any(name.startswith("parti_sidecar") for name in sys.modules)
        import parti.testing
        """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert run.returncode == 0, run.stderr
