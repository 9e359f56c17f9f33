"""A follower: it takes entries, heartbeats and snapshots from its leader and forwards requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from parti_raft.changer import restore
from parti_raft.config import ReadOnlyOption
from parti_raft.core import Core
from parti_raft.elections import Campaign, start_campaign
from parti_raft.errors import DropReason, InvalidMessageError, ProposalDropped
from parti_raft.tracker import Tracker
from parti_raft.types import (
    NO_MEMBER,
    LogIndex,
    Message,
    MessageType,
    ReadState,
    Role,
    Snapshot,
    Term,
)

Handler = Callable[[Core, Message], None]


def on_propose(core: Core, message: Message) -> None:
    """Forward a proposal to the leader."""
    if core.leader == NO_MEMBER:
        raise ProposalDropped(DropReason.NO_LEADER)
    if core.config.disable_proposal_forwarding:
        raise ProposalDropped(DropReason.FORWARDING_DISABLED)
    core.send(replace(message, to=core.leader))


def forward(core: Core, message: Message) -> None:
    """Forward a request to the leader, if one is known."""
    if core.leader != NO_MEMBER:
        core.send(replace(message, to=core.leader))


def _heard_of_leader(core: Core, message: Message) -> None:
    core.election_elapsed = 0
    core.leader = message.sender


def on_append(core: Core, message: Message) -> None:
    """Take entries from the leader of this term."""
    _check_contiguous(message)
    _heard_of_leader(core, message)
    take_entries(core, message)


def on_heartbeat(core: Core, message: Message) -> None:
    """Take a sign of life, and the commit index, from the leader of this term."""
    _heard_of_leader(core, message)
    take_heartbeat(core, message)


def on_snapshot(core: Core, message: Message) -> None:
    """Take a snapshot from the leader of this term."""
    _heard_of_leader(core, message)
    take_snapshot(core, message)


def _check_contiguous(message: Message) -> None:
    entries = message.entries
    if not entries:
        return
    first, last = entries[0].index, entries[-1].index
    if first != message.index + 1 or last != message.index + len(entries):
        raise InvalidMessageError(
            f"entries {first}..{last} after {message.index} in a message of {len(entries)}"
        )


def take_entries(core: Core, message: Message) -> None:
    """Append what is new and acknowledge, or say where the logs may match."""
    log = core.log
    response = Message(MessageType.APP_RESP, to=message.sender)
    if message.index < log.committed:
        # A late message: everything up to the commit index matches by definition.
        response.index = LogIndex(log.committed)
        core.send(response)
        return
    matching = log.maybe_append(message.index, message.log_term, message.entries, message.commit)
    if matching is not None:
        response.index = LogIndex(matching)
        core.send(response)
        return
    # Entries of later terms than the leader's cannot match: skip them all in one answer.
    hint_index, hint_term = log.find_conflict_by_term(
        min(message.index, log.last_index()), message.log_term
    )
    response.index = message.index
    response.reject = True
    response.reject_hint = LogIndex(hint_index)
    response.log_term = Term(hint_term)
    core.send(response)


def take_heartbeat(core: Core, message: Message) -> None:
    """Advance the commit index and answer."""
    core.log.commit_to(message.commit)
    core.send(Message(MessageType.HEARTBEAT_RESP, to=message.sender, context=message.context))


def take_snapshot(core: Core, message: Message) -> None:
    """Install a snapshot, or say how far this log goes without it."""
    snapshot = message.snapshot or Snapshot()
    installed = _restore(core, snapshot)
    index = core.log.last_index() if installed else LogIndex(core.log.committed)
    core.send(Message(MessageType.APP_RESP, to=message.sender, index=index))


def _restore(core: Core, snapshot: Snapshot) -> bool:
    log = core.log
    if snapshot.index <= log.committed:
        return False
    assert core.role is Role.FOLLOWER
    state = snapshot.conf_state
    if core.id not in (*state.voters, *state.learners, *state.voters_outgoing):
        return False
    if log.matches(snapshot.index, snapshot.term):
        # The log holds all of it: keep the entries, they are committed.
        log.commit_to(snapshot.index)
        return False
    log.restore(snapshot)
    core.tracker = Tracker(core.config.max_inflight_msgs, core.config.max_inflight_bytes)
    restore(core.tracker, log.last_index(), state)
    return True


def on_forget_leader(core: Core, _message: Message) -> None:
    """Stop believing in the leader, so that this member may vote; not under a lease."""
    if core.config.read_only_option is not ReadOnlyOption.LEASE_BASED:
        core.leader = NO_MEMBER


def on_timeout_now(core: Core, _message: Message) -> None:
    """The leader asks this member to take over."""
    start_campaign(core, Campaign.TRANSFER)


def on_read_index_response(core: Core, message: Message) -> None:
    """The leader has confirmed a read of this member."""
    core.read_states.append(ReadState(message.index, message.context))


HANDLERS: dict[MessageType, Handler] = {
    MessageType.PROP: on_propose,
    MessageType.APP: on_append,
    MessageType.HEARTBEAT: on_heartbeat,
    MessageType.SNAP: on_snapshot,
    MessageType.TRANSFER_LEADER: forward,
    MessageType.FORGET_LEADER: on_forget_leader,
    MessageType.TIMEOUT_NOW: on_timeout_now,
    MessageType.READ_INDEX: forward,
    MessageType.READ_INDEX_RESP: on_read_index_response,
}
