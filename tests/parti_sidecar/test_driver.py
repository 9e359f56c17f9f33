"""The driver: how a member begins, and what it answers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from parti_raft.codec import encode_message
from parti_raft.types import ConfState, LogIndex, MemberId, Message, MessageType, Snapshot, Term
from parti_shard.commands import Intent, SetIntent
from parti_shard.errors import Executed, Failure, MalformedFrameError, PartiError, Reason, refuse
from parti_shard.ids import NO_MEMBER
from parti_shard.limits import PROTOCOL_VERSION, LeaseTimes
from parti_shard.policy import Policy
from parti_sidecar import driver as driver_module
from parti_sidecar import joining
from parti_sidecar import outcomes as outcomes_module
from parti_sidecar.host import Admission, Applicant, PeerHandshake
from parti_sidecar.runtime import TaskFailedError
from parti_sidecar.storage.base import Identity, WriteFailed
from parti_sidecar.storage.memory import MemoryStorage
from tests.parti_sidecar.driver_world import DirectLinks, DriverWorld, drivers, until

ME = MemberId(1)
TTL_MS = LeaseTimes().ttl_ms
SHORT_S = 0.2


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DriverWorld]:
    async with drivers(monkeypatch) as found:
        yield found


async def refusal(coro: Any) -> tuple[Reason, Executed]:
    with pytest.raises(PartiError) as caught:
        await coro
    return caught.value.failure.reason, caught.value.failure.executed


def applicant(member: int, cluster_id: str = "c", protocol: int = PROTOCOL_VERSION) -> Applicant:
    return Applicant(MemberId(member), "m", f"127.0.0.1:{6000 + member}", "", cluster_id, protocol)


# --- beginnings


async def test_without_being_told_it_waits_and_says_so(world: DriverWorld) -> None:
    run = await world.start(1)
    driver = run.driver
    assert driver.member is None
    assert "in no cluster yet" in driver.ready_missing()[0]
    assert driver.cluster_page().state == "waiting"
    assert driver.reading() is None
    assert driver.leader() == NO_MEMBER
    driver.peer_frame(MemberId(2), [b"junk"], [])  # refused by the handshake; harmless anyway
    driver.settle()
    await driver.drain()
    assert await refusal(driver.propose(SetIntent(ME, Intent.NONE))) == (
        Reason.NOT_READY,
        Executed.NO,
    )


async def test_a_founder_serves_and_goes_on_after_a_restart(world: DriverWorld) -> None:
    run = await world.start(1, bootstrap=True, lease_ttl_ms=500)
    await until(lambda: not run.driver.ready_missing())
    cluster_id, session = run.driver.cluster_id, run.member.session.session
    assert len(cluster_id) == 16
    assert run.member.table.lease_ttl_ms == 500
    await world.stop(1)
    again = await world.start(1, bootstrap=True, lease_ttl_ms=900)
    await until(lambda: not again.driver.ready_missing())
    assert again.driver.cluster_id == cluster_id
    assert again.member.session.session > session
    assert again.member.table.lease_ttl_ms == 500


async def test_bootstrap_happens_once_and_may_be_said_twice(world: DriverWorld) -> None:
    run = await world.start(1)
    bootstrap = run.driver.bootstrap
    assert await bootstrap("c", 4, Policy(), TTL_MS) == "c"
    member = run.member
    assert await bootstrap("c", 4, Policy(), TTL_MS) == "c"
    assert run.member is member
    assert await refusal(bootstrap("d", 4, Policy(), TTL_MS)) == (Reason.CONFLICT, Executed.NO)


async def test_bootstrap_is_refused_against_the_settings(world: DriverWorld) -> None:
    named = await world.start(1, cluster_id="mine")
    assert (await refusal(named.driver.bootstrap("c", 4, Policy(), TTL_MS)))[0] is (
        Reason.WRONG_CLUSTER
    )
    assert named.driver.cluster_id == ""


async def test_a_joining_member_may_be_told_to_found_the_cluster(world: DriverWorld) -> None:
    run = await world.start(2, join=("127.0.0.1:1",))
    assert await run.driver.bootstrap("c", 4, Policy(), TTL_MS) == "c"
    assert await run.driver.bootstrap("c", 4, Policy(), TTL_MS) == "c"
    await until(lambda: not run.driver.ready_missing())


async def test_a_joining_member_founds_nothing_beside_a_cluster(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [Failure(Reason.NO_LEADER, Executed.NO, "no leader now")]

    async def ask(_address: str, _request: object) -> None:
        raise PartiError(answers[-1])

    monkeypatch.setattr(joining, "ask", ask)
    run = await world.start(2, join=("127.0.0.1:1",))
    assert (await refusal(run.driver.bootstrap("c", 4, Policy(), TTL_MS)))[0] is Reason.CONFLICT
    assert run.driver.cluster_id == ""
    answers.append(Failure(Reason.NOT_READY, Executed.NO, "not part of a cluster"))
    assert await run.driver.bootstrap("c", 4, Policy(), TTL_MS) == "c"


async def test_a_member_that_is_taken_in_while_it_is_told_to_found_stays_a_joiner(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader has committed it: a founding now would make two clusters of one name."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def ask(_address: str, _request: object) -> Admission:
        asked.set()
        await answer.wait()
        return Admission("c", {ME: "127.0.0.1:6001"})

    monkeypatch.setattr(joining, "ask", ask)
    run = await world.start(2, join=("127.0.0.1:1",))
    await asked.wait()
    founding = asyncio.ensure_future(run.driver.bootstrap("c", 4, Policy(), TTL_MS))
    await asyncio.sleep(0)
    answer.set()
    assert await refusal(founding) == (Reason.CONFLICT, Executed.NO)
    await until(lambda: run.driver.cluster_id == "c")
    assert run.member.replica.conf_state.voters == ()


class DiesNamed(MemoryStorage):
    """The power fails when the cluster is named."""

    def set_identity(self, identity: Identity) -> None:
        raise WriteFailed("the power failed")


async def half_founded(world: DriverWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.make(1, bootstrap=True)
    monkeypatch.setattr(run.storage, "__class__", DiesNamed)
    with pytest.raises(WriteFailed):
        await run.driver.start("127.0.0.1:6001")
    del world.runs[ME], world.running[ME]
    world.disks[ME].crash()


async def test_a_founding_that_was_cut_short_can_be_done_again(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await half_founded(world, monkeypatch)
    run = await world.start(1, bootstrap=True, cluster_id="second")
    await until(lambda: not run.driver.ready_missing())
    assert run.member.table.cluster_id == "second"


async def test_after_a_founding_that_was_cut_short_no_other_cluster_is_joined(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its table says that it alone is the cluster: the next start would make it a leader."""
    await half_founded(world, monkeypatch)
    run = await world.start(1, join=("127.0.0.1:1",))
    failure = await run.failed()
    assert isinstance(failure, TaskFailedError)
    assert isinstance(failure.__cause__, PartiError)
    assert "founding" in str(failure)
    assert run.storage.read_snapshot().index == 1


