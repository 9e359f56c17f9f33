"""The work queue's contract, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parti_operator.queue import QueueLimits, RequeueMs, WorkQueue
from tests.parti_operator.virtual_time import now_ms, run_virtual

_LIMITS = QueueLimits(
    concurrency=2, pace_ms=100, pace_failed_ms=1_000, backoff_first_ms=1_000, backoff_max_ms=8_000
)


class _World:
    """A queue whose work notes when it began and ended, and does what the test says."""

    def __init__(self, limits: QueueLimits = _LIMITS, jitter: float = 0.999999) -> None:
        self.starts: list[tuple[int, str]] = []
        self.running: list[str] = []
        self.most_running = 0
        self.takes_ms = 10
        self.requeue_ms: RequeueMs = None
        self.fails = 0  # so many runs from now
        self.queue: WorkQueue[str] = WorkQueue(self._work, limits=limits, jitter=lambda: jitter)

    async def _work(self, key: str) -> RequeueMs:
        assert key not in self.running, f"{key} runs twice at a time"
        self.starts.append((now_ms(), key))
        self.running.append(key)
        self.most_running = max(self.most_running, len(self.running))
        try:
            await asyncio.sleep(self.takes_ms / 1000)
            if self.fails > 0:
                self.fails -= 1
                raise RuntimeError("asked to fail")
        finally:
            self.running.remove(key)
        return self.requeue_ms

    def times(self, key: str = "a") -> list[int]:
        """When the runs of a key began, counted from the first one."""
        times = [at for at, started in self.starts if started == key]
        return [at - times[0] for at in times]


def _play(world: _World, script: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        dispatcher = asyncio.create_task(world.queue.run())
        try:
            await script()
        finally:
            await world.queue.drain(60_000)
            await dispatcher

    run_virtual(main())


def test_a_key_runs_once_for_one_add() -> None:
    world = _World()

    async def script() -> None:
        world.queue.add("a")
        await asyncio.sleep(3_600)

    _play(world, script)
    assert world.times() == [0]


def test_adds_before_the_run_become_one() -> None:
    world = _World()

    async def script() -> None:
        for _ in range(50):
            world.queue.add("a")
        await asyncio.sleep(10)

    _play(world, script)
    assert world.times() == [0]
    assert world.queue.stats.added == 50


def test_adds_during_a_run_become_exactly_one_more() -> None:
    world = _World()
    world.takes_ms = 500

    async def script() -> None:
        world.queue.add("a")
        await asyncio.sleep(0.1)
        for _ in range(50):
            world.queue.add("a")
        await asyncio.sleep(10)

    _play(world, script)
    assert world.times() == [0, 500]


def test_no_more_runs_at_once_than_allowed_and_all_come_in_turn() -> None:
    world = _World()
    keys = [str(number) for number in range(20)]

    async def script() -> None:
        for key in keys:
            world.queue.add(key)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert world.queue.running == 2
        assert world.queue.depth == 18
        await asyncio.sleep(10)

    _play(world, script)
    assert world.most_running == 2
    assert [key for _, key in world.starts] == keys


def test_a_storm_of_events_runs_at_the_pace() -> None:
    world = _World()

    async def script() -> None:
        for _ in range(1_000):
            world.queue.add("a")
            await asyncio.sleep(0.001)

    _play(world, script)
    assert len(world.starts) <= 11  # one second at ten in a second


def test_failures_pause_longer_and_longer_up_to_the_limit() -> None:
    world = _World()
    world.takes_ms = 0
    world.fails = 6

    async def script() -> None:
        world.queue.add("a")
        await asyncio.sleep(100)
        assert world.queue.failures_of("a") == 0

    _play(world, script)
    times = world.times()
    pauses = [round((after - before) / 1000) for before, after in pairwise(times)]
    assert pauses == [1, 2, 4, 8, 8, 8]
    assert world.queue.stats.failures == 6


def test_jitter_takes_up_to_half_of_the_pause() -> None:
    world = _World(jitter=0.0)
    world.takes_ms = 0
    world.fails = 3

    async def script() -> None:
        world.queue.add("a")
        await asyncio.sleep(100)

    _play(world, script)
    # The second pause could be 1 s, but runs of a failing key are that far apart anyhow.
    assert world.times() == [0, 1_000, 2_000, 4_000]


def test_success_forgets_the_failures() -> None:
    world = _World()
    world.takes_ms = 0

    async def script() -> None:
        for _ in range(2):
            world.fails = 3
            world.queue.add("a")
            await asyncio.sleep(100)

    _play(world, script)
    times = [at % 100_000 for at in world.times()]
    assert times[:4] == times[4:]


def test_an_event_shortens_a_pause_only_to_the_pace_of_failing_keys() -> None:
    world = _World()
    world.takes_ms = 0
    world.fails = 50

    async def script() -> None:
        world.queue.add("a")
        await asyncio.sleep(8)  # runs at 0, 1, 3 and 7 s
        for _ in range(100):
            world.queue.add("a")
            await asyncio.sleep(0.02)

    _play(world, script)
    assert [round(at, -2) for at in world.times()[:5]] == [0, 1_000, 3_000, 7_000, 8_000]
    assert len(world.starts) <= 7


def test_a_run_is_repeated_after_the_time_it_asked_for() -> None:
    world = _World()
    world.requeue_ms = 60_000

    async def script() -> None:
        world.queue.add("a")
        await asyncio.sleep(125)

    _play(world, script)
    assert world.times() == [0, 60_010, 120_020]


def test_an_earlier_add_wins_over_the_repetition() -> None:
    world = _World()
    world.requeue_ms = 60_000

    async def script() -> None:
        world.queue.add("a")
        await asyncio.sleep(5)
        world.queue.add("a")
        world.requeue_ms = None
        await asyncio.sleep(300)

    _play(world, script)
    assert world.times() == [0, 5_000]


def test_an_add_for_later_does_not_delay_an_earlier_one() -> None:
    world = _World()

    async def script() -> None:
        world.queue.add("a", after_ms=1_000)
        world.queue.add("a", after_ms=9_000)
        world.queue.add("b", after_ms=2_000)
        await asyncio.sleep(100)

    _play(world, script)
    assert [key for _, key in world.starts] == ["a", "b"]
    assert world.starts[1][0] - world.starts[0][0] == 1_000


def test_a_forgotten_key_does_not_run_and_may_come_back() -> None:
    world = _World()

    async def script() -> None:
        world.queue.add("a", after_ms=1_000)
        world.queue.forget("a")
        await asyncio.sleep(10)
        assert world.starts == []
        world.queue.add("a")
        await asyncio.sleep(10)

    _play(world, script)
    assert world.times() == [0]


def test_drain_lets_running_work_end_and_starts_nothing() -> None:
    world = _World()
    world.takes_ms = 1_000

    async def main() -> None:
        dispatcher = asyncio.create_task(world.queue.run())
        for key in "abc":
            world.queue.add(key)
        await asyncio.sleep(0.1)
        assert await world.queue.drain(5_000)
        await dispatcher

    run_virtual(main())
    assert [key for _, key in world.starts] == ["a", "b"]
    assert world.running == []


def test_drain_cancels_what_takes_too_long() -> None:
    world = _World()
    world.takes_ms = 3_600_000

    async def main() -> None:
        dispatcher = asyncio.create_task(world.queue.run())
        world.queue.add("a")
        await asyncio.sleep(1)
        assert world.queue.longest_running_ms() == 1_000
        assert not await world.queue.drain(5_000)
        assert world.queue.longest_running_ms() == 0
        await dispatcher

    run_virtual(main())
    assert world.running == []


def test_a_cancelled_dispatcher_ends() -> None:
    world = _World()

    async def main() -> None:
        dispatcher = asyncio.create_task(world.queue.run())
        await asyncio.sleep(1)
        dispatcher.cancel()
        with suppress(asyncio.CancelledError):
            await dispatcher
        assert dispatcher.cancelled()

    run_virtual(main())


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_add_is_ever_lost(seed: int) -> None:
    """After the last add of a key a run of it begins; print the seed to replay."""
    chance = random.Random(seed)
    world = _World(QueueLimits(concurrency=chance.randint(1, 4), pace_ms=50))
    last_add: dict[str, int] = {}

    async def script() -> None:
        for _ in range(60):
            key = chance.choice("abcdef")
            world.takes_ms = chance.choice([0, 1, 30, 400])
            world.fails = chance.choice([0, 0, 0, 2])
            world.queue.add(key)
            last_add[key] = now_ms()
            await asyncio.sleep(chance.choice([0, 0.001, 0.05, 1]))
        world.fails = 0
        await asyncio.sleep(3_600)

    _play(world, script)
    for key, added in last_add.items():
        assert max(at for at, started in world.starts if started == key) >= added, f"seed {seed}"


@pytest.mark.parametrize("after_ms", [-1, -1_000])
def test_the_past_cannot_be_asked_for(after_ms: int) -> None:
    async def main() -> None:
        world = _World()
        with pytest.raises(AssertionError):
            world.queue.add("a", after_ms=after_ms)

    run_virtual(main())
