"""Leases of sessions: the member's side (`LeaseHolder`) and the leader's (`LeaseKeeper`).

A member may admit messages only while its session's lease is live. This is why two members never
hold live leases that name the same partition (G1). Let T be the TTL, and let every clock run
within 2 % of real time.

1. A renewal is answered only after a read round that began once it had arrived. The round proves
   that the answering leader still was the leader after the renewal was sent.
2. The holder counts its lease from its own send time, for T x (1 - 2 %) of its clock: at most T of
   real time after sending.
3. A leader expires a session only T x (1 + 2 %) of its clock after the last receipt, at least T of
   real time, and answers nothing in between. Sending comes before receipt, so the lease of every
   renewal that this leader answered is over by then.
4. A renewal answered by an older leader was sent before the newer one was elected (1). The newer
   leader counts every session as renewed when it takes over, so it waits long enough as well.
5. An expiry or grant of an older leader may still commit under a newer one. Whatever the newer
   leader answers carries a read index at or above it, and the lease counts only once the holder
   has applied that index; by then its own table says that the session is over.

Rounding is always on the safe side. Clocks are read in whole ms, rounded down. The holder's term is
rounded down and must be *below* its end, so its true length is never exceeded. The keeper's is
rounded up and begins one ms late, because the true receipt may lie up to 1 ms after its reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from parti_shard.ids import NO_SESSION, LogIndex, MemberId, SessionId
from parti_shard.limits import CLOCK_RATE_ERROR, LeaseTimes

RENEWALS_IN_FLIGHT_MAX = 16  # of one holder; older ones are given up
ROUNDS_IN_FLIGHT_MAX = 4
WAITING_MAX = 4_096  # renewals that wait for a round, at most one per session
DEAF_TTLS = 5  # a holder whom no answer reaches for so many TTLs is let go
_RATE_PERCENT = round(CLOCK_RATE_ERROR * 100)
_CONTEXT = Struct("<cQ")


def holder_term_ms(ttl_ms: int) -> int:
    """Return how long a lease counts, from sending, on the holder's clock. Rounded down."""
    return ttl_ms * (100 - _RATE_PERCENT) // 100


