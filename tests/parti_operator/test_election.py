"""Election by a Lease: two candidates, clocks that jump and drift, an API that is away."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from parti_operator.election import Election, ElectionTimes, LeaseLostError
from parti_operator.kube_api import LEASE, KubeError
from tests.parti_operator.memory_kube import Call, MemoryKube
from tests.parti_operator.virtual_time import now_ms, run_virtual

_TIMES = ElectionTimes()


class _Candidate:
    """A candidate with a clock and a way to the API of its own."""

    def __init__(self, kube: MemoryKube, name: str) -> None:
        self.name = name
        self.rate = 1.0
        self.jump_ms = 0
        self.away = False
        self.ended = False
        self.returns_ms: list[int] = []  # when it heard again from the API
        self.election = Election(
            _Way(self, kube),  # type: ignore[arg-type]  # the three calls that an election makes
            namespace="parti",
            name="operator",
            identity=name,
            clock_ms=lambda: round(now_ms() * self.rate) + self.jump_ms,
            wall_ms=lambda: 0,
            api_returned=lambda: self.returns_ms.append(now_ms()),
        )

    async def run(self) -> None:
        """As the process does: win, keep, end."""
        await self.election.win()
        try:
            await self.election.keep()
        except LeaseLostError:
            self.ended = True


class _Way:
    """The API as one candidate reaches it."""

    def __init__(self, candidate: _Candidate, kube: MemoryKube) -> None:
        self._candidate = candidate
        self._kube = kube

    def __getattr__(self, name: str) -> object:
        if self._candidate.away:
            return self._never
        return getattr(self._kube, name)

    async def _never(self, *_: object) -> None:
        await asyncio.sleep(1_000_000)


def _holder(kube: MemoryKube) -> str:
    lease = kube.find(LEASE, "parti", "operator")
    assert lease is not None
    return str(lease["spec"]["holderIdentity"])


def _two(kube: MemoryKube) -> tuple[_Candidate, _Candidate]:
    return _Candidate(kube, "first"), _Candidate(kube, "second")


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def test_one_of_two_is_elected_and_stays() -> None:
    async def main() -> None:
        kube = MemoryKube()
        first, second = _two(kube)
        tasks = [asyncio.create_task(c.run()) for c in (first, second)]
        for _ in range(600):
            await asyncio.sleep(1)
            assert first.election.may_act
            assert not second.election.may_act
        assert _holder(kube) == "first"
        await _cancel(*tasks)

    run_virtual(main())


def test_a_holder_that_dies_is_followed_after_the_lease() -> None:
    async def main() -> None:
        kube = MemoryKube()
        first, second = _two(kube)
        one = asyncio.create_task(first.run())
        two = asyncio.create_task(second.run())
        await asyncio.sleep(10)
        await _cancel(one)
        died_ms = now_ms()
        for _ in range(1_000):
            if second.election.may_act:
                break
            await asyncio.sleep(0.1)
        waited_ms = now_ms() - died_ms
        assert _TIMES.lease_ms - _TIMES.retry_ms <= waited_ms
        assert waited_ms <= _TIMES.lease_ms + 2 * _TIMES.retry_ms
        lease = kube.find(LEASE, "parti", "operator")
        assert lease is not None
        assert lease["spec"]["leaseTransitions"] == 1
        await _cancel(two)

    run_virtual(main())


def test_a_holder_that_leaves_is_followed_at_once() -> None:
    async def main() -> None:
        kube = MemoryKube()
        first, second = _two(kube)
        one = asyncio.create_task(first.run())
        two = asyncio.create_task(second.run())
        await asyncio.sleep(10)
        await _cancel(one)
        await first.election.resign()
        assert not first.election.may_act
        await asyncio.sleep(_TIMES.retry_ms / 1000 + 0.1)
        assert second.election.may_act
        await _cancel(two)

    run_virtual(main())


def test_a_holder_that_cannot_reach_the_api_stops_before_another_begins() -> None:
    async def main() -> None:
        kube = MemoryKube()
        first, second = _two(kube)
        tasks = [asyncio.create_task(c.run()) for c in (first, second)]
        await asyncio.sleep(10)
        first.away = True
        stopped_ms = began_ms = 0
        while not began_ms:
            await asyncio.sleep(0.01)
            assert not (first.election.may_act and second.election.may_act)
            if not first.election.may_act and not stopped_ms:
                stopped_ms = now_ms()
            if second.election.may_act:
                began_ms = now_ms()
        assert began_ms - stopped_ms >= _TIMES.lease_ms - _TIMES.renew_ms - _TIMES.retry_ms
        assert first.ended
        await _cancel(*tasks)

    run_virtual(main())


def test_a_holder_that_slept_may_not_act_when_it_wakes() -> None:
    """The clock counts on while a machine is suspended: the first look at it tells."""

    async def main() -> None:
        first, _ = _two(MemoryKube())
        task = asyncio.create_task(first.run())
        await asyncio.sleep(10)
        assert first.election.may_act
        first.jump_ms += 3_600_000
        assert not first.election.may_act
        assert first.election.remaining_ms == 0
        await _cancel(task)

    run_virtual(main())


@pytest.mark.parametrize("jump_ms", [-86_400_000, 86_400_000])
def test_a_candidates_clock_may_jump_without_harm_to_the_holder(jump_ms: int) -> None:
    """It looks at the Lease anew before it takes it, and a live holder has changed it."""

    async def main() -> None:
        kube = MemoryKube()
        first, second = _two(kube)
        tasks = [asyncio.create_task(c.run()) for c in (first, second)]
        await asyncio.sleep(11)
        second.jump_ms += jump_ms
        for _ in range(600):
            await asyncio.sleep(0.1)
            assert not second.election.may_act
        await _cancel(*tasks)

    run_virtual(main())


@pytest.mark.parametrize("seed", range(20))
def test_never_two_at_a_time(seed: int) -> None:
    """Cuts, errors, lost answers, deaths, clocks that run apart."""
    chance = random.Random(seed)

    def unreliable(call: Call) -> None:
        if chance.random() < 0.2:
            raise KubeError(chance.choice([0, 409, 500]), "Injected", f"{call.verb} {call.moment}")

    async def main() -> None:
        kube = MemoryKube(latency_ms=20)
        kube.rules.append(unreliable)
        candidates = [_Candidate(kube, str(number)) for number in range(3)]
        tasks = [asyncio.create_task(candidate.run()) for candidate in candidates]
        acted = set()
        for _ in range(2_000):
            await asyncio.sleep(0.1)
            acting = [c.name for c in candidates if c.election.may_act]
            assert len(acting) <= 1, f"seed {seed}: {acting}"
            acted |= set(acting)
            for position, candidate in enumerate(candidates):
                if chance.random() < 0.01:
                    candidate.away = not candidate.away
                if candidate.ended:  # a new process
                    fresh = _Candidate(kube, f"{candidate.name}'")
                    fresh.rate = chance.choice([0.9, 1.0, 1.15])
                    candidates[position] = fresh
                    tasks.append(asyncio.create_task(fresh.run()))
        assert len(acted) > 1, f"seed {seed}: nobody ever followed"
        await _cancel(*tasks)

    run_virtual(main())


def test_a_lost_answer_of_a_renewal_does_not_end_the_holder() -> None:
    async def main() -> None:
        kube = MemoryKube()
        first, _ = _two(kube)
        task = asyncio.create_task(first.run())
        await asyncio.sleep(5)
        kube.fail("replace", "leases", 0, moment="after")
        for _ in range(60):
            await asyncio.sleep(0.5)
            assert first.election.may_act
        await _cancel(task)

    run_virtual(main())


def test_a_deleted_lease_is_made_anew() -> None:
    async def main() -> None:
        kube = MemoryKube()
        first, _ = _two(kube)
        task = asyncio.create_task(first.run())
        await asyncio.sleep(5)
        kube.remove(LEASE, "parti", "operator")
        await asyncio.sleep(5)
        assert first.election.may_act
        assert _holder(kube) == "first"
        await _cancel(task)

    run_virtual(main())


def test_a_holder_whose_lease_was_taken_ends_at_once() -> None:
    async def main() -> None:
        kube = MemoryKube()
        first, _ = _two(kube)
        task = asyncio.create_task(first.run())
        await asyncio.sleep(5)
        kube.edit(LEASE, "parti", "operator", {"spec": {"holderIdentity": "somebody"}})
        await asyncio.sleep(_TIMES.retry_ms / 1000 + 0.1)
        assert first.ended
        assert not first.election.may_act
        assert _holder(kube) == "somebody"
        await task

    run_virtual(main())


def test_whoever_leads_or_stands_by_tells_that_the_api_answers_again() -> None:
    async def main() -> None:
        kube = MemoryKube()
        first, second = _two(kube)
        tasks = [asyncio.create_task(c.run()) for c in (first, second)]
        await asyncio.sleep(11)
        kube.fail("replace", "leases", 500)  # once: the leader's renewal
        await asyncio.sleep(11)
        assert (len(first.returns_ms), len(second.returns_ms)) == (1, 0)
        second.away = True
        await asyncio.sleep(30)
        assert second.returns_ms == []
        second.away = False
        back_ms = now_ms()
        await asyncio.sleep(30)
        [told_ms] = second.returns_ms
        assert told_ms - back_ms <= _TIMES.attempt_ms + _TIMES.retry_ms
        assert len(first.returns_ms) == 1
        await _cancel(*tasks)

    run_virtual(main())


def test_a_refusal_is_an_answer() -> None:
    async def main() -> None:
        kube = MemoryKube()
        first, _ = _two(kube)
        task = asyncio.create_task(first.run())
        await asyncio.sleep(5)
        kube.fail("replace", "leases", 429)
        await asyncio.sleep(10)
        assert first.election.may_act
        assert first.returns_ms == []
        await _cancel(task)

    run_virtual(main())


def test_times_that_would_be_unsafe_are_refused() -> None:
    with pytest.raises(AssertionError):
        ElectionTimes(lease_ms=10_000, renew_ms=10_000)
