"""Route messages and ticks to the role that handles them, after the term rules.

Term rules: a later term makes this member a follower (except for pre-votes, which are about a
term that has not begun); messages of an earlier term are ignored or answered so that their sender
learns of the later term. Terms never fall.
"""

from __future__ import annotations

from parti_raft import candidate, elections, follower, leader
from parti_raft.core import Core
from parti_raft.errors import ProposalDropped
from parti_raft.sizes import NO_LIMIT, entries_encoded_size
from parti_raft.types import (
    NO_MEMBER,
    Entry,
    EntryType,
    LogIndex,
    Message,
    MessageType,
    Role,
    Snapshot,
    Term,
)

_LEADER_MESSAGES = frozenset({MessageType.APP, MessageType.HEARTBEAT, MessageType.SNAP})
_VOTE_REQUESTS = frozenset({MessageType.VOTE, MessageType.PRE_VOTE})


def step(core: Core, message: Message) -> None:
    """Process one message; messages without a term are local or hold in any term."""
    term = message.term
    if term and term != core.term:
        if term < core.term:
            _on_earlier_term(core, message)
            return
        if not _admit_later_term(core, message):
            return
    handler = _HANDLERS[core.role].get(message.type)
    if handler is not None:
        handler(core, message)


def _admit_later_term(core: Core, message: Message) -> bool:
    kind = message.type
    if kind in _VOTE_REQUESTS:
        forced = message.context == elections.TRANSFER_CONTEXT
        if not forced and elections.in_leader_lease(core):
            return False
    if kind is MessageType.PRE_VOTE:
        return True
    if kind is MessageType.PRE_VOTE_RESP and not message.reject:
        return True
    sender = message.sender if kind in _LEADER_MESSAGES else NO_MEMBER
    core.become_follower(message.term, sender)
    return True


def _on_earlier_term(core: Core, message: Message) -> None:
    kind = message.type
    pre_voting = core.config.check_quorum or core.config.pre_vote
    if pre_voting and kind in (MessageType.HEARTBEAT, MessageType.APP):
        # A leader that missed a term would never hear of it otherwise: with these options
        # members of a later term do not disturb it by elections.
        core.send(Message(MessageType.APP_RESP, to=message.sender))
    elif kind is MessageType.PRE_VOTE:
        # A candidate of an earlier term with an outdated log must not stay stuck in it.
        core.send(
            Message(MessageType.PRE_VOTE_RESP, to=message.sender, term=core.term, reject=True)
        )
    elif kind is MessageType.STORAGE_APPEND_RESP and message.snapshot is not None:
        # Entries may have been replaced since, a snapshot cannot: it is committed.
        _snapshot_installed(core, message.snapshot)


def _on_storage_appended(core: Core, message: Message) -> None:
    if message.index:
        core.log.unstable.stable_to(message.index, message.log_term)
    if message.snapshot is not None:
        _snapshot_installed(core, message.snapshot)


def _on_storage_applied(core: Core, message: Message) -> None:
    entries = message.entries
    if entries:
        limited = core.log.max_applying_bytes < NO_LIMIT
        size_bytes = entries_encoded_size(entries) if limited else 0
        _applied_to(core, entries[-1].index, size_bytes)
        core.release_uncommitted(entries)


def _snapshot_installed(core: Core, snapshot: Snapshot) -> None:
    core.log.unstable.stable_snapshot_to(snapshot.index)
    _applied_to(core, snapshot.index, 0)


def _applied_to(core: Core, index: int, size_bytes: int) -> None:
    log = core.log
    log.applied_to(max(index, log.applied), size_bytes)
    if core.role is not Role.LEADER or not core.tracker.configuration.auto_leave:
        return
    if log.applied >= core.pending_conf_index:
        _leave_joint(core)


def _leave_joint(core: Core) -> None:
    empty = Entry(Term(0), LogIndex(0), EntryType.CONF_CHANGE_V2)
    try:
        leader.on_propose(core, Message(MessageType.PROP, entries=(empty,)))
    except ProposalDropped:
        # A transfer is under way: the new leader does it, or this one with its next entry.
        return


def _any_role(handlers: dict[MessageType, follower.Handler]) -> dict[MessageType, follower.Handler]:
    return {
        **handlers,
        MessageType.VOTE: elections.on_vote_request,
        MessageType.PRE_VOTE: elections.on_vote_request,
        MessageType.STORAGE_APPEND_RESP: _on_storage_appended,
        MessageType.STORAGE_APPLY_RESP: _on_storage_applied,
    }


_HANDLERS: dict[Role, dict[MessageType, follower.Handler]] = {
    Role.FOLLOWER: _any_role(follower.HANDLERS),
    Role.CANDIDATE: _any_role(candidate.CANDIDATE_HANDLERS),
    Role.PRE_CANDIDATE: _any_role(candidate.PRE_CANDIDATE_HANDLERS),
    Role.LEADER: _any_role(leader.HANDLERS),
}


def tick(core: Core) -> None:
    """One tick of time has passed."""
    core.election_elapsed += 1
    if core.role is Role.LEADER:
        _tick_leader(core)
    elif core.promotable and core.election_elapsed >= core.election_timeout:
        core.election_elapsed = 0
        elections.start_election(core)


def _tick_leader(core: Core) -> None:
    core.heartbeat_elapsed += 1
    if core.election_elapsed >= core.config.election_tick:
        core.election_elapsed = 0
        if core.config.check_quorum:
            leader.check_quorum(core)
        # A transfer that took so long has failed: serve again.
        core.transferee = NO_MEMBER
    if core.role is Role.LEADER and core.heartbeat_elapsed >= core.config.heartbeat_tick:
        core.heartbeat_elapsed = 0
        leader.on_beat(core)