async def test_members_join_vote_and_share(world: DriverWorld) -> None:
    first = await world.found(2, 3)
    await until(lambda: len(first.member.replica.conf_state.voters) == 3)
    joiner = world.runs[MemberId(3)].driver
    assert joiner.cluster_id == "c"
    assert joiner.address_of(ME) == "127.0.0.1:6001"
    assert joiner.address_of(MemberId(2)) == "127.0.0.1:6002"
    assert joiner.address_of(MemberId(9)) == ""
    await until(lambda: joiner.leader() == ME)


async def test_a_join_that_never_can_be_ends_the_process(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(*_: object) -> None:
        refuse(Reason.WRONG_CLUSTER, "this is cluster x")

    monkeypatch.setattr(joining, "ask", wrong)
    run = await world.start(2, join=("127.0.0.1:1",))
    assert "this is cluster x" in str(await run.failed())
    assert run.driver.cluster_id == ""


# --- what peers say


async def test_handshakes_are_judged(world: DriverWorld) -> None:
    run = await world.start(1)
    good = PeerHandshake(PROTOCOL_VERSION, "c", MemberId(2), ME, "127.0.0.1:6002")
    waiting = run.driver.check_handshake(good)
    assert waiting is not None
    assert waiting.reason is Reason.NOT_READY
    await run.driver.bootstrap("c", 4, Policy(), TTL_MS)
    assert run.driver.check_handshake(good) is None
    for wrong, reason in (
        (replace(good, protocol_version=99), Reason.PROTOCOL_VERSION),
        (replace(good, cluster_id="d"), Reason.WRONG_CLUSTER),
        (replace(good, to_member=MemberId(3)), Reason.UNKNOWN_MEMBER),
    ):
        refused = run.driver.check_handshake(wrong)
        assert refused is not None
        assert refused.reason is reason
    run.driver.peer_heard(good)
    assert cast("DirectLinks", run.driver.links).heard_of == [2]
    assert run.driver.address_of(MemberId(2)) == "127.0.0.1:6002"
    run.driver.peer_heard(replace(good, from_address=""))
    assert run.driver.address_of(MemberId(2)) == "127.0.0.1:6002"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"junk", "not a Raft message"),
        (encode_message(Message(MessageType.VOTE, ME, MemberId(2), Term(9))), "VOTE"),
        (encode_message(Message(MessageType.SNAP, ME, MemberId(3), Term(9))), "somebody else"),
        (encode_message(Message(MessageType.SNAP, MemberId(3), MemberId(2))), "somebody else"),
    ],
)
async def test_only_the_senders_snapshot_for_this_member_is_taken(
    world: DriverWorld, message: bytes, words: str
) -> None:
    run = await world.found()
    term = run.member.replica.raw.term
    with pytest.raises(MalformedFrameError, match=words):
        run.driver.peer_snapshot(MemberId(2), message, b"data")
    assert run.member.replica.raw.term == term
    assert run.failure is None


