"""What operators may tune while the cluster runs. Replicated, so every leader decides alike.

A policy that contradicts itself is refused as a whole with every contradiction named; values are
never clamped silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from parti_shard.limits import CoordinatorTimes

_TIMES = CoordinatorTimes()
_MS_MAX = 86_400_000  # a day: anything longer is a unit mixed up
MOVES_IN_FLIGHT_LIMIT = 4_096
VOTERS_ALLOWED = (1, 3, 5, 7)


class Strategy(StrEnum):
    """How placement chooses owners; the order of this list is part of the stored format."""

    BALANCED = "balanced"
    CONSISTENT_HASH = "consistent-hash"
    WEIGHTED_CONSISTENT_HASH = "weighted-consistent-hash"
    ROUND_ROBIN = "round-robin"


STRATEGIES = tuple(Strategy)


@dataclass(frozen=True, slots=True)
class Policy:
    """Tunables of placement, moves and the voter controller."""

    strategy: Strategy = Strategy.BALANCED
    rebalance: bool = True  # False: only orphans, drains and manual moves
    moves_in_flight_max: int = _TIMES.moves_in_flight_max
    partition_cooldown_ms: int = _TIMES.partition_cooldown_ms
    coalesce_quiet_ms: int = _TIMES.coalesce_quiet_ms
    coalesce_max_ms: int = _TIMES.coalesce_max_ms
    voters_max: int = 3
    voter_replace_after_ms: int = _TIMES.voter_replace_after_ms
    move_deadline_ms: int = _TIMES.move_deadline_ms
    load_aware: bool = False

    def validate(self) -> list[str]:
        """Return every contradiction, as sentences for the person who wrote the policy."""
        found = self._out_of_range()
        if self.voters_max not in VOTERS_ALLOWED:
            found.append(f"voters_max is {self.voters_max}, it must be 1, 3, 5 or 7")
        if self.coalesce_quiet_ms > self.coalesce_max_ms:
            found.append(
                f"coalesce_quiet_ms ({self.coalesce_quiet_ms}) exceeds"
                f" coalesce_max_ms ({self.coalesce_max_ms})"
            )
        if self.load_aware and self.strategy is not Strategy.BALANCED:
            found.append(f"load_aware needs the strategy balanced, not {self.strategy.value}")
        return found

    def _out_of_range(self) -> list[str]:
        ranges = (
            ("moves_in_flight_max", self.moves_in_flight_max, 1, MOVES_IN_FLIGHT_LIMIT),
            ("partition_cooldown_ms", self.partition_cooldown_ms, 0, _MS_MAX),
            ("coalesce_quiet_ms", self.coalesce_quiet_ms, 0, _MS_MAX),
            ("coalesce_max_ms", self.coalesce_max_ms, 0, _MS_MAX),
            ("voter_replace_after_ms", self.voter_replace_after_ms, 1_000, _MS_MAX),
            ("move_deadline_ms", self.move_deadline_ms, 100, _MS_MAX),
        )
        return [
            f"{name} is {value}, it must lie between {low} and {high}"
            for name, value, low, high in ranges
            if not low <= value <= high
        ]
