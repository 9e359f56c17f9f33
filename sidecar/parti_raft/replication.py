"""What a leader sends to the members: entries, snapshots, heartbeats."""

from __future__ import annotations

from parti_raft.core import Core
from parti_raft.errors import CompactedError, SnapshotUnavailableError
from parti_raft.progress import Progress, ProgressState
from parti_raft.sizes import NO_LIMIT, payloads_size
from parti_raft.types import Entry, LogIndex, MemberId, Message, MessageType

_APP = MessageType.APP
_REPLICATE = ProgressState.REPLICATE


def send_append(core: Core, member: MemberId, *, even_empty: bool = True) -> bool:
    """Send the next entries to a member, or a snapshot if they are compacted away.

    An empty append carries the commit index and finds out whether the member still follows. Even
    a full window lets an empty one through: if everything in the window was lost, this is what
    gets the stream going again.
    """
    progress = core.tracker.progress[member]
    if progress.paused:
        return False
    log = core.log
    prev_index = progress.next_index - 1
    prev_term = log.term(prev_index)
    if prev_term is None:
        return _send_snapshot(core, member, progress)
    entries: tuple[Entry, ...] = ()
    if progress.state is not _REPLICATE or not progress.inflights.full:
        try:
            entries = log.entries_from(progress.next_index, core.config.max_size_per_msg)
        except CompactedError:
            return _send_snapshot(core, member, progress)
    if not entries and not even_empty:
        return False
    commit = log.committed
    core.send(
        Message(
            _APP,
            to=member,
            log_term=prev_term,
            index=LogIndex(prev_index),
            commit=LogIndex(commit),
            entries=entries,
        )
    )
    limited = core.config.max_inflight_bytes < NO_LIMIT
    progress.sent_entries(len(entries), payloads_size(entries) if limited else 0)
    progress.sent_commit = commit
    return True


def _send_snapshot(core: Core, member: MemberId, progress: Progress) -> bool:
    # A member that does not answer would only make the snapshot pile up on the way to it.
    if not progress.recent_active:
        return False
    try:
        snapshot = core.log.unstable.snapshot or core.storage.snapshot()
    except SnapshotUnavailableError:
        return False
    assert snapshot.index, "entries are compacted, but there is no snapshot"
    progress.become_snapshot(snapshot.index)
    core.send(Message(MessageType.SNAP, to=member, snapshot=snapshot))
    return True


def broadcast_append(core: Core) -> None:
    """Send the next entries, or at least the commit index, to everybody else."""
    for member in core.tracker.progress:
        if member != core.id:
            send_append(core, member)


def broadcast_heartbeat(core: Core) -> None:
    """Tell everybody that this leader is alive, and ask to confirm the waiting reads."""
    context = core.read_only.heartbeat_context()
    for member, progress in core.tracker.progress.items():
        if member == core.id:
            continue
        # Never a commit beyond what the member is known to hold: its log may differ there.
        commit = min(progress.match_index, core.log.committed)
        core.send(
            Message(MessageType.HEARTBEAT, to=member, commit=LogIndex(commit), context=context)
        )
        progress.sent_commit = commit


def maybe_commit(core: Core) -> bool:
    """Commit what a quorum holds; only entries of the own term are counted."""
    return core.log.maybe_commit(core.tracker.committed_index(), core.term)