def keeper_term_ms(ttl_ms: int) -> int:
    """Return how long a leader waits from its reading of a receipt. Rounded up, plus one ms."""
    return -(-ttl_ms * (100 + _RATE_PERCENT) // 100) + 1


class LeaseHolder:
    """The member's lease. Before it asks for another session, it must `open` NO_SESSION."""

    __slots__ = (
        "_answered",
        "_applied_index",
        "_next_seq",
        "_sent_at_ms",
        "_sent_last_ms",
        "_times",
        "acknowledged_seq",
        "live_until_ms",
        "session",
    )

    def __init__(self, times: LeaseTimes) -> None:
        self._times = times
        self.session = NO_SESSION
        self.live_until_ms = 0
        self.acknowledged_seq = 0  # of the newest renewal that counts
        self._applied_index = LogIndex(0)
        self._next_seq = 1
        self._sent_last_ms: int | None = None
        self._sent_at_ms: dict[int, int] = {}
        self._answered: dict[int, LogIndex] = {}  # seq -> read index not applied yet

    def use(self, times: LeaseTimes) -> None:
        """Count with the cluster's times from now on; only without a session."""
        assert self.session == NO_SESSION or times == self._times, "the TTL never changes"
        self._times = times

    def open(self, session: SessionId) -> None:
        """Begin with another session, without a lease; NO_SESSION gives the present one up."""
        self.session = session
        self.live_until_ms = 0
        self.acknowledged_seq = 0
        self._sent_last_ms = None
        self._sent_at_ms.clear()
        self._answered.clear()

    def renewal_due(self, now_ms: int) -> bool:
        if self.session == NO_SESSION:
            return False
        last_ms = self._sent_last_ms
        return last_ms is None or now_ms - last_ms >= self._times.renew_every_ms

    def sent(self, now_ms: int) -> int:
        """Note that a renewal leaves now, at the latest; return its sequence number."""
        assert self.session != NO_SESSION, "a renewal without a session"
        seq = self._next_seq
        self._next_seq += 1
        self._sent_last_ms = now_ms
        self._sent_at_ms[seq] = now_ms
        if len(self._sent_at_ms) > RENEWALS_IN_FLIGHT_MAX:
            oldest = next(iter(self._sent_at_ms))
            self._forget_through(oldest)
        return seq

    def acknowledged(self, seq: int, session: SessionId, read_index: LogIndex) -> bool:
        """Take an answer; False if it belongs to nothing that is waited for."""
        if session != self.session or seq not in self._sent_at_ms:
            return False
        self._answered[seq] = read_index
        self._count_applied()
        return True

    def applied(self, index: LogIndex) -> None:
        """Note that the member's table has applied the log up to `index`."""
        self._applied_index = max(self._applied_index, index)
        if self._answered:
            self._count_applied()

    def is_live(self, now_ms: int) -> bool:
        return now_ms < self.live_until_ms

    def check_invariants(self) -> None:
        assert self._answered.keys() <= self._sent_at_ms.keys(), self._answered
        assert len(self._sent_at_ms) <= RENEWALS_IN_FLIGHT_MAX, self._sent_at_ms
        if self.session == NO_SESSION:
            assert not self.live_until_ms, self.live_until_ms
            assert not self._sent_at_ms, self._sent_at_ms

    def _count_applied(self) -> None:
        ready = [seq for seq, index in self._answered.items() if index <= self._applied_index]
        if not ready:
            return
        newest = max(ready)
        until_ms = self._sent_at_ms[newest] + holder_term_ms(self._times.ttl_ms)
        self.live_until_ms = max(self.live_until_ms, until_ms)
        self.acknowledged_seq = newest
        self._forget_through(newest)

    def _forget_through(self, seq: int) -> None:
        for older in [s for s in self._sent_at_ms if s <= seq]:
            del self._sent_at_ms[older]
            self._answered.pop(older, None)


class RenewRefusal(IntEnum):
    """Why a renewal is not answered with a lease."""

    NOT_LEADER = 1  # or not yet one that has applied an entry of its own term
    UNKNOWN_SESSION = 2  # final only once the member's own table says that it is over
    SESSION_STOPPED = 3  # it is about to expire; open another one
    OVERLOADED = 4
    UNKNOWN_MEMBER = 5  # it was taken out of the cluster, and nobody else tells it


@dataclass(frozen=True, slots=True)
class RenewAck:
    """The answer to a renewal: it counts once `read_index` is applied."""

    seq: int
    session: SessionId
    read_index: LogIndex


@dataclass(slots=True)
class _Kept:
    """What the leader knows of one session."""

    member: MemberId
    received_at_ms: int
    stopped: bool = False
    acknowledged_seq: int = 0
    unheard_since_ms: int | None = None  # first answer since the holder last got one


@dataclass(slots=True)
class _Round:
    """Renewals that share one read round, by session."""

    began_at_ms: int
    renewals: dict[SessionId, int]


@dataclass(slots=True)
class KeeperStats:
    """Counts since the process began."""

    rounds: int = 0
    rounds_lost: int = 0
    acknowledged: int = 0
    refused: int = 0
    stopped: int = 0
    deaf: int = 0


class LeaseKeeper:
    """The leader's side. Useless and empty while not leader."""

    def __init__(self, times: LeaseTimes) -> None:
        self._ttl_ms = times.ttl_ms
        self._term_ms = keeper_term_ms(times.ttl_ms)
        self._leading = False
        self._kept: dict[SessionId, _Kept] = {}
        self._waiting: dict[SessionId, int] = {}  # session -> seq of its newest renewal
        self._rounds: dict[bytes, _Round] = {}
        self._rounds_begun = 0  # never reset, so that contexts of this process differ
        self.stats = KeeperStats()

    def use(self, times: LeaseTimes) -> None:
        """Keep leases with the cluster's times from now on; only while not leading."""
        assert not self._leading or times.ttl_ms == self._ttl_ms, "the TTL never changes"
        self._ttl_ms = times.ttl_ms
        self._term_ms = keeper_term_ms(times.ttl_ms)

    def became_leader(self, now_ms: int, open_sessions: Mapping[SessionId, MemberId]) -> None:
        """Begin to keep leases; call it once an entry of the own term is applied."""
        self.lost_leadership()
        self._leading = True
        for session, member in open_sessions.items():
            self._kept[session] = _Kept(member, received_at_ms=now_ms)

    def lost_leadership(self) -> None:
        """Forget everything: nothing known here may be used in another term."""
        self._leading = False
        self._kept.clear()
        self._waiting.clear()
        self._rounds.clear()

    def sessions_changed(self, now_ms: int, open_sessions: Mapping[SessionId, MemberId]) -> None:
        """Follow the table: new sessions count as renewed now, ended ones are forgotten."""
        if not self._leading:
            return
        for session in self._kept.keys() - open_sessions.keys():
            del self._kept[session]
            self._silence(session)
        for session in open_sessions.keys() - self._kept.keys():
            self._kept[session] = _Kept(open_sessions[session], received_at_ms=now_ms)

    def received(
        self, session: SessionId, member: MemberId, seq: int, acknowledged_seq: int, now_ms: int
    ) -> RenewRefusal | None:
        """Take a renewal; None means that it waits for the next round."""
        refusal = self._refusal(session, member)
        if refusal is not None:
            self.stats.refused += 1
            return refusal
        kept = self._kept[session]
        kept.received_at_ms = now_ms
        if acknowledged_seq > kept.acknowledged_seq:
            kept.acknowledged_seq = acknowledged_seq
            kept.unheard_since_ms = None
        self._waiting[session] = max(seq, self._waiting.get(session, 0))
        return None

    def begin_round(self, now_ms: int) -> bytes | None:
        """Return the context of a read round for all that wait; None if nothing can begin."""
        self._give_up_old_rounds(now_ms)
        if not self._waiting or len(self._rounds) >= ROUNDS_IN_FLIGHT_MAX:
            return None
        self._rounds_begun += 1
        context = _CONTEXT.pack(b"L", self._rounds_begun)
        self._rounds[context] = _Round(now_ms, self._waiting)
        self._waiting = {}
        self.stats.rounds += 1
        return context

    def confirmed(
        self, context: bytes, read_index: LogIndex, now_ms: int
    ) -> list[tuple[MemberId, RenewAck]]:
        """Return the answers of a round that a majority has confirmed."""
        finished = self._rounds.pop(context, None)
        if finished is None:
            return []
        answers = []
        for session, seq in finished.renewals.items():
            kept = self._kept[session]
            if kept.unheard_since_ms is None:
                kept.unheard_since_ms = now_ms
            answers.append((kept.member, RenewAck(seq, session, read_index)))
        self.stats.acknowledged += len(answers)
        return answers

    def round_lost(self, context: bytes) -> None:
        """Forget a round that will not be confirmed; the holders renew again by themselves."""
        if self._rounds.pop(context, None) is not None:
            self.stats.rounds_lost += 1

    def stop(self, session: SessionId) -> None:
        """Answer this session never again; it becomes expirable when its lease must be over."""
        kept = self._kept.get(session)
        if kept is None or kept.stopped:
            return
        kept.stopped = True
        self._silence(session)
        self.stats.stopped += 1

    def expirable(self, now_ms: int) -> list[SessionId]:
        """Return the sessions whose lease is over on every clock; they are stopped for good.

        A holder that sends, but that no answer reaches, has no lease either and would hold its
        partitions for ever: it is stopped here as well.
        """
        over = []
        for session, kept in self._kept.items():
            since_ms = kept.unheard_since_ms
            if since_ms is not None and now_ms - since_ms >= DEAF_TTLS * self._ttl_ms:
                self.stats.deaf += not kept.stopped
                self.stop(session)
            if now_ms - kept.received_at_ms >= self._term_ms:
                self.stop(session)
                over.append(session)
        return over

    def next_wake_ms(self, now_ms: int) -> int | None:
        """Return when the next session may become expirable, if it falls silent."""
        ends = (kept.received_at_ms + self._term_ms for kept in self._kept.values())
        return min((end for end in ends if end > now_ms), default=None)

    def is_stopped(self, session: SessionId) -> bool:
        kept = self._kept.get(session)
        return kept is not None and kept.stopped

    def last_heard_ms(self, session: SessionId) -> int | None:
        kept = self._kept.get(session)
        return kept.received_at_ms if kept else None

    def check_invariants(self) -> None:
        assert self._leading or not (self._kept or self._waiting or self._rounds)
        assert len(self._rounds) <= ROUNDS_IN_FLIGHT_MAX, len(self._rounds)
        for renewals in (self._waiting, *(r.renewals for r in self._rounds.values())):
            assert self._answerable(renewals), renewals

    def _answerable(self, renewals: Iterable[SessionId]) -> bool:
        return all(s in self._kept and not self._kept[s].stopped for s in renewals)

    def _refusal(self, session: SessionId, member: MemberId) -> RenewRefusal | None:
        if not self._leading:
            return RenewRefusal.NOT_LEADER
        kept = self._kept.get(session)
        if kept is None or kept.member != member:
            return RenewRefusal.UNKNOWN_SESSION
        if kept.stopped:
            return RenewRefusal.SESSION_STOPPED
        if len(self._waiting) >= WAITING_MAX and session not in self._waiting:
            return RenewRefusal.OVERLOADED
        return None

    def _silence(self, session: SessionId) -> None:
        self._waiting.pop(session, None)
        for waiting in self._rounds.values():
            waiting.renewals.pop(session, None)

    def _give_up_old_rounds(self, now_ms: int) -> None:
        """Drop rounds that nobody confirmed: the leases they could give would be over."""
        for context, begun in list(self._rounds.items()):
            if now_ms - begun.began_at_ms >= self._ttl_ms:
                del self._rounds[context]
                self.stats.rounds_lost += 1
