"""Balanced placement by count, with the fewest moves.

First how many partitions each member shall have (`quotas`): its share by capacity, rounded by
largest remainder, so equal capacities differ by at most one. Only the rounding leaves a choice,
and it goes to those that hold the most already. Given the quotas, a member gives up exactly what it
holds beyond its own, which is the fewest moves possible; tests compare with brute force.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from parti_shard.ids import MemberId


@dataclass(frozen=True, slots=True)
class Slots:
    """A placement to be completed; lists are parallel, one element per partition."""

    chosen: list[MemberId]  # decided already (pins), 0: open
    current: list[MemberId]
    last: list[MemberId]
    capacity: dict[MemberId, int]


def balance(slots: Slots, reluctant: list[bool]) -> list[MemberId]:
    """Return an owner for each partition; `reluctant` ones are the last to be moved."""
    room = _room(slots)
    placed = list(slots.chosen)
    _keep_current(slots, placed, room, reluctant)
    _return_to_last(slots, placed, room)
    free = _interleaved(room)
    return [member or next(free) for member in placed]


def quotas(
    total: int,
    capacity: dict[MemberId, int],
    pinned: dict[MemberId, int],
    held: dict[MemberId, int],
) -> dict[MemberId, int]:
    """Return how many of `total` partitions each member shall have.

    A member with more pinned partitions than its share has exactly those; the rest is shared by
    the others.
    """
    quota: dict[MemberId, int] = {}
    sharing = dict(capacity)
    while True:
        weight = sum(sharing.values())
        over = [m for m, own in sharing.items() if pinned.get(m, 0) * weight > total * own]
        if not over:
            break
        for member in over:
            quota[member] = pinned[member]
            total -= pinned[member]
            del sharing[member]
    shares = {m: divmod(total * own, weight) for m, own in sharing.items()}
    spare = total - sum(whole for whole, _ in shares.values())
    by_claim = sorted(
        shares, key=lambda m: (-shares[m][1], -(held.get(m, 0) > shares[m][0]), -held.get(m, 0), m)
    )
    for position, member in enumerate(by_claim):
        quota[member] = shares[member][0] + (position < spare)
    return quota


def _room(slots: Slots) -> dict[MemberId, int]:
    """Return how many open partitions each member shall take."""
    held: Counter[MemberId] = Counter()
    pinned: Counter[MemberId] = Counter()
    for chosen, current in zip(slots.chosen, slots.current, strict=True):
        if chosen:
            pinned[chosen] += 1
            held[chosen] += 1
        elif current in slots.capacity:
            held[current] += 1
    quota = quotas(len(slots.chosen), slots.capacity, pinned, held)
    return {member: count - pinned[member] for member, count in sorted(quota.items())}


def _keep_current(
    slots: Slots, placed: list[MemberId], room: dict[MemberId, int], reluctant: list[bool]
) -> None:
    for wanted in (True, False):
        for slot, current in enumerate(slots.current):
            if reluctant[slot] is wanted and not placed[slot] and room.get(current, 0):
                placed[slot] = current
                room[current] -= 1


def _return_to_last(slots: Slots, placed: list[MemberId], room: dict[MemberId, int]) -> None:
    for slot, last in enumerate(slots.last):
        if not placed[slot] and slots.current[slot] not in slots.capacity and room.get(last, 0):
            placed[slot] = last
            room[last] -= 1


def _interleaved(room: dict[MemberId, int]) -> Iterator[MemberId]:
    """Yield members with room in turn, so that neighbours do not crowd onto one member."""
    left = {member: count for member, count in room.items() if count}
    while left:
        for member in list(left):
            yield member
            left[member] -= 1
            if not left[member]:
                del left[member]
