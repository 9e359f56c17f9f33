"""The heart of a sidecar: Raft replica, table, session, leadership and router as one pure object.

The asyncio driver and the simulator run this same object. Events go in as method calls, `turn`
gives the effects. In a turn everything that follows from the events is worked off in this order:
what this member has to do as the leader, the replica, what was applied (the router learns of the
table before it sees any other input, and the lease counts only for what is applied), and then what
this member has to say to the leader, which so rests on all that is known here.

Members that are not the leader talk to it with `wire` frames; a leader's own frames take the same
way without leaving the process.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from parti_kv.limits import STORE_BYTES_MAX
from parti_kv.store import KvStore
from parti_raft.codec import MalformedMessageError, decode_message, encode_message
from parti_raft.confchange import ChangeType, ConfChangeV2, SingleChange
from parti_raft.replica import Replica
from parti_raft.replica_values import Drop, PersistJob, ReplicaLimits, RestoredState, Turn
from parti_raft.types import Message, MessageType
from parti_shard.cluster_machine import ClusterMachine
from parti_shard.codec import encode_member
from parti_shard.commands import NewMember, Rejection
from parti_shard.coordinator import Coordinator
from parti_shard.effects import Effects, Event
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import NO_MEMBER, MemberId
from parti_shard.kv_access import KvAccess, KvCommandTag, KvRoundTag, check_kv_frame
from parti_shard.leadership import Leadership, OwnTag, RoundTag, check_said
from parti_shard.lease import RenewAck, RenewRefusal
from parti_shard.limits import RouterLimits
from parti_shard.own_session import OwnSession, Profile
from parti_shard.router import Router
from parti_shard.standing import Report
from parti_shard.table import Table
from parti_shard.wire import (
    Frame,
    KvFrame,
    Propose,
    Renew,
    RenewRefused,
    decode_frame,
    encode_frame,
)

# A turn goes round until nothing moves; what one round causes, the next works off. Far above
# what is possible, so that a cycle is a bug and not a hang.
TURN_ROUNDS_MAX = 1_000

_DROPS = {
    Drop.NOT_LEADER: Reason.NO_LEADER,
    Drop.REFUSED: Reason.PROPOSAL_DROPPED,
    Drop.OVERWRITTEN: Reason.PROPOSAL_DROPPED,
    Drop.OVERLOADED: Reason.OVERLOADED,
    Drop.TOO_LARGE: Reason.INVALID_ARGUMENT,
}


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """How a member behaves."""

    profile: Profile
    router: RouterLimits = field(default_factory=RouterLimits)
    replica: ReplicaLimits = field(default_factory=ReplicaLimits)
    available_for_ms: int = 0  # mode Available: admit so long after the lease; gives up G1
    removal_grace_ms: int = 0  # being removed, go on as an origin for so long
    store_bytes_max: int = STORE_BYTES_MAX  # what the key-value store may hold, if it leads


class Member:
    """See the module's docstring."""

    def __init__(
        self,
        me: MemberId,
        settings: MemberSettings,
        restored: RestoredState,
        *,
        random_timeout: Callable[[int, int], int],
        nonce: int,
        wall_unix_ms: Callable[[], int],
    ) -> None:
        self.me = me
        self.table = Table.empty()
        self.store = KvStore()
        machine = ClusterMachine(self.table, self.store, nonce)
        self.replica = Replica(me, machine, settings.replica, restored, random_timeout)
        self.router = Router(me, self.table, settings.router)
        self.session = OwnSession(
            me, settings.profile, nonce, removal_grace_ms=settings.removal_grace_ms
        )
        self.leadership = Leadership(self.table, self.replica, self._say, wall_unix_ms)
        self.kv = KvAccess(
            me,
            self.store,
            machine,
            self.replica,
            self._say,
            origin=nonce,
            bytes_max=settings.store_bytes_max,
        )
        self.leader_changes = 0
        self._available_for_ms = settings.available_for_ms
        self._wall_unix_ms = wall_unix_ms
        self._effects = Effects()
        self._own_frames: list[Frame] = []  # what this member says to itself
        self._revision_told = self.store.revision
        self._leader_seen = NO_MEMBER
        self._frames_said = 0
        self._lease_told = (self.session.session, 0)
        self._followed_index = -1
        self._members_seen: frozenset[MemberId] = frozenset()
        self._roster_seen = -1

    # --- views ---------------------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Leads and knows everything that was ever committed."""
        return self.replica.leads_with_own_entry

    @property
    def coordinator(self) -> Coordinator:
        """The leader's view of ownership."""
        return self.leadership.coordinator

    @property
    def draining(self) -> bool:
        """Asks to be drained because the process is about to end."""
        return self.session.draining

    @property
    def available_mode(self) -> bool:
        """Whether it goes on for a while without a lease."""
        return self._available_for_ms > 0

    @property
    def owns_anything(self) -> bool:
        """Whether the table names this member as an owner."""
        return self.me in self.table.owner

    @property
    def leads_others(self) -> bool:
        """Whether it leads although another member could."""
        voters = self.replica.conf_state.voters
        return self.replica.leader == self.me and any(voter != self.me for voter in voters)

    @property
    def drained(self) -> bool:
        """Owns nothing and does not lead, unless nobody else could."""
        return not self.owns_anything and not self.leads_others

    def lease_remaining_ms(self, now_ms: int) -> int:
        """How long the lease still counts."""
        return max(0, self.session.holder.live_until_ms - now_ms)

    def heard(self, member: MemberId) -> Report | None:
        """What a member said of itself last; only the leader knows."""
        return self.coordinator.report(member)

    # --- events -----------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Let one tick pass."""
        self.replica.tick()
        self.router.tick(now_ms)
        self.leadership.tick()
        self.kv.tick(now_ms)

    def receive(
        self, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes], now_ms: int
    ) -> None:
        """Take one frame of a peer; raises MalformedFrameError, then nothing of it counts."""
        messages = [self._checked(sender, data) for data in raft]
        frames = [_checked_frame(sender, data) for data in session]
        self.replica.receive(messages)
        for frame in frames:
            self._hear(sender, frame, now_ms)

    def receive_snapshot(self, message: Message) -> None:
        """Take a whole snapshot message."""
        self.replica.receive([message])

    def persisted(self, job: PersistJob) -> None:
        """A job is on disk; they end in order."""
        self.replica.persisted(job)

    def propose(self, tag: Hashable, batch: bytes) -> None:
        """Ask for an encoded batch of commands; the outcome comes with a turn."""
        self.replica.propose(tag, batch)

    def admit(self, tag: Hashable, new: NewMember) -> None:
        """Ask to take in a new member as a learner; the outcome comes with a turn."""
        change = SingleChange(ChangeType.ADD_LEARNER, new.member)
        context = encode_member(new)
        self.replica.propose_conf_change(tag, ConfChangeV2(changes=(change,), context=context))

    def transfer_leader(self, to: MemberId) -> None:
        """Hand leadership over; NO_MEMBER: to the best voter."""
        self.leadership.voters.transfer(to)

    def close_session(self, now_ms: int) -> None:
        """Admit nothing any more, end the session, open no other."""
        self.router.stop_admitting(now_ms)
        self.session.close()

    def collect_router_news(self, now_ms: int) -> bool:
        """After messages went through the router: whether the leader must hear of something."""
        released = self.router.take_released()
        if released:
            self.session.released(released)
        due = self.session.renewal_due(now_ms, worker_ready=self.router.worker_ready)
        return due and self._listener(now_ms) != NO_MEMBER

    # --- turns ------------------------------------------------------------------------------------

    def turn(self, now_ms: int) -> Effects:
        """Work until nothing is left to do without outside help."""
        for _ in range(TURN_ROUNDS_MAX):
            self.collect_router_news(now_ms)
            self.leadership.act(now_ms)
            moved = self._take(self.replica.turn(), now_ms)
            self._speak(now_ms)
            moved |= self._hear_own(now_ms)
            if not moved:
                break
        else:
            raise AssertionError("a turn does not end")
        effects, self._effects = self._effects, Effects()
        self._tell_store(effects)
        return effects

    def check_invariants(self, now_ms: int) -> None:
        """Assert what must hold between turns; for tests and the simulator."""
        self.table.check_invariants()
        self.session.holder.check_invariants()
        self.coordinator.check_invariants()
        self.router.check_invariants(now_ms)
        self.replica.raw.check_invariants()
        self.kv.check_invariants()

    def _tell_store(self, effects: Effects) -> None:
        """What the turn has brought to those who asked the store, or watch it."""
        if self.store.revision != self._revision_told:
            self._revision_told = self.store.revision
            effects.store_changed = True
        effects.locks_changed = self.store.locks.take_changed()
        news = self.kv.take_news()
        if news is not None:
            effects.applied.extend(news.answered)
            effects.reads.extend(news.readable)
            effects.failed.extend(news.failed)

    def _speak(self, now_ms: int) -> None:
        """Say what is due to whoever listens."""
        listener = self._listener(now_ms)
        if listener == NO_MEMBER:
            return
        ready = self.router.worker_ready
        frame = self.session.next_frame(
            now_ms,
            self._wall_unix_ms(),
            self.table,
            worker_ready=ready,
            load=self.router.load() if self._reports_load(now_ms, worker_ready=ready) else {},
        )
        self._tell_lease(now_ms)  # it may have been given up just now
        if frame is not None:
            self._frames_said += 1
            self._say(listener, frame)

    def _listener(self, now_ms: int) -> MemberId:
        """The leader. Without one and without a lease: the voters in turn.

        A leader cannot reach a member that came back at another address, and does not try to
        reach one that was removed. Being asked, it learns the address, or says that it is over.
        """
        leader = self.replica.leader
        if leader == self.me and not self.is_leader:
            return NO_MEMBER  # it would refuse itself
        if leader != NO_MEMBER or self.session.holder.is_live(now_ms):
            return leader
        voters = [voter for voter in self.replica.conf_state.voters if voter != self.me]
        return voters[self._frames_said % len(voters)] if voters else NO_MEMBER

    def _reports_load(self, now_ms: int, *, worker_ready: bool) -> bool:
        return self.table.policy.load_aware and self.session.renewal_due(
            now_ms, worker_ready=worker_ready
        )

    def _say(self, to: MemberId, frame: Frame) -> None:
        if to == self.me:
            self._own_frames.append(frame)
        else:
            self._effects.frame(to).session.append(encode_frame(frame))

    def _hear_own(self, now_ms: int) -> bool:
        frames, self._own_frames = self._own_frames, []
        for frame in frames:
            self._hear(self.me, frame, now_ms)
        return bool(frames)

    def _hear(self, sender: MemberId, frame: Frame, now_ms: int) -> None:
        if isinstance(frame, Renew | Propose):
            self.leadership.receive(sender, frame, now_ms)
        elif isinstance(frame, RenewAck | RenewRefused):
            self.session.answered(frame, now_ms)
            self._tell_lease(now_ms)
            if isinstance(frame, RenewRefused) and frame.reason is RenewRefusal.UNKNOWN_MEMBER:
                self._effects.removed = True
        elif isinstance(frame, KvFrame):
            self.kv.receive(sender, frame, now_ms)
        elif frame.reason is Reason.UNKNOWN_MEMBER and frame.index >= self.table.applied_index:
            # This member was taken out and is told nothing more. Whoever has applied less than it,
            # as a leader of the past, may not know yet that it was let in.
            self._effects.removed = True
        elif frame.reason is not Reason.OK or frame.rejection is Rejection.WRONG_SESSION:
            # Either it did not reach the log, or this table was not complete when it was asked.
            self.session.request_refused(now_ms)

    def _checked(self, sender: MemberId, data: bytes) -> Message:
        try:
            message = decode_message(data)
        except MalformedMessageError as error:
            raise MalformedFrameError(str(error)) from error
        if message.sender != sender or message.to != self.me:
            raise MalformedFrameError(
                f"a message {message.sender:016x}->{message.to:016x} came from {sender:016x}"
            )
        return message

    # --- what the replica gives -----------------------------------------------------------------

    def _take(self, turn: Turn, now_ms: int) -> bool:
        """Pass on what came out; True if something here may follow from it."""
        effects = self._effects
        effects.jobs.extend(turn.jobs)
        for message in turn.messages:
            if message.sender != self.me:
                continue  # a read of another member, who asks the new leader by itself
            if message.type is MessageType.SNAP:
                effects.snapshots.append(message)
            else:
                effects.frame(message.to).raft.append(encode_message(message))
        moved = self._follow(now_ms)
        for tag, index in turn.reads:
            moved = True
            if isinstance(tag, RoundTag):
                self.leadership.round_confirmed(tag, index, now_ms)
            else:
                assert isinstance(tag, KvRoundTag), tag
                self.kv.read_confirmed(tag, index)
        moved |= self._take_outcomes(turn, now_ms)
        self.kv.follow(now_ms)
        return moved

    def _take_outcomes(self, turn: Turn, now_ms: int) -> bool:
        own = False
        for tag, value in turn.applied:
            if isinstance(tag, OwnTag):
                own = True
                self.leadership.applied(tag, value)
            elif not isinstance(tag, KvCommandTag):  # the machine keeps the store's answers
                self._effects.applied.append((tag, value))
        for tag, why in turn.dropped:
            own |= self._fail(tag, Failure(_DROPS[why], Executed.NO, why.value), now_ms)
        for tag in turn.unknown:
            failure = Failure(Reason.CONNECTION_LOST, Executed.UNKNOWN, "the outcome is not known")
            own |= self._fail(tag, failure, now_ms)
        for tag in turn.reads_dropped:
            if isinstance(tag, RoundTag):
                self.leadership.round_lost(tag)
            else:
                assert isinstance(tag, KvRoundTag), tag
                self.kv.read_dropped(tag)
        return own

    def _fail(self, tag: Hashable, failure: Failure, now_ms: int) -> bool:
        if isinstance(tag, OwnTag):
            self.leadership.not_applied(tag, failure)
            return True
        if isinstance(tag, KvCommandTag):
            self.kv.dropped(tag, failure, now_ms)
        else:
            self._effects.failed.append((tag, failure))
        return False

    def _follow(self, now_ms: int) -> bool:
        """Let every part see what was applied, and who leads."""
        changed = self.table.take_changed()
        applied = self.replica.applied_index != self._followed_index
        led = self.replica.leader != self._leader_seen
        if led:
            self._leader_changed()
        if not applied and not led:
            self.leadership.follow((), now_ms)
            return False
        self._followed_index = self.replica.applied_index
        if changed:
            self.router.table_changed(changed, now_ms)
            self._effects.changed.extend(changed)
        self.session.follow(self.table)
        self._tell_lease(now_ms)
        self.leadership.follow(changed, now_ms)
        self._follow_roster()
        return True

    def _tell_lease(self, now_ms: int) -> None:
        holder = self.session.holder
        lease = (holder.session, holder.live_until_ms)
        if lease == self._lease_told:
            return
        if lease[0] != self._lease_told[0]:
            self._session_changed()
        self._lease_told = lease
        until_ms = holder.live_until_ms
        if until_ms and self._available_for_ms:
            overtime_ms = until_ms
            until_ms += self._available_for_ms
            self.router.set_lease(holder.session, until_ms, now_ms, overtime_from_ms=overtime_ms)
        else:
            self.router.set_lease(holder.session, until_ms, now_ms)

    def _leader_changed(self) -> None:
        self._leader_seen = self.replica.leader
        self.leader_changes += 1
        self.session.leader_changed()
        self._event("leader changed", leader=_hex(self._leader_seen), term=self.replica.raw.term)

    def _session_changed(self) -> None:
        session = self.session.session
        if session:
            self._event("session opened", session=session)
        else:
            self._event("session is over")

    def _follow_roster(self) -> None:
        if self.table.roster_revision == self._roster_seen:
            return
        self._roster_seen = self.table.roster_revision
        members = frozenset(self.table.members)
        for member in members - self._members_seen:
            self._event("member added", name=self.table.members[member].name, id=_hex(member))
        for member in self._members_seen - members:
            self._event("member removed", id=_hex(member))
            self._effects.members_gone.append(member)
        if self.table.partitions and self.me not in members:
            self._effects.removed = True  # also when this run begins with such a table
        self._members_seen = members

    def _event(self, sentence: str, /, **details: object) -> None:
        self._effects.events.append(Event(sentence, details))


def _checked_frame(sender: MemberId, data: bytes) -> Frame:
    frame = decode_frame(data)
    if isinstance(frame, Renew | Propose):
        check_said(sender, frame)
    elif isinstance(frame, KvFrame):
        check_kv_frame(frame)
    return frame


def _hex(member: MemberId) -> str:
    return f"{member:016x}" if member else "none"
