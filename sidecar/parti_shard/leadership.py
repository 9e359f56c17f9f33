"""What a member does for the others while it leads: leases, ownership, membership.

It begins once an entry of the own term is applied, so that the table is complete, and forgets
everything when leadership is lost. Commands of the coordinator enter the log in the term in which
they were decided or never: the replica drops what waits as soon as it does not lead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from parti_raft.replica import Replica
from parti_shard.codec import decode_batch, encode_batch
from parti_shard.commands import FORWARDABLE, Command, Outcome
from parti_shard.coordinator import Coordinator
from parti_shard.errors import Failure, MalformedFrameError, Reason
from parti_shard.ids import LogIndex, MemberId, PartitionId
from parti_shard.lease import LeaseKeeper, RenewRefusal
from parti_shard.limits import LeaseTimes
from parti_shard.table import Table
from parti_shard.voters import Voters, VotersTag
from parti_shard.wire import Frame, Propose, Proposed, Renew, RenewRefused


@dataclass(frozen=True, slots=True)
class BatchTag:
    """A batch of the coordinator."""

    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class RemoteTag:
    """A batch that another member handed over."""

    member: MemberId
    request_id: int


@dataclass(frozen=True, slots=True)
class RoundTag:
    """A read round of the lease keeper."""

    context: bytes


OwnTag = BatchTag | RemoteTag | VotersTag  # outcomes of these are Leadership's


def check_said(sender: MemberId, frame: Renew | Propose) -> None:
    """Whether a member may say this to its leader. Raises MalformedFrameError."""
    if isinstance(frame, Renew):
        if frame.member != sender:
            raise MalformedFrameError(f"member {sender:016x} renews for {frame.member:016x}")
        return
    _, commands = decode_batch(frame.batch)
    if not all(isinstance(command, FORWARDABLE) for command in commands):
        raise MalformedFrameError("a command that only a leader may propose was handed over")


class Leadership:
    """One per member, idle while another one leads. `send` says something to a member."""

    def __init__(
        self,
        table: Table,
        replica: Replica,
        send: Callable[[MemberId, Frame], None],
        wall_unix_ms: Callable[[], int],
    ) -> None:
        self.keeper = LeaseKeeper(LeaseTimes())
        self.coordinator = Coordinator(table, self.keeper)
        self.voters = Voters(table, replica)
        self._table = table
        self._replica = replica
        self._send = send
        self._wall_unix_ms = wall_unix_ms
        self._term = 0  # of the leadership that is in force; 0: none
        self._followed_index = LogIndex(0)
        self._attention = False

    # --- inputs ----------------------------------------------------------------------------

    def follow(self, changed: Sequence[PartitionId], now_ms: int) -> None:
        """Take note of leadership and of what was applied.

        What did not reach the log is decided anew at the next input or tick, never in the same
        turn: while leadership is handed over nothing gets in, and the turn would not end.
        """
        replica = self._replica
        term = replica.raw.term if replica.leads_with_own_entry else 0
        if term != self._term:
            self._term = term
            self._attention = True
            self.coordinator.lost_leadership()
            if term:
                self.keeper.use(LeaseTimes(self._table.lease_ttl_ms))
                self.coordinator.became_leader(now_ms)
                self.voters.became_leader(now_ms)
        elif term and self._table.applied_index != self._followed_index:
            self.coordinator.table_changed(changed, now_ms)
            self._attention = True
        self._followed_index = self._table.applied_index

    def tick(self) -> None:
        """Time has passed: deadlines may be due."""
        self._attention = True

    def receive(self, sender: MemberId, frame: Renew | Propose, now_ms: int) -> None:
        """Take what a member says to its leader; `check_said` has passed it."""
        self._attention = True
        if isinstance(frame, Propose):
            self._take_over(sender, frame)
            return
        # Whoever has applied as much as the sender, leader or not, knows that it was let in once;
        # who has applied less, as a leader of the past, may not know it yet.
        knows_all = self._table.applied_index >= frame.applied_index
        if knows_all and sender not in self._table.members:
            refusal: RenewRefusal | None = RenewRefusal.UNKNOWN_MEMBER
        else:
            refusal = self.coordinator.renewal(frame, now_ms)
        if refusal is not None:
            self._send(sender, RenewRefused(frame.seq, frame.session, refusal))

    def applied(self, tag: OwnTag, value: object) -> None:
        """A batch was applied with these outcomes, or a membership change."""
        if isinstance(tag, VotersTag):
            self.voters.settled()
            return
        assert isinstance(value, list)
        outcomes: list[Outcome] = value
        if isinstance(tag, RemoteTag):
            self._answer(tag, Reason.OK, outcomes[-1], self._table.applied_index)
            return
        for command, outcome in zip(tag.commands, outcomes, strict=True):
            if not outcome.ok:
                self.coordinator.rejected(command)

    def not_applied(self, tag: OwnTag, failure: Failure) -> None:
        """It did not reach the log, or what became of it is not known."""
        if isinstance(tag, VotersTag):
            self.voters.settled()
        elif isinstance(tag, RemoteTag):
            self._answer(tag, failure.reason, Outcome(), LogIndex(0))
        else:
            self.coordinator.dropped(tag.commands)

    def round_confirmed(self, tag: RoundTag, read_index: LogIndex, now_ms: int) -> None:
        """A majority has confirmed that this member led after the round began."""
        for member, answer in self.keeper.confirmed(tag.context, read_index, now_ms):
            self._send(member, answer)

    def round_lost(self, tag: RoundTag) -> None:
        """Nobody will confirm it any more: others may begin in its place."""
        self.keeper.round_lost(tag.context)

    # --- outputs -----------------------------------------------------------------------------

    def act(self, now_ms: int) -> None:
        """Propose what has to be proposed, ask for the read round that renewals wait for.

        What came in since `follow` may have ended the leadership: then nothing more is done in
        its name, least of all a read round, which would go to the next leader.
        """
        if not self._attention or not self._in_force():
            return
        self._attention = False
        for commands in self.coordinator.turn(now_ms):
            tag = BatchTag(tuple(commands))
            self._replica.propose(tag, encode_batch(self._wall_unix_ms(), commands))
        context = self.keeper.begin_round(now_ms)
        if context is not None:
            self._replica.read(RoundTag(context))
        self.voters.act(now_ms)

    def _in_force(self) -> bool:
        replica = self._replica
        return self._term != 0 and replica.is_leader and replica.raw.term == self._term

    def _take_over(self, sender: MemberId, frame: Propose) -> None:
        tag = RemoteTag(sender, frame.request_id)
        if sender not in self._table.members:
            self._answer(tag, Reason.UNKNOWN_MEMBER, Outcome(), self._table.applied_index)
        elif not self._term:
            self._answer(tag, Reason.NO_LEADER, Outcome(), LogIndex(0))
        else:
            self._replica.propose(tag, frame.batch)

    def _answer(self, tag: RemoteTag, reason: Reason, outcome: Outcome, index: LogIndex) -> None:
        answer = Proposed(tag.request_id, reason, outcome.rejection, outcome.value, index)
        self._send(tag.member, answer)
