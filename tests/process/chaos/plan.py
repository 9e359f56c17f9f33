"""What will be done to the cluster, and when: from a seed, before anything runs.

Three lanes go on beside one another, so that a process dies behind a cut with a slow disk at the
leader; within a lane one trouble follows the other. A lane deals its kinds from a shuffled deck, so
each kind comes before any comes again. Members are numbers here: the run takes them modulo those
that are there when the time has come. The seed repeats the plan, not what processes make of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """Everything that can be done."""

    KILL_SIDECAR = "kill sidecar"
    KILL_WORKER = "kill worker"
    KILL_BOTH = "kill both"
    KILL_LEADER = "kill leader"
    FREEZE_SIDECAR = "freeze sidecar"
    FREEZE_WORKER = "freeze worker"
    FREEZE_BOTH = "freeze both"
    FREEZE_LEADER = "freeze leader"
    JOIN = "join"
    DRAIN = "drain"
    REMOVE = "remove"
    RESTART = "restart"
    FULL_RESTART = "full restart"
    CUT_ONE_WAY = "cut one way"
    CUT_PAIR = "cut a pair"
    CUT_OFF = "cut off a member"
    CUT_OFF_LEADER = "cut off the leader"
    DEAF = "member hears nobody"
    MUTE = "nobody hears the member"
    DELAY = "delay"
    THROTTLE = "throttle"
    RESET = "reset"
    HALF_OPEN = "half-open"
    SLOW_DISK = "slow disk"
    SLOW_DISK_OF_LEADER = "slow disk of the leader"


class Lane(StrEnum):
    """What goes on side by side."""

    PROCESSES = "processes"
    NETWORK = "network"
    DISKS = "disks"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is done; `rest_ms` later the next one of its lane begins."""

    kind: Kind
    for_ms: int
    rest_ms: int
    victim: int
    other: int  # the second member, where there are two
    strength: int  # ms or bytes per second, by the kind


LANES: Final[dict[Lane, tuple[Kind, ...]]] = {
    Lane.PROCESSES: (
        Kind.KILL_SIDECAR,
        Kind.KILL_WORKER,
        Kind.KILL_BOTH,
        Kind.KILL_LEADER,
        Kind.FREEZE_SIDECAR,
        Kind.FREEZE_WORKER,
        Kind.FREEZE_BOTH,
        Kind.FREEZE_LEADER,
        Kind.JOIN,
        Kind.DRAIN,
        Kind.REMOVE,
        Kind.RESTART,
        Kind.FULL_RESTART,
    ),
    Lane.NETWORK: (
        Kind.CUT_ONE_WAY,
        Kind.CUT_PAIR,
        Kind.CUT_OFF,
        Kind.CUT_OFF_LEADER,
        Kind.DEAF,
        Kind.MUTE,
        Kind.DELAY,
        Kind.THROTTLE,
        Kind.RESET,
        Kind.HALF_OPEN,
    ),
    Lane.DISKS: (Kind.SLOW_DISK, Kind.SLOW_DISK_OF_LEADER),
}

# Around the election timeout (0.5 to 1 s), the lease (2 s) and what TCP and gRPC wait (2 s, 7 s).
_FREEZE_MS: Final = (300, 900, 1_800, 2_200, 4_000, 9_000)
_CUT_MS: Final = (300, 1_000, 2_500, 5_000, 8_000)
_DOWN_MS: Final = (0, 300, 1_500, 3_000)
_REST_MS: Final = {
    Lane.PROCESSES: (500, 3_000),
    Lane.NETWORK: (500, 4_000),
    Lane.DISKS: (1_000, 6_000),
}
_STRENGTHS: Final[dict[Kind, tuple[int, int]]] = {
    Kind.DELAY: (5, 400),
    Kind.THROTTLE: (10_000, 200_000),
    Kind.SLOW_DISK: (5, 300),
    Kind.SLOW_DISK_OF_LEADER: (5, 150),
}


def troubles(lane: Lane, seed: int) -> Iterator[Trouble]:
    """Everything that befalls a lane, without end."""
    chance = random.Random(f"{lane} {seed}")
    while True:
        deck = list(LANES[lane])
        chance.shuffle(deck)
        for kind in deck:
            yield Trouble(
                kind,
                for_ms=_duration_ms(lane, kind)(chance),
                rest_ms=chance.randint(*_REST_MS[lane]),
                victim=chance.getrandbits(16),
                other=chance.getrandbits(16),
                strength=chance.randint(*_STRENGTHS.get(kind, (0, 0))),
            )


def _duration_ms(lane: Lane, kind: Kind) -> Callable[[random.Random], int]:
    if kind.startswith("freeze"):
        return lambda chance: chance.choice(_FREEZE_MS)
    if lane is Lane.PROCESSES:
        return lambda chance: chance.choice(_DOWN_MS)
    return lambda chance: chance.choice(_CUT_MS)