async def test_a_malformed_frame_is_the_peers_fault_and_a_bug_is_ours(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await world.found()
    with pytest.raises(MalformedFrameError):
        run.driver.peer_frame(MemberId(2), [b"junk"], [])
    assert run.failure is None

    def bug(*_: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(run.member, "receive", bug)
    run.driver.peer_frame(MemberId(2), [], [])
    assert str(await run.failed()) == "a bug"


async def test_a_snapshot_that_no_table_is_ends_the_process(world: DriverWorld) -> None:
    await world.found()
    run = world.make(2, join=("127.0.0.1:6001",))
    world.cut = {run.driver.me}
    await run.driver.start("127.0.0.1:6002")
    await until(lambda: run.driver.member is not None)
    snapshot = Snapshot(LogIndex(50), Term(5), ConfState(voters=(ME,), learners=(run.driver.me,)))
    message = Message(MessageType.SNAP, run.driver.me, ME, Term(5), snapshot=snapshot)
    run.driver.peer_snapshot(ME, encode_message(message), b"no table")
    assert isinstance(await run.failed(), MalformedFrameError)


# --- operations


async def test_a_command_is_committed_and_a_refusal_of_the_table_told(world: DriverWorld) -> None:
    run = await world.found()
    assert await run.driver.propose(SetIntent(ME, Intent.CORDON)) == 0
    assert run.member.table.members[ME].intent is Intent.CORDON
    stranger = run.driver.propose(SetIntent(MemberId(7), Intent.CORDON))
    assert await refusal(stranger) == (Reason.CONFLICT, Executed.NO)


async def test_an_outcome_that_does_not_come_is_unknown(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await world.found(2, 3)
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    monkeypatch.setattr(outcomes_module, "OUTCOME_TIMEOUT_S", SHORT_S)
    world.cut = {MemberId(2), MemberId(3)}
    asked = run.driver.propose(SetIntent(ME, Intent.CORDON))
    assert await refusal(asked) == (Reason.DEADLINE_EXCEEDED, Executed.UNKNOWN)


async def test_only_the_leader_takes_orders(world: DriverWorld) -> None:
    await world.found(2)
    other = world.runs[MemberId(2)].driver
    no_leader = (Reason.NO_LEADER, Executed.NO)
    assert await refusal(other.propose(SetIntent(ME, Intent.NONE))) == no_leader
    assert await refusal(other.admit(applicant(5))) == no_leader
    assert await refusal(other.transfer_leader(NO_MEMBER)) == no_leader


async def test_applicants_are_taken_in_once_and_strangers_refused(world: DriverWorld) -> None:
    run = await world.found()
    admission = await run.driver.admit(applicant(5, cluster_id=""))
    assert admission.cluster_id == "c"
    assert admission.peers[MemberId(5)] == "127.0.0.1:6005"
    assert admission.peers[ME] == "127.0.0.1:6001"
    index = run.member.replica.raw.last_index
    assert (await run.driver.admit(applicant(5))).peers == admission.peers
    assert run.member.replica.raw.last_index == index
    assert (await refusal(run.driver.admit(applicant(6, "d"))))[0] is Reason.WRONG_CLUSTER
    assert (await refusal(run.driver.admit(applicant(6, "c", 99))))[0] is Reason.PROTOCOL_VERSION
    assert set(run.member.table.members) == {1, 5}


async def test_a_namesake_takes_the_place_of_a_member_without_a_session_only(
    world: DriverWorld,
) -> None:
    run = await world.found()
    await until(lambda: bool(run.member.session.session))
    alive = dataclasses.replace(applicant(5), name=run.member.table.members[ME].name)
    assert await refusal(run.driver.admit(alive)) == (Reason.CONFLICT, Executed.NO)
    await run.driver.admit(applicant(5))
    gone = dataclasses.replace(applicant(6), name=run.member.table.members[MemberId(5)].name)
    await run.driver.admit(gone)
    await until(lambda: set(run.member.table.members) == {1, 6})


async def test_leadership_is_handed_over_when_asked(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await world.found(2, 3)
    await until(lambda: len(run.member.replica.conf_state.voters) == 3)
    assert await run.driver.transfer_leader(MemberId(3)) == 3
    third = world.runs[MemberId(3)].driver
    await until(lambda: third.member is not None and third.member.is_leader)
    monkeypatch.setattr(driver_module, "OUTCOME_TIMEOUT_S", SHORT_S)
    unknown = (Reason.DEADLINE_EXCEEDED, Executed.UNKNOWN)
    world.cut = {MemberId(3)}
    assert await refusal(third.transfer_leader(ME)) == unknown


async def test_leadership_goes_to_voters_only_and_a_leader_has_it_already(
    world: DriverWorld,
) -> None:
    run = await world.found(2)
    conflict = (Reason.CONFLICT, Executed.NO)
    async with asyncio.timeout(5):
        assert await refusal(run.driver.transfer_leader(MemberId(2))) == conflict  # a learner
        assert await refusal(run.driver.transfer_leader(NO_MEMBER)) == conflict
        assert await run.driver.transfer_leader(ME) == ME


async def test_watchers_hear_of_changes_until_they_leave(world: DriverWorld) -> None:
    run = await world.start(1)
    heard: list[int] = []
    leave = run.driver.on_table_changed(lambda partitions: heard.append(len(partitions)))
    await run.driver.bootstrap("c", 4, Policy(), TTL_MS)
    await until(lambda: heard)
    assert heard[0] == 4
    leave()
    heard.clear()
    await until(lambda: not run.driver.ready_missing())
    await run.driver.propose(SetIntent(ME, Intent.DRAIN))
    assert not heard
