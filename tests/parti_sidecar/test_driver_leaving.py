"""The driver: how a member leaves, and how it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from parti_raft.types import MemberId
from parti_shard.commands import Cause, Intent, SetIntent
from parti_shard.ids import NO_MEMBER, NO_SESSION, WorkerId
from parti_shard.limits import LeaseTimes
from parti_sidecar import driver as driver_module
from parti_sidecar import leaving
from parti_sidecar.driver import Driver
from parti_sidecar.removal import RemovedError
from parti_sidecar.storage.base import WriteFailed
from tests.parti_sidecar.driver_world import DirectLinks, DriverWorld, drivers, until

ME = MemberId(1)
TTL_MS = LeaseTimes().ttl_ms
SHORT_S = 0.2


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DriverWorld]:
    async with drivers(monkeypatch) as found:
        yield found


async def test_a_drained_member_hands_over_leadership_and_closes_its_session(
    world: DriverWorld,
) -> None:
    run = await world.found(2, 3)
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    for each in world.runs.values():
        each.member.router.attach_worker(WorkerId(1), "w", 10, 10, each.driver.now_ms())
    await until(lambda: run.member.owns_anything)
    session = run.member.session.session
    async with asyncio.timeout(5):
        await run.driver.drain()
    assert run.driver.leader() in (2, 3)
    assert run.member.session.is_closed
    assert "draining" in run.driver.ready_missing()
    heir = world.runs[run.driver.leader()].member
    # A majority without the leader's own disk commits, so it may apply after its followers.
    await until(lambda: session not in heir.table.sessions)
    causes = {change.cause for kept in heir.table.history for change in kept}
    assert Cause.DRAIN in causes
    assert Cause.CLOSED not in causes  # nothing was left when the session was closed


async def test_without_heirs_a_drain_ends_all_the_same(world: DriverWorld) -> None:
    run = await world.found(2)
    assert run.member.replica.conf_state.voters == (ME,)
    async with asyncio.timeout(5):
        await run.driver.drain()
    assert run.member.is_leader
    assert run.member.table.members[ME].session == NO_SESSION


async def test_a_drain_goes_on_when_nobody_takes_over_leadership(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await world.found(2, 3)
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    monkeypatch.setattr(driver_module, "OUTCOME_TIMEOUT_S", SHORT_S)
    monkeypatch.setattr(run.member, "transfer_leader", lambda _to: None)
    async with asyncio.timeout(5):
        await run.driver.drain()
    assert run.member.is_leader
    assert run.member.session.is_closed


async def test_the_last_one_of_a_cluster_that_stops_waits_for_nobody(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while its lease lasts, nor while an election may be under way."""
    monkeypatch.setattr(leaving, "STRANDED_MS", 600)
    run = await world.found(2, 3)
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    for each in world.runs.values():
        each.member.router.attach_worker(WorkerId(1), "w", 10, 10, each.driver.now_ms())
    await until(lambda: run.member.owns_anything)
    for other in (2, 3):
        await world.stop(other)
    began_ms = run.driver.now_ms()
    lease_ms = run.member.lease_remaining_ms(began_ms)
    assert lease_ms > 0
    async with asyncio.timeout(10):
        left = await run.driver.prepare_to_stop()
        assert run.driver.now_ms() - began_ms >= lease_ms + 600
        assert "partitions" in left
        assert await run.driver.drain() == left
    assert run.driver.leader() == NO_MEMBER


