"""Linearizable reads (Raft thesis, section 6.4): which index must be applied before answering.

A leader answers only after it has committed an entry of its own term, since before that its
commit index may be behind, and only after it has proved that it still leads.
"""

from __future__ import annotations

from parti_raft.config import ReadOnlyOption
from parti_raft.core import Core
from parti_raft.errors import DropReason, ReadDropped
from parti_raft.replication import broadcast_heartbeat
from parti_raft.types import NO_MEMBER, LogIndex, Message, MessageType, ReadState


def on_read_index(core: Core, message: Message) -> None:
    """The leader receives a read request, its own or a forwarded one."""
    if core.tracker.is_singleton:
        _answer(core, message, core.log.committed)
        return
    if len(core.pending_reads) + len(core.read_only) >= core.config.max_pending_reads:
        raise ReadDropped(DropReason.READ_LIMIT)
    if not core.committed_in_term:
        core.pending_reads.append(message)
        return
    _confirm(core, message)


def release_pending(core: Core) -> None:
    """The commit index has advanced: start what waited for the first commit of this term."""
    if not core.pending_reads or not core.committed_in_term:
        return
    waiting, core.pending_reads = core.pending_reads, []
    for message in waiting:
        _confirm(core, message)


def on_heartbeat_ack(core: Core, message: Message) -> None:
    """A member has answered a heartbeat that asked to confirm reads."""
    core.read_only.receive_ack(message.sender, message.context)
    for read in core.read_only.take_confirmed(core.tracker.configuration):
        _answer(core, read.request, read.index)


def _confirm(core: Core, message: Message) -> None:
    if core.config.read_only_option is ReadOnlyOption.LEASE_BASED:
        _answer(core, message, core.log.committed)
        return
    core.read_only.add(message, core.log.committed)
    core.read_only.receive_ack(core.id, core.read_only.heartbeat_context())
    broadcast_heartbeat(core)


def _answer(core: Core, request: Message, index: int) -> None:
    if request.sender in (NO_MEMBER, core.id):
        core.read_states.append(ReadState(LogIndex(index), request.context))
        return
    core.send(
        Message(
            MessageType.READ_INDEX_RESP,
            to=request.sender,
            index=LogIndex(index),
            context=request.context,
        )
    )
