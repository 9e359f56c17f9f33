"""Placement: who should own each partition. A pure function over plain values.

`place` answers for every partition of a `Problem`; the same problem always gets the same answer, at
any leader. Pinned partitions go to their member, all others are placed round them. What is
done about the answer, when and how fast, is the coordinator's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from parti_shard.ids import NO_MEMBER, MemberId, PartitionId
from parti_shard.placement_balanced import Slots, balance
from parti_shard.placement_load import balance_load
from parti_shard.placement_ring import place_on_bounded_ring, place_on_ring
from parti_shard.policy import Strategy


@dataclass(frozen=True, slots=True)
class Problem:
    """What placement may look at. All lists are parallel, one element per partition."""

    partitions: list[PartitionId]  # the ones to be placed, ascending
    current: list[MemberId]  # the owner, 0: none
    last: list[MemberId]  # who had it last, to prefer among equals
    capacity: dict[MemberId, int]  # the members that may own partitions, each at least 1
    pins: dict[PartitionId, MemberId] = field(default_factory=dict)
    load: list[int] | None = None  # messages per time; None: all partitions weigh the same
    reluctant: frozenset[PartitionId] = frozenset()  # moved lately: others move first


def place(strategy: Strategy, problem: Problem) -> list[MemberId]:
    """Return the member that should own each partition of the problem; 0 if nobody may."""
    if not problem.capacity:
        return [NO_MEMBER] * len(problem.partitions)
    chosen = [problem.pins.get(partition, NO_MEMBER) for partition in problem.partitions]
    chosen = [member if member in problem.capacity else NO_MEMBER for member in chosen]
    return _STRATEGIES[strategy](problem, chosen)


def imbalance_percent(problem: Problem, placed: list[MemberId]) -> int:
    """Return the heaviest member's share in percent of its fair one; 100 is even."""
    loads = problem.load or [1] * len(placed)
    carried = dict.fromkeys(problem.capacity, 0)
    for member, weight in zip(placed, loads, strict=True):
        carried[member] += weight
    total, capacity = sum(loads), sum(problem.capacity.values())
    if not total:
        return 100
    return max(100 * carried[m] * capacity // (total * c) for m, c in problem.capacity.items())


def _balanced(problem: Problem, chosen: list[MemberId]) -> list[MemberId]:
    slots = Slots(chosen, problem.current, problem.last, problem.capacity)
    if problem.load is not None and any(problem.load):
        return balance_load(slots, problem.load)
    reluctant = [partition in problem.reluctant for partition in problem.partitions]
    return balance(slots, reluctant)


def _consistent_hash(problem: Problem, chosen: list[MemberId]) -> list[MemberId]:
    return place_on_ring(problem.partitions, chosen, sorted(problem.capacity))


def _weighted_consistent_hash(problem: Problem, chosen: list[MemberId]) -> list[MemberId]:
    return place_on_bounded_ring(problem.partitions, chosen, problem.capacity)


def _round_robin(problem: Problem, chosen: list[MemberId]) -> list[MemberId]:
    members = sorted(problem.capacity)
    return [
        pinned or members[partition % len(members)]
        for partition, pinned in zip(problem.partitions, chosen, strict=True)
    ]


_STRATEGIES: dict[Strategy, Callable[[Problem, list[MemberId]], list[MemberId]]] = {
    Strategy.BALANCED: _balanced,
    Strategy.CONSISTENT_HASH: _consistent_hash,
    Strategy.WEIGHTED_CONSISTENT_HASH: _weighted_consistent_hash,
    Strategy.ROUND_ROBIN: _round_robin,
}
