"""A candidate or pre-candidate: it counts votes, and gives way to a leader of its term.

The two differ only in the answers they count: answers to the pre-vote that still arrive during
the election belong to a question nobody asks any more.
"""

from __future__ import annotations

from parti_raft.core import Core
from parti_raft.elections import Campaign, campaign
from parti_raft.errors import DropReason, ProposalDropped
from parti_raft.follower import Handler, on_append, on_heartbeat, on_snapshot
from parti_raft.quorum import VoteResult
from parti_raft.replication import broadcast_append
from parti_raft.types import NO_MEMBER, Message, MessageType, Role


def on_propose(_core: Core, _message: Message) -> None:
    """Nobody can take a proposal during an election."""
    raise ProposalDropped(DropReason.NO_LEADER)


def on_vote_response(core: Core, message: Message) -> None:
    """Count an answer; act when the outcome is certain."""
    core.tracker.record_vote(message.sender, granted=not message.reject)
    result = core.tracker.tally_votes()
    if result is VoteResult.LOST:
        core.become_follower(core.term, NO_MEMBER)
    elif result is VoteResult.WON:
        if core.role is Role.PRE_CANDIDATE:
            campaign(core, Campaign.ELECTION)
        else:
            core.become_leader()
            broadcast_append(core)


def _giving_way(handler: Handler) -> Handler:
    def give_way(core: Core, message: Message) -> None:
        core.become_follower(message.term, message.sender)
        handler(core, message)

    return give_way


_BOTH: dict[MessageType, Handler] = {
    MessageType.PROP: on_propose,
    MessageType.APP: _giving_way(on_append),
    MessageType.HEARTBEAT: _giving_way(on_heartbeat),
    MessageType.SNAP: _giving_way(on_snapshot),
}
CANDIDATE_HANDLERS = {**_BOTH, MessageType.VOTE_RESP: on_vote_response}
PRE_CANDIDATE_HANDLERS = {**_BOTH, MessageType.PRE_VOTE_RESP: on_vote_response}
