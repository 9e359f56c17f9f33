"""Going on without the quorum: what is kept, who is fenced off, and a death at every point."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from parti_shard.commands import Intent, SetIntent
from parti_shard.errors import PartiError, Reason
from parti_shard.ids import NO_MEMBER, NO_SESSION, MemberId, WorkerId
from parti_shard.new_quorum import EPOCHS_SKIPPED
from parti_sidecar import new_quorum
from parti_sidecar.handshakes import LocalPeer, judge
from parti_sidecar.host import PeerHandshake
from parti_sidecar.new_quorum import (
    NewQuorumOrderedError,
    Order,
    OrderRefusedError,
    carry_out,
    next_order,
    read_order,
    remove_order,
    write_order,
)
from parti_sidecar.removal import RemovedError
from parti_sidecar.storage.base import Identity, WriteFailed
from parti_sidecar.storage.memory import MemoryDisk, MemoryStorage
from tests.parti_sidecar.driver_world import DriverWorld, Run, drivers, until

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)
FIRST = Order("c", 1)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DriverWorld]:
    async with drivers(monkeypatch) as found:
        yield found


async def three_voters(world: DriverWorld) -> Run:
    run = await world.found(2, 3)
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    for each in world.runs.values():
        each.member.router.attach_worker(WorkerId(1), "w", 10, 10, each.driver.now_ms())
    await until(lambda: all(each.member.owns_anything for each in world.runs.values()))
    return run


def force(world: DriverWorld, member: MemberId = ONE, order: Order = FIRST) -> None:
    storage = MemoryStorage(world.disks[member], member)
    try:
        carry_out(storage, storage.load(), order)
    finally:
        storage.close()


async def begin_again(world: DriverWorld, member: int = 1) -> Run:
    run = await world.start(member)
    await until(lambda: run.member.is_leader and not run.driver.ready_missing())
    run.member.router.attach_worker(WorkerId(1), "w", 10, 10, run.driver.now_ms())
    return run


# --- the survivor


async def test_the_survivor_goes_on_alone_with_everything_that_was_committed(
    world: DriverWorld,
) -> None:
    run = await three_voters(world)
    await run.driver.propose(SetIntent(TWO, Intent.CORDON))
    before = run.member.table
    term, epochs, sessions = run.member.replica.raw.term, list(before.epoch), set(before.sessions)
    await world.stop_all()
    force(world)
    run = await begin_again(world)
    table = run.member.table
    assert run.member.replica.conf_state.voters == (ONE,)
    assert run.member.replica.raw.term > term
    assert table.members[TWO].intent is Intent.CORDON
    assert run.driver.incarnation == 1
    # The sessions of the others end by their lease, like those of any dead member.
    assert len(sessions & set(table.sessions)) == 2
    began_ms = run.driver.now_ms()
    await until(lambda: set(table.sessions.values()) == {ONE})
    assert run.driver.now_ms() - began_ms >= table.lease_ttl_ms / 2
    await until(lambda: set(table.members) == {ONE})
    await until(lambda: set(table.owner) == {ONE})
    skipped = [after - epoch for after, epoch in zip(table.epoch, epochs, strict=True)]
    assert min(skipped) > EPOCHS_SKIPPED  # somebody may have been granted the next ones


async def test_the_tail_that_nobody_else_may_have_is_kept(world: DriverWorld) -> None:
    run = await three_voters(world)
    world.cut = {TWO, THREE}
    asked = asyncio.ensure_future(run.driver.propose(SetIntent(TWO, Intent.DRAIN)))
    await until(lambda: run.member.replica.raw.last_index > run.member.replica.raw.commit_index)
    await world.stop_all()
    asked.cancel()
    force(world)
    run = await begin_again(world)
    assert run.member.table.members[TWO].intent is Intent.DRAIN


async def test_a_learner_may_be_the_survivor(world: DriverWorld) -> None:
    run = await world.found(2)
    assert run.member.replica.conf_state.learners == (TWO,)
    await world.stop_all()
    force(world, TWO)
    run = await begin_again(world, 2)
    await until(lambda: set(run.member.table.members) == {TWO})


async def test_new_members_of_the_new_incarnation_vote_again(world: DriverWorld) -> None:
    await three_voters(world)
    await world.stop_all()
    force(world)
    run = await begin_again(world)
    await until(lambda: set(run.member.table.members) == {ONE})
    for member in (4, 5):
        await world.start(member, join=("127.0.0.1:6001",))
        joiner = world.runs[MemberId(member)].driver
        await until(lambda: not joiner.ready_missing())  # noqa: B023
        assert joiner.incarnation == 1
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    await world.stop(4)
    again = await world.start(4)
    assert again.driver.incarnation == 1


class DiesWriting(MemoryStorage):
    """The power fails when the survivor's state is written."""

    def write(self, batch: object) -> None:
        raise WriteFailed("the power failed")


