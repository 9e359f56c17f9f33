"""Consistent hashing, as others have it: owners depend on the set of members alone.

Each member stands on a ring at many points; a partition belongs to the first point at or after its
hash. The bounded form weighs points by capacity and passes a partition on when a member has
its share and a quarter more, so that chance cannot overload anybody.
"""

from __future__ import annotations

from bisect import bisect_left
from struct import Struct

from xxhash import xxh3_64_intdigest

from parti_shard.ids import MemberId, PartitionId

POINTS_PER_MEMBER = 150
POINTS_PER_MEMBER_MAX = 1_500  # of a member far above the mean capacity
OVERLOAD_PERCENT = 125

_POINT = Struct("<cQI")
_PARTITION = Struct("<cI")


def place_on_ring(
    partitions: list[PartitionId], chosen: list[MemberId], members: list[MemberId]
) -> list[MemberId]:
    """Return the ring's owner of each partition that is not chosen already."""
    hashes, owners = _ring(dict.fromkeys(members, POINTS_PER_MEMBER))
    return [
        pinned or owners[_first(hashes, partition)]
        for partition, pinned in zip(partitions, chosen, strict=True)
    ]


def place_on_bounded_ring(
    partitions: list[PartitionId], chosen: list[MemberId], capacity: dict[MemberId, int]
) -> list[MemberId]:
    """Return the same with points by capacity and a bound on what each member carries."""
    total = sum(capacity.values())
    points = {
        member: min(max(POINTS_PER_MEMBER * own * len(capacity) // total, 1), POINTS_PER_MEMBER_MAX)
        for member, own in capacity.items()
    }
    hashes, owners = _ring(points)
    room = {
        member: -(-OVERLOAD_PERCENT * len(partitions) * own // (100 * total))
        for member, own in capacity.items()
    }
    for pinned in chosen:
        if pinned:
            room[pinned] -= 1
    return [
        pinned or _take_room(owners, _first(hashes, partition), room)
        for partition, pinned in zip(partitions, chosen, strict=True)
    ]


def _ring(points: dict[MemberId, int]) -> tuple[list[int], list[MemberId]]:
    ring = sorted(
        (xxh3_64_intdigest(_POINT.pack(b"m", member, number)), member)
        for member, count in points.items()
        for number in range(count)
    )
    return [at for at, _ in ring], [member for _, member in ring]


def _first(hashes: list[int], partition: PartitionId) -> int:
    at = xxh3_64_intdigest(_PARTITION.pack(b"p", partition))
    return bisect_left(hashes, at) % len(hashes)


def _take_room(owners: list[MemberId], start: int, room: dict[MemberId, int]) -> MemberId:
    """Walk the ring from `start` to a member with room; pins may have used up all of it."""
    for step in range(len(owners)):
        member = owners[(start + step) % len(owners)]
        if room[member] > 0:
            room[member] -= 1
            return member
    return owners[start]
