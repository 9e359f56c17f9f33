"""Histories of the store: a good store passes, one that is not linearizable does not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import parti
from parti.kv import CasResult, Entry
from tests.process.chaos.kv_load import KvHistory, KvProcess
from tests.process.chaos.run import judge_keys

ACTS = 300


class Store:
    """The store in memory. `stale`: reads see what was there before the last write."""

    def __init__(self, *, stale: bool = False, refuse: bool = False, lose: bool = False) -> None:
        self.entries: dict[str, Entry] = {}
        self.before: dict[str, Entry | None] = {}
        self.revision = 0
        self.stale, self.refuse, self.lose = stale, refuse, lose

    async def get(self, key: str, *, timeout: float) -> Entry | None:  # noqa: ASYNC109
        await asyncio.sleep(0)
        return self.before.get(key) if self.stale else self.entries.get(key)

    async def put(self, key: str, value: bytes, *, timeout: float) -> int:  # noqa: ASYNC109
        await asyncio.sleep(0)
        if self.refuse and self.revision % 3 == 0:
            self.revision += 1
            raise parti.NotExecuted("no", parti.Reason.NO_LEADER)
        revision = self._set(key, value)
        await asyncio.sleep(0)
        if self.lose and revision % 5 == 0:
            raise parti.UnknownOutcome("lost", parti.Reason.CONNECTION_LOST)
        return revision

    async def cas(
        self,
        key: str,
        value: bytes,
        *,
        expect: int,
        timeout: float,  # noqa: ASYNC109
    ) -> CasResult:
        await asyncio.sleep(0)
        entry = self.entries.get(key)
        present = entry.revision if entry else 0
        if present != expect:
            return CasResult(ok=False, revision=present)
        return CasResult(ok=True, revision=self._set(key, value))

    async def delete(self, key: str, *, timeout: float) -> bool:  # noqa: ASYNC109
        await asyncio.sleep(0)
        self.before[key] = self.entries.get(key)
        return self.entries.pop(key, None) is not None

    def _set(self, key: str, value: bytes) -> int:
        self.revision += 1
        self.before[key] = self.entries.get(key)
        self.entries[key] = Entry(value, self.revision, self.revision)
        return self.revision


async def verdicts(store: Store) -> tuple[set[str], KvHistory]:
    history = KvHistory("test")
    client = cast("parti.Client", SimpleNamespace(kv=store))
    processes = [KvProcess(f"p{number}", client, history, seed=number) for number in range(4)]

    async def act(process: KvProcess) -> None:
        for _ in range(ACTS):
            await process.act()

    await asyncio.gather(*map(act, processes))
    found, _ = judge_keys(history.history())
    return set(found), history


async def test_a_good_store_is_linearizable() -> None:
    found, history = await verdicts(Store())
    assert found == {"linearizable"}
    assert history.outcomes == {"answered": 4 * ACTS}


async def test_refused_and_lost_answers_are_allowed_for() -> None:
    found, history = await verdicts(Store(refuse=True, lose=True))
    assert found == {"linearizable"}
    assert {"refused NO_LEADER", "unknown CONNECTION_LOST"} <= set(history.outcomes)


async def test_stale_reads_are_found() -> None:
    found, _ = await verdicts(Store(stale=True))
    assert "not-linearizable" in found


async def test_a_refusal_that_was_a_lie_is_found() -> None:
    class Liar(Store):
        async def put(self, key: str, value: bytes, *, timeout: float) -> int:  # noqa: ASYNC109
            revision = await super().put(key, value, timeout=timeout)
            if revision % 4 == 0:
                raise parti.NotExecuted("a lie", parti.Reason.NO_LEADER)
            return revision

    found, _ = await verdicts(Liar())
    assert "not-linearizable" in found
