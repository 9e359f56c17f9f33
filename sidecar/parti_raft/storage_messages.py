"""Messages between the core and its own storage.

An append carries the hard state in `term`, `vote` and `commit` (all 0 if it did not change). Its
responses are everything that waited for durability, then the acknowledgement of the append
itself, which names the current term and the last entry of the log. Naming the term defeats a
race: entries A are being written, a later leader replaces them by B, a still later one by A
again. The completion of the first write would match by index and entry term although B is still
on its way to the disk and will overwrite it. With the term of the *member* in the
acknowledgement, completions of writes from before a change of term are not believed. So that
entries do not stay unstable for ever, every append that meets unstable entries acknowledges all
of them, not only its own: after each change of term there is at least the append of the new hard
state.
"""

from __future__ import annotations

from parti_raft.core import Core
from parti_raft.types import (
    APPEND_THREAD,
    APPLY_THREAD,
    Entry,
    Message,
    MessageType,
    Ready,
)


def storage_append(core: Core, ready: Ready) -> Message:
    """Ask the storage to write entries, hard state and snapshot, in this order of need."""
    message = Message(
        MessageType.STORAGE_APPEND,
        to=APPEND_THREAD,
        sender=core.id,
        entries=ready.entries,
        snapshot=ready.snapshot,
    )
    if ready.hard_state is not None:
        message.term = ready.hard_state.term
        message.vote = ready.hard_state.vote
        message.commit = ready.hard_state.commit
    responses = core.messages_after_append
    acknowledgement = storage_append_response(core, ready)
    if acknowledgement is not None:
        responses.append(acknowledgement)
    message.responses = responses
    return message


def storage_append_response(core: Core, ready: Ready) -> Message | None:
    """Acknowledge everything unstable; None if there is nothing the core must hear of."""
    log = core.log
    unstable_entries = bool(log.unstable.entries)
    if not unstable_entries and ready.snapshot is None:
        return None
    message = Message(
        MessageType.STORAGE_APPEND_RESP,
        to=core.id,
        sender=APPEND_THREAD,
        term=core.term,
        snapshot=ready.snapshot,
    )
    if unstable_entries:
        message.index = log.last_index()
        message.log_term = log.unstable.entries[-1].term
    return message


def storage_apply(core: Core, entries: tuple[Entry, ...]) -> Message:
    """Ask the state machine to apply committed entries."""
    return Message(
        MessageType.STORAGE_APPLY,
        to=APPLY_THREAD,
        sender=core.id,
        entries=entries,
        responses=[storage_apply_response(core, entries)],
    )


def storage_apply_response(core: Core, entries: tuple[Entry, ...]) -> Message:
    """Acknowledge applied entries; committed entries belong to no term, nor does this."""
    return Message(MessageType.STORAGE_APPLY_RESP, to=core.id, sender=APPLY_THREAD, entries=entries)
