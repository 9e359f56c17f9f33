"""One member's access to the replicated store: writes, linearizable reads, keep-alives.

Any member takes requests. A write goes into the log through the leader, and its answer is found by
the member that took it when it applies the entry itself: nobody sends answers. A read asks for a
read index (all reads of a turn share one round) and may look at the store once that is applied.

A write is in the log at most once for each attempt that was not refused. So an attempt whose fate
is open is repeated only if the write belongs to a client session, whose numbers make it count once;
otherwise it is waited for until its deadline and is then unknown.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from parti_kv.codec import decode_command, encode_command
from parti_kv.commands import (
    HANDED_OVER,
    CloseSession,
    Configure,
    ExpireSession,
    OpenSession,
    Writes,
)
from parti_kv.errors import MalformedKvError
from parti_kv.store import KvStore
from parti_kv.values import Answers, SessionId, Status
from parti_raft.replica import Replica
from parti_shard.cluster_machine import ClusterMachine
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import NO_MEMBER, LogIndex, MemberId
from parti_shard.kv_frames import KvKeep, KvKept, KvPropose, KvRefused
from parti_shard.kv_keeper import KvKeeper
from parti_shard.kv_stats import Kind, KvStats
from parti_shard.wire import KvFrame

REPEAT_MS = 500  # without an answer a write is handed over again
PENDING_MAX = 4_096  # writes, reads and keep-alives that wait here, each
PENDING_BYTES_MAX = 64 << 20
KEEP_TIMEOUT_MS = 1_000  # the client asks again by itself
TIMEOUT_MS = 10_000  # for callers who name none
TIMEOUT_MS_MAX = 60_000

_OVERLOADED = Failure(Reason.OVERLOADED, Executed.NO, "too many requests wait here")
_PASSING = frozenset({Reason.NO_LEADER, Reason.PROPOSAL_DROPPED})


@dataclass(frozen=True, slots=True)
class KvTag:
    """A request that entered here and was proposed here."""

    request: int


@dataclass(frozen=True, slots=True)
class KvRemoteTag:
    """A request that another member handed over."""

    member: MemberId
    request: int


@dataclass(frozen=True, slots=True)
class KvOwnTag:
    """A command of the leader itself."""


@dataclass(frozen=True, slots=True)
class KvReadTag:
    """A read that waits for its index."""

    read: int


@dataclass(frozen=True, slots=True)
class KvKeepTag:
    """A keep-alive that waits for proof that this member leads."""

    member: MemberId
    answer: KvKept


KvCommandTag: TypeAlias = KvTag | KvRemoteTag | KvOwnTag
KvRoundTag: TypeAlias = KvReadTag | KvKeepTag


@dataclass(slots=True)
class KvNews:
    """What a turn has brought to those who asked here."""

    answered: list[tuple[Hashable, object]] = field(default_factory=list)
    readable: list[tuple[Hashable, LogIndex]] = field(default_factory=list)
    failed: list[tuple[Hashable, Failure]] = field(default_factory=list)


@dataclass(slots=True)
class _Write:
    tag: Hashable
    kinds: Sequence[int]  # of its operations
    command: bytes
    deadline_ms: int
    repeatable: bool
    open_attempt: bool = False  # one whose fate is not known
    again_at_ms: int = 0
    sent: int = 0


@dataclass(slots=True)
class _Read:
    tag: Hashable
    count: int  # of what is read then
    deadline_ms: int
    asked: bool = False


@dataclass(frozen=True, slots=True)
class _Keep:
    tag: Hashable
    count: int
    deadline_ms: int


class KvAccess:
    """See the module's docstring. `say` tells something to a member, this one included."""

    def __init__(
        self,
        me: MemberId,
        store: KvStore,
        machine: ClusterMachine,
        replica: Replica,
        say: Callable[[MemberId, KvFrame], None],
        *,
        origin: int,
        bytes_max: int,
    ) -> None:
        self.store = store
        self.stats = KvStats()
        self.keeper = KvKeeper(store)
        self._me = me
        self._machine = machine
        self._replica = replica
        self._say = say
        self._origin = origin
        self._bytes_max = bytes_max
        self._news = KvNews()
        self._requests = 0
        self._writes: dict[int, _Write] = {}
        self._writes_bytes = 0
        self._reads: dict[int, _Read] = {}
        self._confirmed: list[tuple[LogIndex, int]] = []  # heap: reads whose index is known
        self._keeps: dict[int, _Keep] = {}
        self._term = 0  # of the leadership in force; 0: none
        self._leader = NO_MEMBER

    # --- what clients ask ------------------------------------------------------------------------

    def write(self, tag: Hashable, writes: Writes, now_ms: int, timeout_ms: int) -> None:
        """Do a batch of writes; what is to be done now goes out with the next turn."""
        writes.origin, writes.request = self._origin, self._requests + 1
        write = _Write(
            tag,
            writes.ops,
            encode_command(writes),
            now_ms + _bounded(timeout_ms),
            bool(writes.session),
        )
        self._enter(write, now_ms)

    def open_session(
        self, tag: Hashable, nonce: int, ttl_ms: int, now_ms: int, timeout_ms: int
    ) -> None:
        """Open a client session; the same nonce again gives the same one."""
        command = encode_command(OpenSession(nonce, ttl_ms, self._origin, self._requests + 1))
        deadline_ms = now_ms + _bounded(timeout_ms)
        write = _Write(tag, (Kind.OPEN_SESSION,), command, deadline_ms, repeatable=True)
        self._enter(write, now_ms)

    def close_session(
        self, tag: Hashable, session: SessionId, now_ms: int, timeout_ms: int
    ) -> None:
        """Close a client session."""
        command = encode_command(CloseSession(session, self._origin, self._requests + 1))
        deadline_ms = now_ms + _bounded(timeout_ms)
        write = _Write(tag, (Kind.CLOSE_SESSION,), command, deadline_ms, repeatable=True)
        self._enter(write, now_ms)

    def read(self, tag: Hashable, now_ms: int, timeout_ms: int, count: int = 1) -> None:
        """Ask when the store may be read such that nothing acknowledged before is missing."""
        read = _Read(tag, count, now_ms + _bounded(timeout_ms))
        if len(self._reads) >= PENDING_MAX:
            self._fail_read(read, _OVERLOADED)
            return
        self._requests += 1
        self._reads[self._requests] = read
        self._ask_read(self._requests, read)

    def keep_alive(self, tag: Hashable, sessions: tuple[SessionId, ...], now_ms: int) -> None:
        """Keep client sessions alive; the answer says which of them live on."""
        leader = self._replica.leader
        keep = _Keep(tag, len(sessions), now_ms + KEEP_TIMEOUT_MS)
        if len(self._keeps) >= PENDING_MAX:
            self._fail_keep(keep, _OVERLOADED)
        elif leader == NO_MEMBER:
            failure = Failure(Reason.NO_LEADER, Executed.NO, "no leader is known here")
            self._fail_keep(keep, failure)
        else:
            self._requests += 1
            self._keeps[self._requests] = keep
            self._say(leader, KvKeep(self._requests, sessions))

    # --- what members say ------------------------------------------------------------------------

    def receive(self, sender: MemberId, frame: KvFrame, now_ms: int) -> None:
        """Take a frame; `check_kv_frame` has passed it."""
        if isinstance(frame, KvPropose):
            if self._replica.is_leader:
                self._replica.propose(KvRemoteTag(sender, frame.request), frame.command)
            else:
                self._say(sender, KvRefused(frame.request, Reason.NO_LEADER))
        elif isinstance(frame, KvRefused):
            self._refused(frame.request, frame.reason, now_ms)
        elif isinstance(frame, KvKeep):
            self._keep(sender, frame, now_ms)
        else:
            self._kept(frame)

    def _keep(self, sender: MemberId, frame: KvKeep, now_ms: int) -> None:
        if not self._term:
            self._say(sender, KvKept(frame.request, Reason.NO_LEADER))
            return
        alive = self.keeper.heard(frame.sessions, now_ms)
        self._replica.read(KvKeepTag(sender, KvKept(frame.request, Reason.OK, alive)))

    def _kept(self, frame: KvKept) -> None:
        keep = self._keeps.pop(frame.request, None)
        if keep is None:
            return
        if frame.reason is Reason.OK:
            over = Status.SESSION_OVER
            statuses = [Status.OK if lives else over for lives in frame.alive]
            self.stats.answer([Kind.KEEP_ALIVE] * len(statuses), statuses)
            self._news.answered.append((keep.tag, frame.alive))
        else:
            failure = Failure(frame.reason, Executed.NO, "the leader cannot tell")
            self._fail_keep(keep, failure)

    # --- what the replica gives ------------------------------------------------------------------

    def dropped(self, tag: KvCommandTag, failure: Failure, now_ms: int) -> None:
        """A command did not get into the log, or what became of it is not known."""
        if isinstance(tag, KvOwnTag):
            return  # decided anew when it is due again
        if isinstance(tag, KvRemoteTag):
            if failure.executed is Executed.NO:
                self._say(tag.member, KvRefused(tag.request, failure.reason))
        elif failure.executed is Executed.NO:
            self._refused(tag.request, failure.reason, now_ms)
        else:
            self._lost(tag.request, failure)

    def read_confirmed(self, tag: KvRoundTag, index: LogIndex) -> None:
        """A majority has confirmed a read round."""
        if isinstance(tag, KvKeepTag):
            self._say(tag.member, tag.answer)
        elif tag.read in self._reads:
            heapq.heappush(self._confirmed, (index, tag.read))

    def read_dropped(self, tag: KvRoundTag) -> None:
        """Nobody confirmed it; reads are asked for again."""
        if isinstance(tag, KvKeepTag):
            self._say(tag.member, KvKept(tag.answer.request, Reason.NO_LEADER))
        elif tag.read in self._reads:
            self._reads[tag.read].asked = False

    # --- turns -----------------------------------------------------------------------------------

    def follow(self, now_ms: int) -> None:
        """Look at what was applied and who leads."""
        for request, answers in self._machine.take_answered():
            self._answered(request, answers)
        applied = self._replica.applied_index
        while self._confirmed and self._confirmed[0][0] <= applied:
            index, number = heapq.heappop(self._confirmed)
            read = self._reads.pop(number, None)
            if read is not None:
                self.stats.succeed(Kind.READ, read.count)
                self._news.readable.append((read.tag, index))
        self._follow_leader(now_ms)

    def _follow_leader(self, now_ms: int) -> None:
        replica = self._replica
        term = replica.raw.term if replica.leads_with_own_entry else 0
        if term != self._term:
            self._term = term
            if term:
                self.keeper.became_leader(now_ms)
            else:
                self.keeper.lost_leadership()
        if replica.leader != self._leader:
            self._leader = replica.leader
            self._leader_changed(now_ms)

    def _leader_changed(self, now_ms: int) -> None:
        """What the old leader was asked for may be lost: ask the new one."""
        if self._leader == NO_MEMBER:
            return
        for number, write in self._writes.items():
            if write.repeatable or not write.open_attempt:
                self._hand_over(number, write, now_ms)
        known = {number for _, number in self._confirmed}
        for number, read in self._reads.items():
            if number not in known:
                self._ask_read(number, read)

    def tick(self, now_ms: int) -> None:
        """Time has passed: give up what is too late, ask again, expire silent sessions."""
        for number, write in list(self._writes.items()):
            if now_ms >= write.deadline_ms:
                self._time_out(number, write)
            elif now_ms >= write.again_at_ms and (write.repeatable or not write.open_attempt):
                self._hand_over(number, write, now_ms)
        for number, read in list(self._reads.items()):
            if now_ms >= read.deadline_ms:
                del self._reads[number]
                self._fail_read(read, _too_late(Executed.NO))
            elif not read.asked:
                self._ask_read(number, read)
        for number, keep in list(self._keeps.items()):
            if now_ms >= keep.deadline_ms:
                del self._keeps[number]
                self._fail_keep(keep, _too_late(Executed.UNKNOWN))
        self._lead(now_ms)

    def _lead(self, now_ms: int) -> None:
        """What only the leader of this term may propose."""
        replica = self._replica
        if not self._term or not replica.is_leader or replica.raw.term != self._term:
            return
        if self.store.bytes_max != self._bytes_max:
            replica.propose(KvOwnTag(), encode_command(Configure(self._bytes_max)))
        for session in self.keeper.take_silent(now_ms):
            replica.propose(KvOwnTag(), encode_command(ExpireSession(session)))

    def take_news(self) -> KvNews | None:
        """What those who asked are to be told; None for nothing."""
        news = self._news
        if not (news.answered or news.readable or news.failed):
            return None
        self._news = KvNews()
        return news

    def check_invariants(self) -> None:
        """Assert what must hold between turns; the store itself is checked by its own."""
        assert len(self._writes) <= PENDING_MAX, len(self._writes)
        assert len(self._reads) <= PENDING_MAX, len(self._reads)
        size_bytes = sum(len(write.command) for write in self._writes.values())
        assert size_bytes == self._writes_bytes, (size_bytes, self._writes_bytes)

    # --- writes under way ------------------------------------------------------------------------

    def _enter(self, write: _Write, now_ms: int) -> None:
        size_bytes = self._writes_bytes + len(write.command)
        if len(self._writes) >= PENDING_MAX or size_bytes > PENDING_BYTES_MAX:
            self._fail_write(write, _OVERLOADED)
            return
        self._requests += 1
        self._writes_bytes = size_bytes
        self._writes[self._requests] = write
        self._hand_over(self._requests, write, now_ms)

    def _hand_over(self, number: int, write: _Write, now_ms: int) -> None:
        """Begin an attempt, if there is a leader; without one the next news of one does."""
        write.again_at_ms = now_ms + REPEAT_MS
        leader = self._replica.leader
        if leader == NO_MEMBER:
            return
        self.stats.repeated += write.sent > 0
        write.sent += 1
        write.open_attempt = True
        if leader == self._me:
            self._replica.propose(KvTag(number), write.command)
        else:
            self.stats.handed_over += 1
            self._say(leader, KvPropose(number, write.command))

    def _answered(self, number: int, answers: Answers) -> None:
        write = self._forget(number)
        if write is not None:
            self.stats.answer(write.kinds, answers.statuses)
            self._news.answered.append((write.tag, answers))

    def _refused(self, number: int, reason: Reason, now_ms: int) -> None:
        """An attempt was refused. For a write that is not repeated it was the only one."""
        write = self._writes.get(number)
        if write is None:
            return
        if not write.repeatable:
            write.open_attempt = False
        if reason in _PASSING:
            write.again_at_ms = now_ms  # with the next tick, or when another leader is known
        elif write.repeatable and write.sent > 1:
            pass  # an earlier attempt may still be in the log
        else:
            self._forget(number)
            failure = Failure(reason, Executed.NO, "the leader refuses the write")
            self._fail_write(write, failure)

    def _lost(self, number: int, failure: Failure) -> None:
        write = self._writes.get(number)
        if write is not None and not write.repeatable:
            self._forget(number)
            self._fail_write(write, failure)

    def _time_out(self, number: int, write: _Write) -> None:
        self._forget(number)
        executed = Executed.UNKNOWN if write.open_attempt else Executed.NO
        self._fail_write(write, _too_late(executed))

    def _forget(self, number: int) -> _Write | None:
        write = self._writes.pop(number, None)
        if write is not None:
            self._writes_bytes -= len(write.command)
        return write

    def _ask_read(self, number: int, read: _Read) -> None:
        read.asked = True
        self._replica.read(KvReadTag(number))

    def _fail_write(self, write: _Write, failure: Failure) -> None:
        self.stats.fail(write.kinds, failure)
        self._news.failed.append((write.tag, failure))

    def _fail_read(self, read: _Read, failure: Failure) -> None:
        self.stats.fail([Kind.READ] * read.count, failure)
        self._news.failed.append((read.tag, failure))

    def _fail_keep(self, keep: _Keep, failure: Failure) -> None:
        self.stats.fail([Kind.KEEP_ALIVE] * keep.count, failure)
        self._news.failed.append((keep.tag, failure))


def check_kv_frame(frame: KvFrame) -> None:
    """Whether a member may say this. Raises MalformedFrameError."""
    if not isinstance(frame, KvPropose):
        return
    try:
        command = decode_command(frame.command)
    except MalformedKvError as error:
        raise MalformedFrameError(str(error)) from error
    if not isinstance(command, HANDED_OVER):
        raise MalformedFrameError("a command that only a leader may propose was handed over")


def _bounded(timeout_ms: int) -> int:
    return min(timeout_ms or TIMEOUT_MS, TIMEOUT_MS_MAX)


def _too_late(executed: Executed) -> Failure:
    return Failure(Reason.DEADLINE_EXCEEDED, executed, "no answer within the time given")
