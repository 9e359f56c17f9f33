"""Campaigns and votes (Raft sections 5.2 and 5.4.1; pre-vote: thesis section 9.6)."""

from __future__ import annotations

from enum import Enum

from parti_raft.core import Core
from parti_raft.types import NO_MEMBER, EntryType, Message, MessageType, Role, Term

# Marks the vote request of a member that the leader itself asked to take over: voters grant it
# although they have a live leader.
TRANSFER_CONTEXT = b"leadership transfer"

_RESPONSE_TYPES = {
    MessageType.VOTE: MessageType.VOTE_RESP,
    MessageType.PRE_VOTE: MessageType.PRE_VOTE_RESP,
}


class Campaign(Enum):
    """Kinds of campaigns."""

    PRE_ELECTION = "pre-election"
    ELECTION = "election"
    TRANSFER = "transfer"  # without pre-vote: the leader gives way on purpose


def start_election(core: Core) -> None:
    """The election timeout has passed, or the driver asks for a campaign."""
    start_campaign(core, Campaign.PRE_ELECTION if core.config.pre_vote else Campaign.ELECTION)


def start_campaign(core: Core, kind: Campaign) -> None:
    """Campaign, unless this member leads already or may not lead.

    With an unapplied configuration change in the committed log, votes would be counted by a
    configuration that is no longer in force: two leaders in one term could follow.
    """
    if core.role is Role.LEADER or not core.promotable or _has_unapplied_conf_change(core):
        return
    campaign(core, kind)


def _has_unapplied_conf_change(core: Core) -> bool:
    log = core.log
    return any(
        entry.type is not EntryType.NORMAL
        for page in log.pages(log.applied + 1, log.committed + 1)
        for entry in page
    )


def campaign(core: Core, kind: Campaign) -> None:
    """Become (pre-)candidate and ask all voters, oneself by way of the storage."""
    if kind is Campaign.PRE_ELECTION:
        core.become_pre_candidate()
        request, term = MessageType.PRE_VOTE, Term(core.term + 1)
    else:
        core.become_candidate()
        request, term = MessageType.VOTE, core.term
    context = TRANSFER_CONTEXT if kind is Campaign.TRANSFER else b""
    last_index, last_term = core.log.last_index(), core.log.last_term()
    for voter in sorted(core.tracker.configuration.all_voters):
        if voter == core.id:
            core.send(Message(_RESPONSE_TYPES[request], to=voter, term=term))
            continue
        core.send(
            Message(
                request,
                to=voter,
                term=term,
                log_term=last_term,
                index=last_index,
                context=context,
            )
        )


def in_leader_lease(core: Core) -> bool:
    """A live leader was heard of within the minimum election timeout: do not disturb it."""
    return (
        core.config.check_quorum
        and core.leader != NO_MEMBER
        and core.election_elapsed < core.config.election_tick
    )


def on_vote_request(core: Core, message: Message) -> None:
    """Grant or refuse a vote or pre-vote of the current (pre-vote: or a later) term.

    Learners vote too: the candidate may know, as this member does not yet, that it was promoted.
    """
    is_pre_vote = message.type is MessageType.PRE_VOTE
    may_vote = (
        core.vote == message.sender
        or (core.vote == NO_MEMBER and core.leader == NO_MEMBER)
        or (is_pre_vote and message.term > core.term)
    )
    response = _RESPONSE_TYPES[message.type]
    if not may_vote or not core.log.is_up_to_date(message.index, message.log_term):
        core.send(Message(response, to=message.sender, term=core.term, reject=True))
        return
    # The term of the request, not the own one: a pre-candidate drops answers of other terms.
    core.send(Message(response, to=message.sender, term=message.term))
    if not is_pre_vote:
        core.election_elapsed = 0
        core.vote = message.sender
