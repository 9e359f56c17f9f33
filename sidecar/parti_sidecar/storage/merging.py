"""Group commit: several queued batches as one durable step, without changing what results.

A batch with a snapshot stands alone, since a step installs its snapshot before its entries.
What the storage would refuse is never merged away: a batch that takes back a term, a vote or
a commit of the group begins a step of its own, where the storage sees it.
"""

from __future__ import annotations

from collections.abc import Sequence

from parti_raft.types import Entry, HardState
from parti_sidecar.storage.base import WriteBatch

_NOTHING_PROMISED = HardState()


def mergeable(group: Sequence[WriteBatch], later: WriteBatch) -> bool:
    """Whether the later batch may join the step of the group."""
    if later.snapshot is not None or group[0].snapshot is not None:
        return False
    promised = _last_hard_state(group) or _NOTHING_PROMISED
    if later.entries and later.entries[0].index <= promised.commit:
        return False
    return later.hard_state is None or _keeps(promised, later.hard_state)


def merged(group: Sequence[WriteBatch]) -> WriteBatch:
    """One batch with the effect of all, in order."""
    if len(group) == 1:
        return group[0]
    entries: list[Entry] = []
    for batch in group:
        if batch.entries:
            _replace_tail(entries, batch.entries)
    compact_to = max(batch.compact_to for batch in group)
    return WriteBatch(_last_hard_state(group), entries, compact_to=compact_to)


def _last_hard_state(group: Sequence[WriteBatch]) -> HardState | None:
    states = (batch.hard_state for batch in reversed(group))
    return next((state for state in states if state is not None), None)


def _keeps(promised: HardState, new: HardState) -> bool:
    if new.term < promised.term or new.commit < promised.commit:
        return False
    return new.term > promised.term or promised.vote in (0, new.vote)


def _replace_tail(entries: list[Entry], tail: Sequence[Entry]) -> None:
    if entries:
        del entries[max(0, tail[0].index - entries[0].index) :]
    entries.extend(tail)
