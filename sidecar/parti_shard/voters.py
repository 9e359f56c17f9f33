"""Who votes: carries out, at the leader, what `membership` finds right. One change at a time.

Consensus marks a member as recently active when it answers, and takes the mark back once per
election timeout; so a member counts as live for a while after it was seen marked. It also marks
members that it has just added, so only one whose log has been proven to match in this term counts
at all: a member that never answered must not become a vote that a majority then needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from parti_raft.confchange import ChangeType, ConfChangeV2, SingleChange
from parti_raft.replica import Replica
from parti_raft.status import ProgressStatus
from parti_raft.types import NO_MEMBER, LogIndex, MemberId
from parti_shard.commands import MemberRecord
from parti_shard.membership import (
    Action,
    Candidate,
    Demote,
    Membership,
    Promote,
    Remove,
    Replace,
    TransferLeader,
    next_action,
)
from parti_shard.table import Table

LOOK_EVERY_MS = 200
LIVE_FOR_MS = 1_500  # after it was last seen active
CHANGE_DEADLINE_MS = 10_000  # after it, a change that was neither applied nor dropped is forgotten


@dataclass(frozen=True, slots=True)
class VotersTag:
    """A membership change of this controller."""

    action: Action


class Voters:
    """One per member, idle while another one leads."""

    def __init__(self, table: Table, replica: Replica) -> None:
        self._table = table
        self._replica = replica
        self._active_at_ms: dict[MemberId, int] = {}
        self._looked_at_ms = 0
        self._changing_until_ms = 0
        self.actions = 0

    def became_leader(self, now_ms: int) -> None:
        """Begin anew: everybody had a moment ago the chance to be heard."""
        self._active_at_ms = dict.fromkeys(self._table.members, now_ms)
        self._looked_at_ms = now_ms
        self._changing_until_ms = 0

    def act(self, now_ms: int) -> None:
        """Propose the one change that is right now, if any."""
        if now_ms - self._looked_at_ms < LOOK_EVERY_MS:
            return
        self._looked_at_ms = now_ms
        action = next_action(self._membership(now_ms))
        if action is not None:
            self.actions += 1
            self._carry_out(action, now_ms)

    def settled(self) -> None:
        """The change under way was applied, or did not reach the log."""
        self._changing_until_ms = 0

    def transfer(self, to: MemberId) -> None:
        """Hand leadership over; NO_MEMBER: to the voter whose log is the longest."""
        target = to if to != NO_MEMBER else self._best_heir()
        if target != NO_MEMBER:
            self._replica.transfer_leader(target)

    def _membership(self, now_ms: int) -> Membership:
        status = self._replica.raw.status()
        for member, progress in status.progress.items():
            if progress.recent_active or member == self._replica.member:
                self._active_at_ms[member] = now_ms
        members = {
            member: self._candidate(member, record, status.progress.get(member), now_ms)
            for member, record in self._table.members.items()
        }
        self._active_at_ms = {m: at for m, at in self._active_at_ms.items() if m in members}
        return Membership(
            leader=self._replica.member,
            conf=self._replica.conf_state,
            commit=self._replica.raw.commit_index,
            members=members,
            policy=self._table.policy,
            busy=now_ms < self._changing_until_ms or status.basic.transferee != NO_MEMBER,
        )

    def _candidate(
        self,
        member: MemberId,
        record: MemberRecord,
        progress: ProgressStatus | None,
        now_ms: int,
    ) -> Candidate:
        active_at_ms = self._active_at_ms.setdefault(member, now_ms)
        return Candidate(
            zone=record.zone,
            intent=record.intent,
            match=LogIndex(progress.match_index if progress is not None else 0),
            heard_ms_ago=now_ms - active_at_ms,
            live=_proven(progress) and now_ms - active_at_ms < LIVE_FOR_MS,
            session_open=record.session != 0,
            owns_partitions=member in self._table.owner,
        )

    def _carry_out(self, action: Action, now_ms: int) -> None:
        if isinstance(action, TransferLeader):
            self._replica.transfer_leader(action.to)
            return
        self._changing_until_ms = now_ms + CHANGE_DEADLINE_MS
        change = ConfChangeV2(changes=_changes(action))
        self._replica.propose_conf_change(VotersTag(action), change)

    def _best_heir(self) -> MemberId:
        heirs = [
            (progress.recent_active, progress.match_index, member)
            for member, progress in self._replica.raw.status().progress.items()
            if not progress.is_learner and member != self._replica.member
        ]
        return max(heirs)[2] if heirs else NO_MEMBER


def _proven(progress: ProgressStatus | None) -> bool:
    """It has answered this leader in this term: before that nothing is known of its log."""
    return progress is not None and progress.match_index > 0


def _changes(action: Promote | Demote | Replace | Remove) -> tuple[SingleChange, ...]:
    """The same in Raft's words; two changes together go through a joint configuration."""
    match action:
        case Promote(member):
            return (SingleChange(ChangeType.ADD_VOTER, member),)
        case Demote(member):
            return (SingleChange(ChangeType.ADD_LEARNER, member),)
        case Replace(voter, learner):
            return (
                SingleChange(ChangeType.ADD_VOTER, learner),
                SingleChange(ChangeType.ADD_LEARNER, voter),
            )
        case Remove(member):
            return (SingleChange(ChangeType.REMOVE, member),)