async def test_a_death_half_way_leaves_a_member_that_speaks_with_nobody(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three_voters(world)
    await world.stop_all()
    storage = MemoryStorage(world.disks[ONE], ONE)
    stored = storage.load()
    monkeypatch.setattr(storage, "__class__", DiesWriting)
    with pytest.raises(WriteFailed):
        carry_out(storage, stored, FIRST)
    world.disks[ONE].crash()
    storage = MemoryStorage(world.disks[ONE], ONE)
    stored = storage.load()
    assert stored.identity == Identity("c", ONE, incarnation=1)
    carry_out(storage, stored, FIRST)
    storage.close()
    run = await begin_again(world)
    assert (run.driver.incarnation, run.member.replica.conf_state.voters) == (1, (ONE,))


async def test_an_order_that_was_carried_out_long_ago_does_nothing(world: DriverWorld) -> None:
    await world.found()
    await world.stop_all()
    force(world, order=Order("c", 2))
    storage = MemoryStorage(world.disks[ONE], ONE)
    before = storage.load()
    carry_out(storage, before, FIRST)
    storage.close()
    assert MemoryStorage(world.disks[ONE], ONE).load() == before


# --- who may be asked


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        (Identity("", ONE), "no state of a cluster"),
        (Identity("d", ONE), "a member of d, not of c"),
        (Identity("c", ONE, removed=True), "was removed"),
    ],
)
def test_others_are_refused_by_name(identity: Identity, why: str) -> None:
    with pytest.raises(OrderRefusedError, match=why):
        next_order(identity, "c")
    assert next_order(Identity("c", ONE, incarnation=4), "c") == Order("c", 5)


def test_a_member_that_is_none_cannot_survive() -> None:
    storage = MemoryStorage(MemoryDisk(), ONE)
    stored = storage.load()
    named = Identity("c", ONE)
    storage.set_identity(named)
    with pytest.raises(OrderRefusedError, match="none of its cluster"):
        carry_out(storage, replace(stored, identity=named), FIRST)
    with pytest.raises(OrderRefusedError, match="for another member"):
        carry_out(storage, stored, FIRST)
    assert storage.load().identity == named
    storage.close()


def test_an_order_survives_until_it_is_removed(tmp_path: Path) -> None:
    assert read_order(tmp_path) is None
    write_order(tmp_path, FIRST)
    assert read_order(tmp_path) == FIRST
    write_order(tmp_path, Order("c", 2))
    assert read_order(tmp_path) == Order("c", 2)
    remove_order(tmp_path)
    remove_order(tmp_path)
    assert read_order(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


async def test_a_running_member_obeys_only_when_its_quorum_is_lost(
    world: DriverWorld, tmp_path: Path
) -> None:
    await world.found()
    for member in (2, 3):
        await world.start(member, join=("127.0.0.1:6001",), data_dir=tmp_path)
    run = world.runs[ONE]
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    survivor = world.runs[TWO]
    await until(lambda: not survivor.driver.ready_missing())
    for cluster_id, incarnation, reason in (
        ("d", 0, Reason.WRONG_CLUSTER),
        ("c", 1, Reason.CONFLICT),
        ("c", 0, Reason.CONFLICT),  # there is a leader
    ):
        with pytest.raises(PartiError) as caught:
            survivor.driver.force_new_quorum(cluster_id, incarnation)
        assert caught.value.failure.reason is reason
    await world.stop(1)
    await world.stop(3)
    await until(lambda: not new_quorum.quorum_seen(survivor.member, survivor.driver.now_ms()))
    survivor.driver.force_new_quorum("c", 0)
    assert isinstance(await survivor.failed(), NewQuorumOrderedError)
    assert read_order(tmp_path) == FIRST


async def test_a_member_without_a_cluster_has_no_quorum_to_lose(world: DriverWorld) -> None:
    run = await world.start(1)
    with pytest.raises(PartiError) as caught:
        run.driver.force_new_quorum("c", 0)
    assert caught.value.failure.reason is Reason.NOT_READY


# --- who is fenced off


def said(**changes: object) -> PeerHandshake:
    return replace(PeerHandshake(1, "c", TWO, ONE, "", incarnation=2), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("handshake", "reason"),
    [
        (said(), None),
        (said(incarnation=1), Reason.LEFT_BEHIND),
        (said(incarnation=0), Reason.LEFT_BEHIND),
        (said(incarnation=3), Reason.WRONG_CLUSTER),
        (said(cluster_id="d", incarnation=1), Reason.WRONG_CLUSTER),
        (said(to_member=THREE), Reason.UNKNOWN_MEMBER),
        (said(protocol_version=9), Reason.PROTOCOL_VERSION),
    ],
)
def test_members_of_different_incarnations_do_not_speak(
    handshake: PeerHandshake, reason: Reason | None
) -> None:
    failure = judge(handshake, LocalPeer("c", ONE, "here", incarnation=2))
    assert (failure.reason if failure is not None else None) is reason


async def test_who_is_left_behind_is_out_only_when_its_quorum_is_dead(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three_voters(world)
    run = world.runs[TWO]
    monkeypatch.setattr(new_quorum, "LOST_AFTER_MS", 0)
    run.driver.left_behind(THREE)
    assert run.failure is None
    await world.stop(1)
    await world.stop(3)
    await until(lambda: not new_quorum.quorum_seen(run.member, run.driver.now_ms()))
    monkeypatch.setattr(new_quorum, "LOST_AFTER_MS", 3_600_000)
    run.driver.left_behind(THREE)
    assert run.failure is None
    monkeypatch.setattr(new_quorum, "LOST_AFTER_MS", 0)
    run.driver.left_behind(THREE)
    assert isinstance(await run.failed(), RemovedError)
    assert run.member.replica.leader == NO_MEMBER
    assert run.member.session.session != NO_SESSION
