"""What each member may do with partitions now, and why, as the leader sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from parti_shard.commands import Intent, MemberRecord
from parti_shard.ids import LogIndex, SessionId


class Standing(IntEnum):
    """A member's part in placement."""

    RECEIVES = 0  # may be given partitions
    KEEPS = 1  # stays with what it has, receives none
    SHEDS = 2  # what it has moves away


@dataclass(frozen=True, slots=True)
class Report:
    """What a member said of itself in its newest renewal."""

    session: SessionId
    worker_ready: bool
    draining: bool
    applied_index: LogIndex
    at_ms: int


def judge(record: MemberRecord, report: Report | None, *, stopped: bool) -> tuple[Standing, str]:
    """Return a member's standing and the reason, as the end of a sentence about it.

    A member that has not reported to this leader yet keeps what it has: not knowing is no reason
    to move anything.
    """
    if not record.session:
        return Standing.KEEPS, "has no open session"
    if stopped:
        return Standing.KEEPS, "waits for its session to expire"
    if record.intent in (Intent.DRAIN, Intent.REMOVE):
        return Standing.SHEDS, "is being drained"
    if record.router_only:
        return Standing.SHEDS, "only routes"
    if report is None or report.session != record.session:
        return Standing.KEEPS, "has not reported to this leader yet"
    if report.draining:
        return Standing.SHEDS, "is shutting down"
    if not report.worker_ready:
        return Standing.SHEDS, "has no worker"
    if record.intent is Intent.CORDON:
        return Standing.KEEPS, "is cordoned"
    return Standing.RECEIVES, "may own partitions"
