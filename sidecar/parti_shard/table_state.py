"""The values that make up the replicated table, and what always holds between them."""

from __future__ import annotations

from enum import IntEnum

from parti_shard.commands import MemberRecord
from parti_shard.history import CHANGES_KEPT, PartitionChange
from parti_shard.ids import (
    NO_EPOCH,
    NO_MEMBER,
    NO_SESSION,
    Epoch,
    LogIndex,
    MemberId,
    PartitionId,
    SessionId,
)
from parti_shard.limits import PARTITIONS_MAX
from parti_shard.policy import Policy


class Phase(IntEnum):
    """Where a partition stands in its life."""

    FREE = 0
    OWNED = 1
    REVOKING = 2


class TableState:
    """Parallel lists indexed by partition, and the members; all of it replicated."""

    __slots__ = (
        "applied_index",
        "cluster_id",
        "config_index",
        "epoch",
        "history",
        "lease_ttl_ms",
        "members",
        "next_session",
        "owner",
        "partitions",
        "phase",
        "pins",
        "policy",
        "session",
        "sessions",
        "target",
    )

    def __init__(self, cluster_id: str, partitions: int, policy: Policy, lease_ttl_ms: int) -> None:
        assert 0 <= partitions <= PARTITIONS_MAX, f"{partitions} partitions"
        self.cluster_id = cluster_id
        self.partitions = partitions
        self.policy = policy
        self.lease_ttl_ms = lease_ttl_ms
        self.applied_index = LogIndex(0)
        # Of the last change of members, voters, intents, facts, pins or the policy; never 0, which
        # says in requests that nothing is required.
        self.config_index = LogIndex(1)
        self.owner: list[MemberId] = [NO_MEMBER] * partitions
        self.session: list[SessionId] = [NO_SESSION] * partitions
        self.epoch: list[Epoch] = [NO_EPOCH] * partitions
        self.phase: list[Phase] = [Phase.FREE] * partitions
        self.target: list[MemberId] = [NO_MEMBER] * partitions
        self.history: list[tuple[PartitionChange, ...]] = [()] * partitions
        self.pins: dict[PartitionId, MemberId] = {}
        self.members: dict[MemberId, MemberRecord] = {}
        self.sessions: dict[SessionId, MemberId] = {}  # the open ones
        self.next_session = SessionId(1)

    def last_owner(self, partition: PartitionId) -> MemberId:
        """Return the owner, or for a FREE partition the one it had last; 0 if it never had any."""
        history = self.history[partition]
        return history[-1].member if history else NO_MEMBER

    def check_invariants(self) -> None:
        assert self.config_index <= max(self.applied_index, 1), self.config_index
        columns = (self.owner, self.session, self.epoch, self.phase, self.target, self.history)
        assert all(len(column) == self.partitions for column in columns), "columns differ in length"
        open_sessions = {r.session: m for m, r in self.members.items() if r.session}
        assert open_sessions == self.sessions, (open_sessions, self.sessions)
        for member, record in self.members.items():
            assert record.session in (NO_SESSION, record.last_session), (member, record)
            assert record.last_session < self.next_session, (member, record)
        for partition in map(PartitionId, range(self.partitions)):
            self._check_partition(partition)
        assert all(member in self.members for member in self.pins.values()), self.pins

    def story(self, partition: PartitionId) -> list[str]:
        """Return the last changes of a partition as lines, oldest first."""
        return [
            f"index {c.at_index}: {c.change.label} member {c.member:#x} epoch {c.epoch}"
            f" ({c.cause.label})"
            for c in self.history[partition]
        ]

    def _check_partition(self, partition: PartitionId) -> None:
        story = (partition, self.story(partition))
        phase, owner = self.phase[partition], self.owner[partition]
        session, target = self.session[partition], self.target[partition]
        if phase == Phase.FREE:
            assert owner == NO_MEMBER, story
            assert session == NO_SESSION, story
        else:
            assert owner != NO_MEMBER, story
            assert self.sessions.get(session) == owner, story
            assert self.epoch[partition] > NO_EPOCH, story
        assert target == NO_MEMBER or (phase == Phase.REVOKING and target in self.members), story
        assert len(self.history[partition]) <= CHANGES_KEPT, story
