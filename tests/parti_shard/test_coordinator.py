"""The coordinator, rule by rule, against a table that applies what it proposes."""

from __future__ import annotations

from typing import Any

from parti_shard.commands import (
    Cause,
    CloseSession,
    Command,
    ExpireSession,
    Grant,
    Intent,
    NewMember,
    OpenSession,
    Pin,
    Release,
    Revoke,
    SetIntent,
)
from parti_shard.coordinator import Coordinator
from parti_shard.explain import explain
from parti_shard.lease import LeaseKeeper, keeper_term_ms
from parti_shard.limits import LeaseTimes
from parti_shard.policy import Policy
from parti_shard.table import Phase, Table
from parti_shard.wire import Renew

TIMES = LeaseTimes(ttl_ms=1_000)
POLICY = Policy(moves_in_flight_max=2, move_deadline_ms=3_000)


class Scene:
    """A leader, its table, and members that renew when told."""

    def __init__(self, members: int = 2, partitions: int = 4) -> None:
        names: list[Any] = list(range(1, members + 1))
        self.table = Table.initial("c", partitions, POLICY, NewMember(names[0], "a-1", "x"))
        for name in names[1:]:
            self.table.member_added(self.table.applied_index, NewMember(name, f"a-{name}", "x"))
        self.keeper = LeaseKeeper(TIMES)
        self.coordinator = Coordinator(self.table, self.keeper)
        self.now_ms, self.seq = 0, 0
        nothing: Any = 0
        self.apply([OpenSession(name, nothing, name, f"a-{name}", "x") for name in names])
        self.coordinator.became_leader(0)

    def apply(self, commands: list[Command]) -> None:
        index: Any = self.table.applied_index + 1
        for command in commands:
            assert self.table.apply(index, self.now_ms, command).ok, command
        self.coordinator.table_changed(self.table.take_changed(), self.now_ms)
        self.coordinator.check_invariants()

    def reopen(self, member: Any) -> None:
        """The member comes back with a new session."""
        record = self.table.members[member]
        self.apply([OpenSession(member, record.last_session, 100 + member, record.name, "x")])

    def renew(
        self, member: Any, released: Any = (), *, ready: bool = True, drain: bool = False
    ) -> None:
        self.seq += 1
        session = self.table.members[member].session
        index = self.table.applied_index
        renew = Renew(session, member, self.seq, self.seq - 1, index, ready, drain, released)
        assert self.coordinator.renewal(renew, self.now_ms) is None

    def turn(self, after_ms: int = 0) -> list[Command]:
        self.now_ms += after_ms
        commands = [command for batch in self.coordinator.turn(self.now_ms) for command in batch]
        self.coordinator.check_invariants()
        return commands

    def settle(self, after_ms: int = 0) -> list[Command]:
        """Apply what is proposed and let holders release, until nothing more comes."""
        done: list[Command] = []
        commands = self.turn(after_ms)
        for _ in range(50):
            if not commands:
                return done
            done += commands
            self.apply(commands)
            for partition, phase in enumerate(self.table.phase):
                if phase == Phase.REVOKING:
                    owner = self.table.owner[partition]
                    self.renew(owner, ((partition, self.table.epoch[partition]),))
            commands = self.turn()
        raise AssertionError(("it does not come to rest", self.coordinator.story()))


def settled() -> Scene:
    """Return a scene in which both members own two partitions each."""
    scene = Scene()
    scene.renew(1)
    scene.renew(2)
    scene.settle()
    scene.settle(after_ms=500)
    assert sorted(scene.table.owner) == [1, 1, 2, 2]
    return scene


def test_the_first_ready_member_gets_everything_at_once_and_later_ones_their_share() -> None:
    scene = Scene()
    scene.renew(1, ready=False)
    assert scene.turn() == []
    scene.renew(1)
    grants = scene.turn()
    assert [type(c) for c in grants] == [Grant] * 4
    assert scene.turn() == [], "nothing is proposed twice"
    scene.apply(grants)
    scene.now_ms += 300
    scene.renew(2)
    assert scene.turn(after_ms=199) == []
    revokes = scene.turn(after_ms=1)
    assert [type(c) for c in revokes] == [Revoke] * 2
    assert all(isinstance(c, Revoke) and c.cause is Cause.REBALANCE for c in revokes)


