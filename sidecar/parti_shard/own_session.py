"""This member's run as a session: opened, kept alive, reported on, closed.

It follows its own table and says at most one thing to the leader per turn. Everything said is
repeated until the table or an answer shows that it was heard, so nothing here depends on a message
arriving. Invariant: before another session is asked for, the lease of the last one is given up
(`LeaseHolder.open(NO_SESSION)`), so the gate is shut when the table ends that session.

A member that shall be removed and owns nothing any more goes on as an origin for its application,
for `removal_grace_ms`, or until whoever stops it has it closed: the leader takes nobody out of the
cluster whose session is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parti_shard.codec import encode_batch
from parti_shard.commands import CloseSession, Command, Intent, OpenSession
from parti_shard.ids import NO_SESSION, Epoch, MemberId, PartitionId, SessionId
from parti_shard.lease import LeaseHolder, RenewAck, RenewRefusal
from parti_shard.limits import LeaseTimes
from parti_shard.table import Table
from parti_shard.wire import Propose, Renew, RenewRefused

REQUEST_AGAIN_MS = 500  # a session that was asked for and did not come is asked for again
REFUSED_AGAIN_MS = 50  # what a leader refused that does not lead yet, or not any more, likewise


@dataclass(frozen=True, slots=True)
class Profile:
    """What a member says of itself when it opens a session."""

    name: str
    address: str
    zone: str = ""
    capacity: int = 1
    router_only: bool = False
    version: str = ""


class OwnSession:
    """See the module's docstring."""

    def __init__(
        self, me: MemberId, profile: Profile, nonce: int, *, removal_grace_ms: int = 0
    ) -> None:
        self.me = me
        self.holder = LeaseHolder(LeaseTimes())
        self.draining = False
        self.refused = 0
        self._profile = profile
        self._removal_grace_ms = removal_grace_ms
        self._spared_until_ms: int | None = None  # while it shall be removed and owns nothing
        self._nonce = nonce  # of the session that is wanted or open; the next one takes the next
        self._closing = False
        self._given_up = NO_SESSION  # over for this member, whatever the table still says
        self._ask_again_ms = 0
        self._requests = 0
        self._released: dict[PartitionId, Epoch] = {}
        self._said = (False, False)  # worker ready, draining: as said last
        self._renew_from_ms: int | None = None  # wanted earlier than in its turn

    @property
    def session(self) -> SessionId:
        """The open session, or NO_SESSION."""
        return self.holder.session

    @property
    def is_closed(self) -> bool:
        """The session was closed on request and is over."""
        return self._closing and self.session == self._given_up == NO_SESSION

    def close(self) -> None:
        """End the session and open no other."""
        self._closing = True
        if self.session != NO_SESSION:
            self._give_up()

    def leader_changed(self) -> None:
        """Speak to the new leader at once: it knows nothing of this member, and the election may
        have used up most of the lease.
        """
        self._renew_from_ms = 0
        self._ask_again_ms = 0

    def follow(self, table: Table) -> None:
        """Take note of what was applied."""
        record = table.members.get(self.me)
        mine = record is not None and record.nonce == self._nonce
        current = record.session if record is not None and mine else NO_SESSION
        ended = mine and current == NO_SESSION
        if current != NO_SESSION and current == self._given_up:
            current = NO_SESSION
        else:
            self._given_up = NO_SESSION
        if current != self.session:
            self.holder.open(NO_SESSION)
            self.holder.use(LeaseTimes(table.lease_ttl_ms))
            self.holder.open(current)
            self._released.clear()
        if ended:
            self._nonce += 1
            self._ask_again_ms = 0
        self.holder.applied(table.applied_index)
        self._forget_heard(table)

    def released(self, epochs: Iterable[tuple[PartitionId, Epoch]]) -> None:
        """Report these epochs: nothing will be admitted under them again."""
        self._released.update(epochs)
        self._renew_from_ms = 0

    def answered(self, answer: RenewAck | RenewRefused, now_ms: int) -> None:
        """Take the leader's answer to a renewal."""
        if isinstance(answer, RenewAck):
            self.holder.acknowledged(answer.seq, answer.session, answer.read_index)
            return
        self.refused += 1
        if answer.reason is RenewRefusal.NOT_LEADER and self._renew_from_ms is None:
            self._renew_from_ms = now_ms + REFUSED_AGAIN_MS

    def request_refused(self, now_ms: int) -> None:
        """The request changed nothing, and another one may: ask again soon."""
        self._ask_again_ms = min(self._ask_again_ms, now_ms + REFUSED_AGAIN_MS)

    def next_frame(
        self,
        now_ms: int,
        wall_unix_ms: int,
        table: Table,
        *,
        worker_ready: bool,
        load: Mapping[PartitionId, int],
    ) -> Renew | Propose | None:
        """What to say to the leader now, if anything."""
        record = table.members.get(self.me)
        if record is None:
            return None
        leaving = self._shall_leave(table, now_ms)
        if self.session != NO_SESSION and (self._closing or leaving):
            self._give_up()
        if self._given_up != NO_SESSION:
            return self._ask(CloseSession(self._given_up), now_ms, wall_unix_ms)
        if self._closing:
            return None
        if self.session != NO_SESSION:
            return self._renew(now_ms, table, worker_ready=worker_ready, load=load)
        if record.intent is Intent.REMOVE:
            return self._ask_whether_member(now_ms, table)
        return self._ask(self._open_command(record.last_session), now_ms, wall_unix_ms)

    def renewal_due(self, now_ms: int, *, worker_ready: bool) -> bool:
        """Whether a renewal is wanted now: in time, or because there is something to report."""
        return self.session != NO_SESSION and (
            (self._renew_from_ms is not None and now_ms >= self._renew_from_ms)
            or self._said != (worker_ready, self.draining)
            or self.holder.renewal_due(now_ms)
        )

    def _shall_leave(self, table: Table, now_ms: int) -> bool:
        """Whether removal has come so far that only this session holds it up, and is due.

        A member that is told to stop closes its session itself when its application is gone.
        """
        if table.members[self.me].intent is not Intent.REMOVE or self.me in table.owner:
            self._spared_until_ms = None
            return False
        if self._spared_until_ms is None:
            self._spared_until_ms = now_ms + self._removal_grace_ms
        return now_ms >= self._spared_until_ms and not self.draining

    def _give_up(self) -> None:
        """Use the session no more, whatever the table still says, and have it closed: a grant
        that is on its way must not be served while the log ends the session.
        """
        self._given_up = self.session
        self.holder.open(NO_SESSION)
        self._ask_again_ms = 0

    def _renew(
        self,
        now_ms: int,
        table: Table,
        *,
        worker_ready: bool,
        load: Mapping[PartitionId, int],
    ) -> Renew | None:
        if not self.renewal_due(now_ms, worker_ready=worker_ready):
            return None
        self._renew_from_ms = None
        self._said = (worker_ready, self.draining)
        return Renew(
            session=self.session,
            member=self.me,
            seq=self.holder.sent(now_ms),
            acknowledged_seq=self.holder.acknowledged_seq,
            applied_index=table.applied_index,
            worker_ready=worker_ready,
            draining=self.draining,
            released=tuple(self._released.items()),
            load=tuple(load.items()),
        )

    def _open_command(self, last_session: SessionId) -> OpenSession:
        profile = self._profile
        return OpenSession(
            member=self.me,
            previous_session=last_session,
            nonce=self._nonce,
            name=profile.name,
            address=profile.address,
            zone=profile.zone,
            capacity=profile.capacity,
            router_only=profile.router_only,
            version=profile.version,
        )

    def _ask_whether_member(self, now_ms: int, table: Table) -> Renew | None:
        """Learn that the removal is done: a renewal of nothing, refused without an entry of the
        log. Nobody else tells a member that is out.
        """
        if now_ms < self._ask_again_ms:
            return None
        self._ask_again_ms = now_ms + REQUEST_AGAIN_MS
        return Renew(
            session=NO_SESSION,
            member=self.me,
            seq=0,
            acknowledged_seq=0,
            applied_index=table.applied_index,
            worker_ready=False,
            draining=self.draining,
        )

    def _ask(self, command: Command, now_ms: int, wall_unix_ms: int) -> Propose | None:
        if now_ms < self._ask_again_ms:
            return None
        self._ask_again_ms = now_ms + REQUEST_AGAIN_MS
        self._requests += 1
        return Propose(self._requests, encode_batch(wall_unix_ms, [command]))

    def _forget_heard(self, table: Table) -> None:
        """Drop reports of epochs that the table shows to be over."""
        for partition, epoch in list(self._released.items()):
            if table.epoch[partition] != epoch or table.session[partition] != self.session:
                del self._released[partition]
