"""How long something that should go forward has stood still. Pure.

Progress is kept in the status as moments of the wall clock, so that an operator that took over goes
on counting. A step has progressed when the words that describe it differ from those recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parti_operator.plan.timestamps import as_text

STALL_MS_MIN = 60_000
_STALL_FACTOR = 3  # of the time in which at least one partition should have moved


def stall_after_ms(handover_ms: int) -> int:
    """When a drain without progress counts as stalled."""
    return max(STALL_MS_MIN, _STALL_FACTOR * handover_ms)


@dataclass(frozen=True, slots=True)
class Progress:
    """When something began and when it last went forward."""

    since: str
    last_progress: str


def progress(
    before: Mapping[str, Any] | None, now: Mapping[str, Any], keys: tuple[str, ...], now_ms: int
) -> Progress:
    """Compare the words under `keys` with those recorded `before`."""
    moment = as_text(now_ms)
    if not before:
        return Progress(moment, moment)
    since = str(before.get("since", moment))
    moved = any(before.get(key) != now.get(key) for key in keys)
    return Progress(since, moment if moved else str(before.get("lastProgress", moment)))