def test_expiry_and_the_grants_that_follow_share_an_entry() -> None:
    scene = settled()
    scene.renew(2)
    scene.now_ms += keeper_term_ms(TIMES.ttl_ms) - 1
    scene.renew(1)
    assert not any(isinstance(c, ExpireSession) for c in scene.turn())
    scene.now_ms += 1
    (batch,) = scene.coordinator.turn(scene.now_ms)
    assert [type(c) for c in batch] == [ExpireSession, Grant, Grant]
    scene.apply(batch)
    assert scene.table.owner == [1, 1, 1, 1]


def test_a_drain_moves_everything_within_the_limit() -> None:
    scene = settled()
    drain: Any = SetIntent(2, Intent.DRAIN)  # type: ignore[arg-type]
    scene.apply([drain])
    first = scene.turn()
    assert [type(c) for c in first] == [Revoke] * 2
    assert all(isinstance(c, Revoke) and (c.target, c.cause) == (1, Cause.DRAIN) for c in first)
    scene.apply(first)
    assert scene.coordinator.moves_in_flight == POLICY.moves_in_flight_max
    scene.renew(2, tuple((c.partition, c.expect_epoch) for c in first if isinstance(c, Revoke)))
    scene.settle()
    assert scene.table.owner == [1, 1, 1, 1]


def test_the_last_member_lets_go_at_once_when_nobody_can_take_over() -> None:
    scene = settled()
    scene.renew(1, drain=True)
    scene.renew(2, drain=True)
    revokes = scene.turn()
    assert len(revokes) == 4
    scene.apply(revokes)
    for member in (1, 2):
        own = [p for p in range(4) if scene.table.owner[p] == member]
        scene.renew(member, tuple((p, scene.table.epoch[p]) for p in own), drain=True)
    releases = scene.turn()
    assert [type(c) for c in releases] == [Release] * 4
    scene.apply(releases)
    assert scene.turn() == []
    partition: Any = 0
    assert "a-1 is shutting down" in explain(scene.table, scene.coordinator, partition)


def test_a_replaced_worker_gets_a_new_epoch_on_the_same_member() -> None:
    scene = settled()
    partition = scene.table.owner.index(2)  # type: ignore[arg-type]
    epoch = scene.table.epoch[partition]
    scene.renew(2, ((partition, epoch),))
    (grant,) = scene.turn()
    assert isinstance(grant, Grant)
    assert (grant.member, grant.expect_epoch, grant.cause) == (2, epoch, Cause.WORKER_REPLACED)


def test_only_the_owners_session_is_believed_that_it_released() -> None:
    scene = settled()
    partition = scene.table.owner.index(2)  # type: ignore[arg-type]
    scene.renew(1, ((partition, scene.table.epoch[partition]),))
    assert scene.turn() == []
    scene.renew(2, ((partition, scene.table.epoch[partition] - 1),))
    assert scene.turn() == []


def test_a_holder_that_does_not_let_go_loses_its_session() -> None:
    scene = settled()
    pinned: Any = Pin(scene.table.owner.index(2), 1)  # type: ignore[arg-type]
    scene.apply([pinned])
    (revoke,) = scene.turn()
    assert isinstance(revoke, Revoke)
    assert revoke.cause is Cause.MANUAL
    scene.apply([revoke])
    session = scene.table.members[2].session  # type: ignore[index]
    for _ in range(6):
        scene.now_ms += 500
        scene.renew(1)
        scene.renew(2)
        assert not any(isinstance(c, ExpireSession) for c in scene.turn())
    assert scene.keeper.is_stopped(session)
    assert scene.coordinator.stats.moves_overdue == 1
    scene.renew(1)
    scene.now_ms += 600
    scene.renew(1)
    assert any(isinstance(c, ExpireSession) for c in scene.turn(after_ms=500))


def test_a_closed_session_is_an_emergency_and_waits_for_nothing() -> None:
    scene = settled()
    scene.apply([CloseSession(scene.table.members[2].session)])  # type: ignore[index]
    assert [type(c) for c in scene.turn()] == [Grant] * 2


def test_a_dropped_batch_is_proposed_again_and_the_dry_run_changes_nothing() -> None:
    scene = Scene()
    scene.renew(1)
    planned = scene.coordinator.plan()
    assert [(m.source, m.target) for m in planned] == [(0, 1)] * 4
    commands = scene.turn()
    scene.coordinator.dropped(commands)
    assert scene.turn() == commands
    scene.coordinator.lost_leadership()
    scene.coordinator.check_invariants()
    assert scene.turn() == []
