"""How long partitions were not served while messages for them kept coming."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from tests.process.chaos.notes import Stay

# A pause counts from here on: without trouble a partition waits that long between messages.
BOUNDS_MS: Final = (200, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 60_000)


def pauses_ms(
    stays: Iterable[Stay], partitions: int, begun_ns: int, ended_ns: int
) -> list[tuple[int, float]]:
    """Each time that a partition was not entered for `BOUNDS_MS[0]`: the partition, how long.

    Demand is steady between the two moments; what was entered before or after does not count.
    """
    last = [begun_ns] * partitions
    found: list[tuple[int, float]] = []

    def note(partition: int, at_ns: int) -> None:
        pause_ms = (at_ns - last[partition]) / 1e6
        if pause_ms >= BOUNDS_MS[0]:
            found.append((partition, pause_ms))
        last[partition] = at_ns

    for stay in stays:
        if begun_ns <= stay.enter_ns <= ended_ns:
            note(stay.partition, stay.enter_ns)
    for partition in range(partitions):
        note(partition, ended_ns)
    return found


def histogram(found: Iterable[float]) -> Counter[int]:
    """How many pauses lie between each bound and the next; the key is the lower bound."""
    counted: Counter[int] = Counter()
    for pause_ms in found:
        counted[max(bound for bound in BOUNDS_MS if bound <= pause_ms)] += 1
    return counted


def told(counted: Counter[int]) -> list[str]:
    """The histogram as lines of text."""
    return [
        f"{_span(bound, BOUNDS_MS):>16}  {counted[bound]}" for bound in BOUNDS_MS if counted[bound]
    ]


def _span(bound: int, bounds: Sequence[int]) -> str:
    following = [each for each in bounds if each > bound]
    return f"{bound}..{following[0]} ms" if following else f"{bound} ms and more"
