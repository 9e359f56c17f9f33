"""Snapshots of a member's state for metrics, admin pages and controllers."""

from __future__ import annotations

from dataclasses import dataclass, field

from parti_raft.core import Core
from parti_raft.progress import Progress, ProgressState
from parti_raft.tracker import Configuration
from parti_raft.types import HardState, LogIndex, MemberId, Role, SoftState


@dataclass(frozen=True, slots=True)
class ProgressStatus:
    """What the leader knows about one member."""

    match_index: int
    next_index: int
    state: ProgressState
    is_learner: bool
    recent_active: bool
    paused: bool
    pending_snapshot: int
    inflight_count: int
    inflight_full: bool


@dataclass(frozen=True, slots=True)
class BasicStatus:
    """A member's own state."""

    id: MemberId
    hard_state: HardState
    soft_state: SoftState
    applied: LogIndex
    transferee: MemberId


@dataclass(frozen=True, slots=True)
class Status:
    """A member's own state, its configuration and, on the leader, everybody's progress."""

    basic: BasicStatus
    configuration: Configuration
    progress: dict[MemberId, ProgressStatus] = field(default_factory=dict)


def basic_status(core: Core) -> BasicStatus:
    """The cheap part."""
    return BasicStatus(
        id=core.id,
        hard_state=core.hard_state(),
        soft_state=core.soft_state(),
        applied=LogIndex(core.log.applied),
        transferee=core.transferee,
    )


def status(core: Core) -> Status:
    """The whole."""
    progress = core.tracker.progress if core.role is Role.LEADER else {}
    return Status(
        basic=basic_status(core),
        configuration=core.tracker.configuration,
        progress={member: progress_status(each) for member, each in progress.items()},
    )


def progress_status(progress: Progress) -> ProgressStatus:
    """A copy of one member's progress."""
    return ProgressStatus(
        match_index=progress.match_index,
        next_index=progress.next_index,
        state=progress.state,
        is_learner=progress.is_learner,
        recent_active=progress.recent_active,
        paused=progress.paused,
        pending_snapshot=progress.pending_snapshot,
        inflight_count=len(progress.inflights),
        inflight_full=progress.inflights.full,
    )
