"""A leader: it appends proposals, replicates, commits, and hands leadership over.

`HANDLERS` needs nothing to be known about the sender; `PEER_HANDLERS` get the sender's progress,
and messages of senders without progress are ignored.
"""

from __future__ import annotations

from collections.abc import Callable

from parti_raft.confchange import as_v2, decode_conf_change
from parti_raft.core import Core
from parti_raft.errors import DropReason, InvalidMessageError, ProposalDropped
from parti_raft.follower import Handler
from parti_raft.progress import Progress, ProgressState
from parti_raft.reads import on_heartbeat_ack, on_read_index, release_pending
from parti_raft.replication import (
    broadcast_append,
    broadcast_heartbeat,
    maybe_commit,
    send_append,
)
from parti_raft.types import (
    NO_MEMBER,
    Entry,
    EntryType,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    Term,
)

PeerHandler = Callable[[Core, Message, Progress], None]

_NORMAL = EntryType.NORMAL
_VOIDED = Entry(Term(0), LogIndex(0))


def on_propose(core: Core, message: Message) -> None:
    """Append proposals and send them out."""
    proposals = message.entries
    if not proposals:
        raise InvalidMessageError("a proposal without entries")
    if core.own_progress is None:
        raise ProposalDropped(DropReason.REMOVED)
    if core.transferee != NO_MEMBER:
        raise ProposalDropped(DropReason.TRANSFER_IN_PROGRESS)
    pending_conf_index = core.pending_conf_index
    for proposal in proposals:
        if proposal.type is not _NORMAL:
            proposals, pending_conf_index = _admit_conf_changes(core, proposals)
            break
    if not core.append_own(proposals):
        raise ProposalDropped(DropReason.UNCOMMITTED_LIMIT)
    core.pending_conf_index = pending_conf_index
    broadcast_append(core)


def _admit_conf_changes(core: Core, proposals: tuple[Entry, ...]) -> tuple[tuple[Entry, ...], int]:
    """Replace changes that do not fit now by empty entries; return where the last one will be.

    One change at a time: the next is admitted when the previous one is applied here.
    """
    last_index = core.log.last_index()
    pending = core.pending_conf_index
    joint = core.tracker.configuration.joint
    admitted = []
    for position, proposal in enumerate(proposals, 1):
        admitted.append(proposal)
        if proposal.type is _NORMAL:
            continue
        leaves_joint = not as_v2(decode_conf_change(proposal.type, proposal.data)).changes
        fits = pending <= core.log.applied and joint == leaves_joint
        if fits or core.config.disable_conf_change_validation:
            pending = last_index + position
        else:
            admitted[-1] = _VOIDED
    return tuple(admitted), pending


def check_quorum(core: Core) -> None:
    """Step down if no quorum was heard of since the last check."""
    if not core.tracker.quorum_active():
        core.become_follower(core.term, NO_MEMBER)
    for member, progress in core.tracker.progress.items():
        if member != core.id:
            progress.recent_active = False


def on_append_response(core: Core, message: Message, progress: Progress) -> None:
    """A member has acknowledged or rejected an append."""
    progress.recent_active = True
    if message.reject:
        _on_rejection(core, message, progress)
        return
    index = message.index
    if not progress.maybe_update(index) and not (
        progress.match_index == index and progress.state is ProgressState.PROBE
    ):
        return
    _resume(core, progress, index)
    sender = message.sender
    if maybe_commit(core):
        release_pending(core)
        broadcast_append(core)
    elif sender != core.id and progress.can_bump_commit(core.log.committed):
        send_append(core, sender)
    if sender == core.id:
        return
    # The acknowledgement may have made room for several messages.
    while progress.next_index <= core.log.last_index() and send_append(
        core, sender, even_empty=False
    ):
        pass
    if sender == core.transferee and progress.match_index == core.log.last_index():
        _send_timeout_now(core, sender)


def _on_rejection(core: Core, message: Message, progress: Progress) -> None:
    hint = message.reject_hint
    if message.log_term:
        # Terms only rise within a log, so own entries of later terms cannot be the member's:
        # at most one probe per term is needed.
        hint = LogIndex(core.log.find_conflict_by_term(hint, message.log_term)[0])
    if progress.maybe_decrease(message.index, hint):
        if progress.state is ProgressState.REPLICATE:
            progress.become_probe()
        send_append(core, message.sender)


def _resume(core: Core, progress: Progress, index: int) -> None:
    state = progress.state
    if state is ProgressState.REPLICATE:
        progress.inflights.free_to(index)
    elif state is ProgressState.PROBE:
        progress.become_replicate()
    elif progress.match_index + 1 >= core.log.first_index():
        # Whatever snapshot the member has installed, its log now connects to this one.
        progress.become_probe()
        progress.become_replicate()


def on_heartbeat_response(core: Core, message: Message, progress: Progress) -> None:
    """A member is alive: try again to send if it is behind or being probed."""
    progress.recent_active = True
    progress.append_paused = False
    if progress.match_index < core.log.last_index() or progress.state is ProgressState.PROBE:
        send_append(core, message.sender)
    if message.context:
        on_heartbeat_ack(core, message)


def report_snapshot(core: Core, member: MemberId, *, installed: bool) -> None:
    """The driver tells how sending a snapshot ended."""
    progress = core.tracker.progress.get(member)
    if progress is None or progress.state is not ProgressState.SNAPSHOT:
        return
    if not installed:
        progress.pending_snapshot = 0
    progress.become_probe()
    # Wait for the member's acknowledgement, or for a heartbeat before the next try.
    progress.append_paused = True


def report_unreachable(core: Core, member: MemberId) -> None:
    """The driver could not deliver: what was streamed is probably lost."""
    progress = core.tracker.progress.get(member)
    if progress is not None and progress.state is ProgressState.REPLICATE:
        progress.become_probe()


def on_transfer_leader(core: Core, message: Message, progress: Progress) -> None:
    """Hand leadership to the sender as soon as its log is complete."""
    transferee = message.sender
    if progress.is_learner or transferee == core.transferee:
        return
    core.transferee = NO_MEMBER
    if transferee == core.id:
        return
    # The transfer has one election timeout from now on.
    core.election_elapsed = 0
    core.transferee = transferee
    if progress.match_index == core.log.last_index():
        _send_timeout_now(core, transferee)
    else:
        send_append(core, transferee)


def _send_timeout_now(core: Core, member: MemberId) -> None:
    core.send(Message(MessageType.TIMEOUT_NOW, to=member))


def on_beat(core: Core) -> None:
    """The heartbeat timeout has passed."""
    broadcast_heartbeat(core)


def _with_progress(handler: PeerHandler) -> Handler:
    def handle(core: Core, message: Message) -> None:
        progress = core.tracker.progress.get(message.sender)
        if progress is not None:
            handler(core, message, progress)

    return handle


HANDLERS: dict[MessageType, Handler] = {
    MessageType.PROP: on_propose,
    MessageType.READ_INDEX: on_read_index,
    MessageType.APP_RESP: _with_progress(on_append_response),
    MessageType.HEARTBEAT_RESP: _with_progress(on_heartbeat_response),
    MessageType.TRANSFER_LEADER: _with_progress(on_transfer_leader),
}
