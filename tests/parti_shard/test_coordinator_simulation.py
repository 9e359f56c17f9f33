"""G1 under virtual time: table, keepers, holders and coordinators round one ordered log.

Consensus is an oracle here: only the true leader appends and confirms rounds, but a deposed one
does not know it yet. Clocks run at different rates; renewals are lost and late; members pause, are
cut off, apply late and change leaders. Each sabotage takes one guard away and has to be caught.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from parti_shard.commands import Command, ExpireSession, NewMember, OpenSession
from parti_shard.coordinator import Coordinator
from parti_shard.ids import NO_SESSION, LogIndex, MemberId, SessionId
from parti_shard.lease import LeaseHolder, LeaseKeeper
from parti_shard.limits import LeaseTimes
from parti_shard.policy import Policy
from parti_shard.table import Phase, Table
from parti_shard.wire import Renew

MEMBERS, PARTITIONS, STEP_MS, STEPS = 3, 6, 10, 3_000


class EagerTimes(LeaseTimes):
    """Renewals so often that a guard's absence shows soon."""

    @property
    def renew_every_ms(self) -> int:
        return self.ttl_ms // 10


TIMES = EagerTimes(ttl_ms=1_000)
SEEDS_TO_CATCH = 60


class UnwaitingKeeper(LeaseKeeper):
    """Sabotage: a new leader does not count sessions as renewed."""

    def became_leader(self, now_ms: int, open_sessions: Mapping[SessionId, MemberId]) -> None:
        super().became_leader(now_ms - 10_000, open_sessions)


class HastyHolder(LeaseHolder):
    """Sabotage: a lease counts before its read index is applied."""

    def acknowledged(self, seq: int, session: SessionId, read_index: LogIndex) -> bool:
        return super().acknowledged(seq, session, LogIndex(0))


@dataclass
class Sabotage:
    keeper: type[LeaseKeeper] = LeaseKeeper
    holder: type[LeaseHolder] = LeaseHolder
    rate_error: float = 0.02
    rounds: bool = True
    early: bool = False  # a leader starts before it has applied its own term


