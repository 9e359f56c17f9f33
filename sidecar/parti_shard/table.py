"""The replicated table: members, their sessions, and who owns each partition.

Every member applies the same commands in the same order and so holds the same table. Each command
is checked against the epoch, phase and session it expects; one that does not fit changes nothing
and is counted. Invariants:

- The epoch of a partition never falls, and rises by one with each grant (G2); by nothing else, but
  that a cluster which goes on without its quorum skips those that it cannot know of.
- FREE has no owner, session and target. OWNED and REVOKING belong to the open session of exactly
  one member. Only REVOKING has a target.
- A member has at most one open session, and session ids are never used twice.

The table cannot know leases and releases: that a session is over before it expires, and that a
holder let go before its partition is granted again, is the proposing leader's duty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from parti_shard.commands import (
    Cause,
    CloseSession,
    Command,
    DescribeMember,
    ExpireSession,
    Grant,
    Intent,
    MemberRecord,
    NewMember,
    OpenSession,
    Outcome,
    Pin,
    Rejection,
    Release,
    Require,
    Revoke,
    SetIntent,
    SetPolicy,
)
from parti_shard.history import CHANGES_KEPT, Change, PartitionChange
from parti_shard.ids import (
    NO_MEMBER,
    NO_SESSION,
    Epoch,
    LogIndex,
    MemberId,
    PartitionId,
    SessionId,
)
from parti_shard.limits import LeaseTimes
from parti_shard.policy import Policy
from parti_shard.table_codec import decode_state, encode_state, refuse_rollback
from parti_shard.table_state import Phase, TableState

_OK = Outcome()


class Table(TableState):
    """Parallel lists indexed by partition, and the members. Changed by `apply` alone."""

    __slots__ = ("_at_unix_ms", "_changed", "rejections", "roster_revision")

    def __init__(
        self,
        cluster_id: str,
        partitions: int,
        policy: Policy,
        lease_ttl_ms: int = LeaseTimes().ttl_ms,
    ) -> None:
        super().__init__(cluster_id, partitions, policy, lease_ttl_ms)
        # Local, not replicated: what readers of this process have not seen yet, and counts.
        self.roster_revision = 0  # moves with members, sessions, intents, pins and policy
        self.rejections: dict[Rejection, int] = dict.fromkeys(Rejection, 0)
        self._changed: set[PartitionId] = set()
        self._at_unix_ms = 0

    @classmethod
    def initial(
        cls,
        cluster_id: str,
        partitions: int,
        policy: Policy,
        first: NewMember,
        lease_ttl_ms: int = LeaseTimes().ttl_ms,
    ) -> Table:
        """Return the table of a cluster that is being founded by its first member."""
        assert cluster_id, "a cluster has an id"
        assert partitions > 0, "a cluster has partitions"
        table = cls(cluster_id, partitions, policy, lease_ttl_ms)
        table.member_added(LogIndex(0), first)
        return table

    @classmethod
    def empty(cls) -> Table:
        """Return the table of a member that has not received its cluster's snapshot yet."""
        return cls("", 0, Policy())

    def apply(self, index: LogIndex, at_unix_ms: int, command: Command) -> Outcome:
        """Apply one command of the entry at `index`. All commands of an entry share the index."""
        self.advance(index)
        self._at_unix_ms = at_unix_ms
        outcome = _HANDLERS[type(command)](self, command)
        if outcome.rejection:
            self.rejections[outcome.rejection] += 1
        return outcome

    def advance(self, index: LogIndex) -> None:
        """Note that the log is applied up to `index`, also where an entry holds no command."""
        assert index >= self.applied_index, f"applied {index} after {self.applied_index}"
        self.applied_index = index

    def member_added(self, index: LogIndex, new: NewMember) -> Outcome:
        """Take in a member that a configuration change added; a known one keeps its session."""
        assert new.member != NO_MEMBER, "a member has an id"
        self.advance(index)
        known = self.members.get(new.member)
        if known is None:
            record = MemberRecord(new.name, new.address, new.zone, joined_index=index)
        else:
            record = replace(known, name=new.name, address=new.address, said_zone=new.zone)
        self._configure(new.member, record)
        return _OK

    def configured(self, index: LogIndex) -> None:
        """Note a configuration change: who votes is part of what plans are made from."""
        self.advance(index)
        self._config_changed()

    def member_removed(self, index: LogIndex, member: MemberId) -> Outcome:
        """Forget a member that a configuration change took out.

        Whoever proposes the change waits for the end of its session. Should one be open all the
        same, the record stays, so that the session ends by its lease like any other.
        """
        self.advance(index)
        record = self.members.get(member)
        if record is None:
            return self._refuse(Rejection.UNKNOWN_MEMBER)
        if record.session:
            return self._refuse(Rejection.SESSION_OPEN, record.session)
        del self.members[member]
        self.roster_revision += 1
        self._config_changed()
        self.pins = {p: pinned for p, pinned in self.pins.items() if pinned != member}
        for partition in range(self.partitions):
            if self.target[partition] == member:
                self.target[partition] = NO_MEMBER
                self._changed.add(PartitionId(partition))
        return _OK

    def skip_epochs(self, count: int) -> None:
        """Grant no epoch of the next `count` of any partition: somebody else may have."""
        self.epoch[:] = [Epoch(epoch + count) for epoch in self.epoch]

    def take_changed(self) -> list[PartitionId]:
        """Return the partitions changed since the last call, ascending."""
        changed, self._changed = self._changed, set()
        return sorted(changed)

    def snapshot(self) -> bytes:
        """Return all replicated state; equal tables give equal bytes."""
        return encode_state(self)

    def restore(self, data: bytes) -> None:
        """Become the table of a snapshot, in place; every partition counts as changed.

        Refuses damaged bytes, another cluster, an older table and epochs that would fall (G2);
        the table is then unchanged.
        """
        other = decode_state(data)
        refuse_rollback(self, other)
        self.cluster_id, self.partitions = other.cluster_id, other.partitions
        self.lease_ttl_ms = other.lease_ttl_ms
        self.owner[:], self.session[:] = other.owner, other.session
        self.epoch[:], self.phase[:] = other.epoch, other.phase
        self.target[:], self.history[:] = other.target, other.history
        self.pins, self.members, self.sessions = other.pins, other.members, other.sessions
        self.policy, self.next_session = other.policy, other.next_session
        self.applied_index, self.config_index = other.applied_index, other.config_index
        self.roster_revision += 1
        self._changed = set(map(PartitionId, range(self.partitions)))

    def digest(self) -> str:
        """Return a short fingerprint of all replicated state, to compare members with."""
        return blake2b(self.snapshot(), digest_size=8).hexdigest()

    def _refuse(self, rejection: Rejection, value: int = 0) -> Outcome:
        self.rejections[rejection] += 1
        return Outcome(rejection, value)

    def _set_member(self, member: MemberId, record: MemberRecord) -> None:
        self.members[member] = record
        self.roster_revision += 1

    def _configure(self, member: MemberId, record: MemberRecord) -> None:
        """Set a record in a way that makes plans old, if it is another one."""
        if self.members.get(member) != record:
            self._config_changed()
            self._set_member(member, record)

    def _config_changed(self) -> None:
        self.config_index = max(self.config_index, self.applied_index)

    def _note(self, partition: PartitionId, change: Change, cause: Cause) -> None:
        entry = PartitionChange(
            self.applied_index,
            self._at_unix_ms,
            change,
            self.owner[partition],
            self.epoch[partition],
            cause,
        )
        kept = self.history[partition][1 - CHANGES_KEPT :]
        self.history[partition] = (*kept, entry)
        self._changed.add(partition)

    def _free(self, partition: PartitionId, change: Change, cause: Cause) -> None:
        """Take a partition from its owner; the epoch stays, the history keeps the owner."""
        self._note(partition, change, cause)
        self.owner[partition] = NO_MEMBER
        self.session[partition] = NO_SESSION
        self.phase[partition] = Phase.FREE
        self.target[partition] = NO_MEMBER

    def _end_session(self, session: SessionId, change: Change, cause: Cause) -> Outcome:
        member = self.sessions.pop(session, NO_MEMBER)
        if member == NO_MEMBER:
            return Outcome(Rejection.UNKNOWN_SESSION)
        self._set_member(member, replace(self.members[member], session=NO_SESSION))
        for partition, holder in enumerate(self.session):
            if holder == session:
                self._free(PartitionId(partition), change, cause)
        return Outcome(value=session)

    def _open_session(self, command: OpenSession) -> Outcome:
        record = self.members.get(command.member)
        if record is None:
            return Outcome(Rejection.UNKNOWN_MEMBER)
        if record.last_session and record.nonce == command.nonce:
            if record.session:
                return Outcome(value=record.session)
            return Outcome(Rejection.SESSION_OVER, record.last_session)
        if command.previous_session != record.last_session:
            return Outcome(Rejection.WRONG_SESSION, record.last_session)
        if record.intent is Intent.REMOVE:
            return Outcome(Rejection.MEMBER_LEAVING)
        if command.capacity < 1:
            return Outcome(Rejection.BAD_CAPACITY)
        if record.session:
            self._end_session(record.session, Change.CLOSED, Cause.CLOSED)
        session = self.next_session
        self.next_session = SessionId(session + 1)
        self.sessions[session] = command.member
        opened = replace(
            record,
            name=command.name,
            address=command.address,
            said_zone=command.zone,
            said_capacity=command.capacity,
            router_only=command.router_only,
            version=command.version,
            session=session,
            last_session=session,
            nonce=command.nonce,
        )
        self._set_member(command.member, opened)
        return Outcome(value=session)

    def _close_session(self, command: CloseSession) -> Outcome:
        return self._end_session(command.session, Change.CLOSED, Cause.CLOSED)

    def _expire_session(self, command: ExpireSession) -> Outcome:
        return self._end_session(command.session, Change.EXPIRED, Cause.EXPIRED)

    def _grant(self, command: Grant) -> Outcome:
        partition = command.partition
        if partition >= self.partitions:
            return Outcome(Rejection.BAD_PARTITION)
        if self.epoch[partition] != command.expect_epoch:
            return Outcome(Rejection.WRONG_EPOCH, self.epoch[partition])
        if self.sessions.get(command.session) != command.member:
            return Outcome(Rejection.UNKNOWN_SESSION)
        self.epoch[partition] = Epoch(command.expect_epoch + 1)
        self.owner[partition] = command.member
        self.session[partition] = command.session
        self.phase[partition] = Phase.OWNED
        self.target[partition] = NO_MEMBER
        self._note(partition, Change.GRANTED, command.cause)
        return _OK

    def _revoke(self, command: Revoke) -> Outcome:
        partition = command.partition
        if partition >= self.partitions:
            return Outcome(Rejection.BAD_PARTITION)
        if self.epoch[partition] != command.expect_epoch:
            return Outcome(Rejection.WRONG_EPOCH, self.epoch[partition])
        if self.phase[partition] != Phase.OWNED:
            return Outcome(Rejection.WRONG_PHASE)
        if command.target and command.target not in self.members:
            return Outcome(Rejection.UNKNOWN_MEMBER)
        self.phase[partition] = Phase.REVOKING
        self.target[partition] = command.target
        self._note(partition, Change.REVOKED, command.cause)
        return _OK

    def _release(self, command: Release) -> Outcome:
        partition = command.partition
        if partition >= self.partitions:
            return Outcome(Rejection.BAD_PARTITION)
        if self.epoch[partition] != command.epoch:
            return Outcome(Rejection.WRONG_EPOCH, self.epoch[partition])
        if self.phase[partition] == Phase.FREE:
            return Outcome(Rejection.WRONG_PHASE)
        if self.session[partition] != command.session:
            return Outcome(Rejection.WRONG_SESSION, self.session[partition])
        self._free(partition, Change.RELEASED, self.history[partition][-1].cause)
        return _OK

    def _set_intent(self, command: SetIntent) -> Outcome:
        record = self.members.get(command.member)
        if record is None:
            return Outcome(Rejection.UNKNOWN_MEMBER)
        self._configure(command.member, replace(record, intent=command.intent))
        return _OK

    def _describe_member(self, command: DescribeMember) -> Outcome:
        record = self.members.get(command.member)
        if record is None:
            return Outcome(Rejection.UNKNOWN_MEMBER)
        described = replace(record, set_zone=command.zone, set_capacity=command.capacity)
        self._configure(command.member, described)
        return _OK

    def _require(self, command: Require) -> Outcome:
        if self.config_index > command.config_index:
            return Outcome(Rejection.CONFIG_CHANGED, self.config_index)
        return _OK

    def _pin(self, command: Pin) -> Outcome:
        if command.partition >= self.partitions:
            return Outcome(Rejection.BAD_PARTITION)
        if command.member == NO_MEMBER:
            self.pins.pop(command.partition, None)
        elif command.member in self.members:
            self.pins[command.partition] = command.member
        else:
            return Outcome(Rejection.UNKNOWN_MEMBER)
        self.roster_revision += 1
        self._config_changed()
        return _OK

    def _set_policy(self, command: SetPolicy) -> Outcome:
        if command.policy.validate():
            return Outcome(Rejection.BAD_POLICY)
        self.policy = command.policy
        self.roster_revision += 1
        self._config_changed()
        return _OK


__all__ = ["Phase", "Table"]

_HANDLERS: dict[type[Command], Callable[[Table, Any], Outcome]] = {
    OpenSession: Table._open_session,  # noqa: SLF001 - the dispatch table of this class
    CloseSession: Table._close_session,  # noqa: SLF001
    ExpireSession: Table._expire_session,  # noqa: SLF001
    Grant: Table._grant,  # noqa: SLF001
    Revoke: Table._revoke,  # noqa: SLF001
    Release: Table._release,  # noqa: SLF001
    SetIntent: Table._set_intent,  # noqa: SLF001
    DescribeMember: Table._describe_member,  # noqa: SLF001
    Pin: Table._pin,  # noqa: SLF001
    SetPolicy: Table._set_policy,  # noqa: SLF001
    Require: Table._require,  # noqa: SLF001
}
