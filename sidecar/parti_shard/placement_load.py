"""Balanced placement by measured load: few moves, and none for a small gain.

Orphans go first, heaviest first, each to the member that is lightest for its capacity. Then, while
the heaviest member carries more than 1.15 of its fair share, the largest partition moves to the
lightest member that neither takes the one below its share nor the other beyond that band; every
move costs the same, so the largest is the best ratio of benefit to churn. A budget bounds the moves
of one plan. Each partition weighs a tenth of the mean at least, so that idle ones spread too.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from heapq import heapify, heapreplace

from parti_shard.ids import MemberId
from parti_shard.placement_balanced import Slots

HOT_PERCENT = 115
BUDGET_PERCENT = 9  # of all partitions, moved by one plan
IDLE_SHARE = 10  # an idle partition weighs one such part of the mean
_SCALE = 1_000


def balance_load(slots: Slots, load: list[int]) -> list[MemberId]:
    """Return an owner for each partition."""
    floor = max(_SCALE * sum(load) // (len(load) * IDLE_SHARE), 1)
    weights = [_SCALE * value + floor for value in load]
    placed = [
        chosen or (current if current in slots.capacity else MemberId(0))
        for chosen, current in zip(slots.chosen, slots.current, strict=True)
    ]
    carried = dict.fromkeys(slots.capacity, 0)
    for member, weight in zip(placed, weights, strict=True):
        if member:
            carried[member] += weight
    _place_orphans(slots, placed, weights, carried)
    _even_out(slots, placed, weights, carried)
    return placed


def _place_orphans(
    slots: Slots, placed: list[MemberId], weights: list[int], carried: dict[MemberId, int]
) -> None:
    orphans = [slot for slot, member in enumerate(placed) if not member]
    orphans.sort(key=lambda slot: (-weights[slot], slot))
    scale = max(slots.capacity.values())
    heap = [(carried[m] * scale // own, m) for m, own in slots.capacity.items()]
    heapify(heap)
    for slot in orphans:
        _, member = heap[0]
        placed[slot] = member
        carried[member] += weights[slot]
        heapreplace(heap, (carried[member] * scale // slots.capacity[member], member))


def _even_out(
    slots: Slots, placed: list[MemberId], weights: list[int], carried: dict[MemberId, int]
) -> None:
    total, capacity = sum(weights), sum(slots.capacity.values())
    fair = {member: max(total * own // capacity, 1) for member, own in slots.capacity.items()}
    movable: dict[MemberId, list[tuple[int, int]]] = {member: [] for member in slots.capacity}
    for slot, member in enumerate(placed):
        if not slots.chosen[slot]:
            movable[member].append((weights[slot], slot))
    for pieces in movable.values():
        pieces.sort()
    stuck: set[MemberId] = set()  # too hot, but none of its partitions fits anywhere
    budget = max(len(placed) * BUDGET_PERCENT // 100, 1)
    while budget and len(stuck) < len(carried):
        hot = max(carried.keys() - stuck, key=lambda m: (carried[m] * _SCALE // fair[m], m))
        cold = min(carried, key=lambda m: (carried[m] * _SCALE // fair[m], m))
        if carried[hot] * 100 <= fair[hot] * HOT_PERCENT:
            return
        room = fair[cold] * HOT_PERCENT // 100 - carried[cold]
        gap = min(carried[hot] - fair[hot], room)
        position = bisect_right(movable[hot], (gap, len(placed))) - 1
        if position < 0:
            stuck.add(hot)
            continue
        budget -= 1
        weight, slot = movable[hot].pop(position)
        insort(movable[cold], (weight, slot))
        placed[slot] = cold
        carried[hot] -= weight
        carried[cold] += weight