@dataclass
class Peer:
    number: Any
    table: Table
    keeper: LeaseKeeper
    holder: LeaseHolder
    rate: float
    term: int = 0  # of its leadership, as it believes; 0: follower
    started: bool = False
    must_apply: int = 0
    paused_until: int = 0
    deposed_at: int = 0
    applied: int = 0
    nonce: int = 0
    apply_chance: float = 0.6
    released: set[tuple[Any, Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.coordinator = Coordinator(self.table, self.keeper)

    def clock(self, real_ms: int) -> int:
        return int(real_ms * self.rate + 1_000 * self.number)

    def admits(self, partition: int, real_ms: int) -> bool:
        table = self.table
        return (
            table.phase[partition] == Phase.OWNED
            and table.session[partition] == self.holder.session != NO_SESSION
            and (partition, table.epoch[partition]) not in self.released
            and self.holder.is_live(self.clock(real_ms))
        )


class World:
    def __init__(self, seed: int, sabotage: Sabotage) -> None:
        self.seed, self.sabotage = seed, sabotage
        self.rng = random.Random(seed)
        self.real_ms, self.term, self.leader = 0, 0, 0
        self.log: list[list[Command]] = []
        self.mail: list[tuple[int, Any]] = []
        self.cut: dict[int, int] = {}  # member -> cut off from leaders until then
        self.owned_steps = 0
        self.peers = [self._peer(number) for number in range(1, MEMBERS + 1)]

    def _peer(self, number: int) -> Peer:
        policy = Policy(moves_in_flight_max=2, partition_cooldown_ms=500, move_deadline_ms=2_500)
        names: list[Any] = list(range(1, MEMBERS + 1))
        table = Table.initial("c", PARTITIONS, policy, NewMember(names[0], "m", "x"))
        for name in names[1:]:
            table.member_added(table.applied_index, NewMember(name, "m", "x"))
        error = self.sabotage.rate_error
        rate = 1 + self.rng.choice((-error, error, 0))
        keeper, holder = self.sabotage.keeper(TIMES), self.sabotage.holder(TIMES)
        peer = Peer(number, table, keeper, holder, rate)
        if self.sabotage.early and number != 1:  # only a leader that lags can start too early
            peer.apply_chance = 0.03
        return peer

    def run(self) -> None:
        for _ in range(STEPS):
            self.real_ms += STEP_MS
            self.disturb()
            due = [letter for at, letter in self.mail if at <= self.real_ms]
            self.mail = [(at, letter) for at, letter in self.mail if at > self.real_ms]
            for letter in due:
                letter()
            for peer in self.peers:
                if peer.paused_until <= self.real_ms:
                    self.step(peer)
            self.check()

    def post(self, letter: Any, *, lossy: bool = True) -> None:
        if not lossy or self.rng.random() > 0.15:
            self.mail.append((self.real_ms + self.rng.choice((10, 20, 50, 200)), letter))

    def disturb(self) -> None:
        rng = self.rng
        if not self.leader or rng.random() < 0.005:
            self.elect()
        if rng.random() < 0.004:
            rng.choice(self.peers).paused_until = self.real_ms + rng.randrange(100, 1_500)
        if rng.random() < 0.006:
            self.cut[rng.randrange(1, MEMBERS + 1)] = self.real_ms + rng.randrange(200, 2_500)

    def elect(self) -> None:
        for old in self.peers:
            if old.term:
                old.deposed_at = self.real_ms + self.rng.randrange(10, 1_500)
        self.term += 1
        new = self.rng.choice([p for p in self.peers if p.number != self.leader])
        self.leader = new.number
        new.coordinator.lost_leadership()
        new.term, new.started, new.deposed_at = self.term, False, 0
        new.must_apply = len(self.log)

    def step(self, peer: Peer) -> None:
        now_ms = peer.clock(self.real_ms)
        if peer.term and peer.deposed_at and peer.deposed_at <= self.real_ms:
            peer.term = 0
            peer.coordinator.lost_leadership()
        self.apply(peer, now_ms)
        self.keep_session(peer)
        self.release(peer)
        self.renew(peer, now_ms)
        if peer.term:
            self.lead(peer, now_ms)

    def apply(self, peer: Peer, now_ms: int) -> None:
        if self.rng.random() > peer.apply_chance or self.cut.get(peer.number, 0) > self.real_ms:
            return
        while peer.applied < len(self.log) and self.rng.random() < 0.9:
            peer.applied += 1
            index = LogIndex(peer.applied)
            for command in self.log[peer.applied - 1]:
                outcome = peer.table.apply(index, self.real_ms, command)
                if not outcome.ok:
                    peer.coordinator.rejected(command)
            peer.holder.applied(index)
            peer.coordinator.table_changed(peer.table.take_changed(), now_ms)

    def keep_session(self, peer: Peer) -> None:
        record = peer.table.members[peer.number]
        if record.session != peer.holder.session:
            peer.holder.open(record.session if record.nonce == peer.nonce else NO_SESSION)
        if peer.holder.session == NO_SESSION and self.rng.random() < 0.5:
            peer.nonce = self.rng.randrange(1, 2**60)
            opening = OpenSession(peer.number, record.last_session, peer.nonce, "m", "x")
            self.log.append([opening])

    def release(self, peer: Peer) -> None:
        table = peer.table
        for partition in range(PARTITIONS):
            mine = table.session[partition] == peer.holder.session != NO_SESSION
            revoked = table.phase[partition] == Phase.REVOKING and self.rng.random() < 0.2
            if mine and (revoked or self.rng.random() < 0.0005):
                peer.released.add((partition, table.epoch[partition]))

    def renew(self, peer: Peer, now_ms: int) -> None:
        holder, table = peer.holder, peer.table
        if not holder.renewal_due(now_ms):
            return
        released = tuple(
            (p, e) for p, e in sorted(peer.released) if table.epoch[p] == e and table.session[p]
        )
        renew = Renew(
            session=holder.session,
            member=peer.number,
            seq=holder.sent(now_ms),
            acknowledged_seq=holder.acknowledged_seq,
            applied_index=table.applied_index,
            worker_ready=True,
            draining=False,
            released=released,
        )
        if self.cut.get(peer.number, 0) <= self.real_ms:
            for leader in self.peers:
                self.post(lambda to=leader: self.receive(to, renew))

    def receive(self, leader: Peer, renew: Renew) -> None:
        if leader.term and leader.paused_until <= self.real_ms:
            leader.coordinator.renewal(renew, leader.clock(self.real_ms))

    def lead(self, peer: Peer, now_ms: int) -> None:
        if not peer.started and (peer.applied >= peer.must_apply or self.sabotage.early):
            peer.started = True
            peer.coordinator.became_leader(now_ms)
        for batch in peer.coordinator.turn(now_ms):
            if peer.term == self.term:
                self.log.append(batch)
                if isinstance(batch[0], ExpireSession) and self.rng.random() < 0.3:
                    self.elect()
            else:
                peer.coordinator.dropped(batch)
        peer.coordinator.check_invariants()
        context = peer.keeper.begin_round(now_ms)
        if context is None:
            return
        if not self.sabotage.rounds:
            self.confirm(peer, context, peer.applied)
        elif peer.term == self.term:
            term, commit = self.term, len(self.log)
            self.post(lambda: self.finish_round(peer, term, context, commit))

    def finish_round(self, peer: Peer, term: int, context: bytes, commit: int) -> None:
        if term == peer.term == self.term and peer.paused_until <= self.real_ms:
            self.confirm(peer, context, commit)

    def confirm(self, leader: Peer, context: bytes, commit: int) -> None:
        now_ms = leader.clock(self.real_ms)
        for member, ack in leader.keeper.confirmed(context, LogIndex(commit), now_ms):
            holder = self.peers[member - 1].holder
            self.post(lambda h=holder, a=ack: h.acknowledged(a.seq, a.session, a.read_index))

    def check(self) -> None:
        for partition in range(PARTITIONS):
            admitting = [p.number for p in self.peers if p.admits(partition, self.real_ms)]
            self.owned_steps += len(admitting)
            assert len(admitting) <= 1, (
                (
                    f"members {admitting} admit partition {partition} at {self.real_ms} ms;"
                    f" replay: World({self.seed}, {self.sabotage}).run()"
                ),
                [peer.table.story(partition) for peer in self.peers],  # type: ignore[arg-type]
            )


@pytest.mark.parametrize("seed", range(12))
def test_one_owner_whatever_happens(seed: int) -> None:
    world = World(seed, Sabotage())
    world.run()
    assert world.owned_steps > STEPS, "partitions were hardly ever served"
    kinds = Counter(type(command).__name__ for batch in world.log for command in batch)
    assert kinds.keys() >= {"Grant", "Revoke", "OpenSession", "ExpireSession"}, kinds


@pytest.mark.parametrize("seed", range(4))
def test_the_applied_index_alone_protects_from_a_leader_that_starts_early(seed: int) -> None:
    World(seed, Sabotage(early=True)).run()


@pytest.mark.parametrize(
    "sabotage",
    [
        pytest.param(Sabotage(rate_error=0.12), id="clocks-too-wrong"),
        pytest.param(Sabotage(rounds=False), id="answers-without-a-round"),
        pytest.param(Sabotage(keeper=UnwaitingKeeper), id="new-leader-does-not-wait"),
        pytest.param(Sabotage(early=True, holder=HastyHolder), id="applied-index-ignored"),
    ],
)
def test_without_a_guard_two_members_admit(sabotage: Sabotage) -> None:
    for seed in range(SEEDS_TO_CATCH):
        try:
            World(seed, sabotage).run()
        except AssertionError as error:
            assert "admit partition" in str(error)  # noqa: PT017 - the first seed that shows it
            return
    pytest.fail(f"{SEEDS_TO_CATCH} seeds found nothing")
