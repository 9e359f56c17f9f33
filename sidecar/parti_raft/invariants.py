"""What must hold in one member at any moment; a failure is a bug of this package."""

from __future__ import annotations

from parti_raft.changer import check_configuration
from parti_raft.core import Core
from parti_raft.log import RaftLog
from parti_raft.progress import Progress, ProgressState
from parti_raft.types import NO_MEMBER, Role


def check_invariants(core: Core) -> None:
    """Assert the local invariants; the cost grows with members and unstable entries only."""
    _check_log(core.log)
    _check_role(core)
    check_configuration(core.tracker.configuration, core.tracker.progress)
    assert list(core.tracker.progress) == sorted(core.tracker.progress)
    last_index = core.log.last_index()
    for progress in core.tracker.progress.values():
        _check_progress(progress, last_index, leading=core.role is Role.LEADER)


def _check_log(log: RaftLog) -> None:
    unstable = log.unstable
    last_index = log.last_index()
    assert log.applied <= log.applying <= log.committed or unstable.snapshot is not None
    assert log.applied <= log.committed <= last_index
    assert unstable.offset <= unstable.in_progress <= last_index + 1
    term = 0
    for position, entry in enumerate(unstable.entries):
        assert entry.index == unstable.offset + position, "unstable entries are not contiguous"
        assert entry.term >= term, "terms fall within the log"
        term = entry.term


def _check_role(core: Core) -> None:
    stored, _ = core.storage.initial_state()
    assert core.term >= stored.term, "the term fell behind the disk"
    if core.log.unstable.entries:
        # A member booted from a snapshot may hold a term it has not heard of; it took no entries.
        assert core.log.last_term() <= core.term, "an entry is of a term that has not begun"
    if stored.term == core.term and stored.vote != NO_MEMBER:
        assert core.vote == stored.vote, "two votes in one term"
    if core.role is Role.LEADER:
        assert core.leader == core.id
        assert core.vote == core.id
    elif core.role is not Role.FOLLOWER:
        assert core.leader == NO_MEMBER
        assert core.role is Role.PRE_CANDIDATE or core.vote == core.id
    if core.role is not Role.LEADER:
        assert core.leader != core.id
        assert core.transferee == NO_MEMBER
        assert not core.pending_reads


def _check_progress(progress: Progress, last_index: int, *, leading: bool) -> None:
    assert progress.match_index < progress.next_index
    if not leading:
        return
    assert progress.match_index <= last_index, "acknowledged more than there is"
    if progress.state is ProgressState.SNAPSHOT:
        # Late acknowledgements and rejections may move it, but nothing is sent in this state.
        assert progress.next_index <= max(progress.pending_snapshot, progress.match_index) + 1
    else:
        assert progress.pending_snapshot == 0
        assert progress.next_index <= last_index + 1
