"""What each member may do with partitions now, and why, as the leader sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from parti_shard.commands import Intent, MemberRecord
from parti_shard.ids import LogIndex, MemberId, SessionId


class Standing(IntEnum):
    """A member's part in placement."""

    RECEIVES = 0  # may be given partitions
    UNHEARD = 1  # keeps what it has until it reports to this leader, or its session ends
    CORDONED = 2  # keeps what it has, receives what nobody else can own
    KEEPS = 3  # stays with what it has, receives none
    SHEDS = 4  # what it has moves away

    @property
    def keeps(self) -> bool:
        return self in (Standing.UNHEARD, Standing.CORDONED, Standing.KEEPS)


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
        return Standing.UNHEARD, "has not reported to this leader yet"
    if report.draining:
        return Standing.SHEDS, "is shutting down"
    if not report.worker_ready:
        return Standing.SHEDS, "has no worker"
    if record.intent is Intent.CORDON:
        return Standing.CORDONED, "is cordoned"
    return Standing.RECEIVES, "may own partitions"


def receivers(standings: Mapping[MemberId, Standing]) -> frozenset[MemberId]:
    """Return who may be given partitions.

    A partition without an owner is worse than a cordon that is not kept: where nobody else can own
    partitions, cordoned members do. A member that has not reported yet may be that somebody.
    """
    found = frozenset(m for m, standing in standings.items() if standing is Standing.RECEIVES)
    if found or Standing.UNHEARD in standings.values():
        return found
    return frozenset(m for m, standing in standings.items() if standing is Standing.CORDONED)