async def test_who_prepares_to_stop_gives_everything_away_and_goes_on(world: DriverWorld) -> None:
    run = await world.found(2, 3)
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    for each in world.runs.values():
        each.member.router.attach_worker(WorkerId(1), "w", 10, 10, each.driver.now_ms())
    await until(lambda: run.member.owns_anything)
    assert not run.member.drained
    session = run.member.session.session
    async with asyncio.timeout(5):
        await asyncio.gather(run.driver.prepare_to_stop(), run.driver.prepare_to_stop())
    assert run.member.drained
    assert run.driver.leader() in (2, 3)
    assert (run.driver.state, run.driver.ready_missing()) == ("draining", ("draining",))
    async with asyncio.timeout(1):
        await run.driver.prepare_to_stop()
    applied = run.member.table.applied_index
    await until(lambda: run.member.table.applied_index > applied or run.member.session.session)
    assert run.member.session.session == session
    assert run.member.lease_remaining_ms(run.driver.now_ms()) > 0
    async with asyncio.timeout(1):
        await run.driver.drain()
    assert run.member.session.is_closed


async def test_a_preparation_that_nobody_waits_for_goes_on(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await world.found(2, 3)
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    monkeypatch.setattr(driver_module, "OUTCOME_TIMEOUT_S", SHORT_S)
    monkeypatch.setattr(leaving, "HAND_OVER_AGAIN_S", 0.01)
    transfer = run.member.transfer_leader
    monkeypatch.setattr(run.member, "transfer_leader", lambda _to: None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3 * SHORT_S):
            await run.driver.prepare_to_stop()
    assert leaving.remaining(run.member) == "it leads"
    monkeypatch.setattr(run.member, "transfer_leader", transfer)
    await until(lambda: run.member.drained)


async def test_with_nobody_to_take_over_nothing_is_waited_for(world: DriverWorld) -> None:
    waiting = await world.start(9)
    await waiting.driver.prepare_to_stop()
    run = await world.found()
    run.member.router.attach_worker(WorkerId(1), "w", 10, 10, run.driver.now_ms())
    await until(lambda: run.member.owns_anything)
    async with asyncio.timeout(5):
        await run.driver.prepare_to_stop()
    assert run.member.is_leader
    assert run.member.drained


async def test_a_failing_disk_ends_the_process_with_the_reason(world: DriverWorld) -> None:
    run = await world.found()
    world.disks[ME].fail_sync = WriteFailed("input/output error")
    asked = asyncio.ensure_future(run.driver.propose(SetIntent(ME, Intent.CORDON)))
    assert str(await run.failed()) == "input/output error"
    asked.cancel()
    index = run.member.replica.applied_index
    run.driver.settle()
    await asyncio.sleep(0)
    assert run.member.replica.applied_index == index
    assert run.member.table.members[ME].intent is Intent.NONE


async def test_a_removed_member_ends_and_the_others_forget_it(world: DriverWorld) -> None:
    run = await world.found(2)
    second = world.runs[MemberId(2)]
    await run.driver.propose(SetIntent(MemberId(2), Intent.REMOVE))
    failure = await second.failed()
    assert isinstance(failure, RemovedError)
    assert "empty the data directory" in str(failure)
    await until(lambda: MemberId(2) not in run.member.table.members)
    assert cast("DirectLinks", run.driver.links).forgotten == [2]
    assert run.failure is None


async def test_after_the_stop_nothing_is_sent_and_links_end_last(world: DriverWorld) -> None:
    run = await world.found(2)
    links = cast("DirectLinks", run.driver.links)
    await run.driver.stop()
    assert links.closed
    assert run.driver.links is None
    run.driver.settle()
    run.driver.snapshot_sent(MemberId(2), ok=True)
    run.driver.peer_unreachable(MemberId(2))
    run.driver.peer_frame(MemberId(2), [b"junk"], [])  # too late to matter
    for _ in range(5):
        await asyncio.sleep(0)  # `DirectLinks.send` would complain
    assert run.failure is None


async def test_ids_of_streams_and_workers_are_never_used_twice(world: DriverWorld) -> None:
    driver: Driver = (await world.start(1)).driver
    assert [driver.new_stream_id() for _ in range(3)] == [1, 2, 3]
    assert [driver.new_worker_id() for _ in range(3)] == [1, 2, 3]
