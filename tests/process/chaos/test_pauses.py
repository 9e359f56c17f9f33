"""Pauses are counted between messages, and up to the ends of the demand."""

from __future__ import annotations

from collections import Counter

from tests.process.chaos.notes import Stay
from tests.process.chaos.pauses import histogram, pauses_ms, told

MS = 1_000_000


def entered(partition: int, at_ms: int) -> Stay:
    return Stay(at_ms * MS, partition, 1, 0, at_ms * MS + 1, "a")


def test_pauses_between_messages_and_at_both_ends() -> None:
    stays = [entered(0, 1_300), entered(0, 1_400), entered(1, 1_050), entered(0, 1_900)]
    found = pauses_ms([*stays, entered(1, 1_950), entered(1, 9_000)], 2, 1_000 * MS, 2_500 * MS)
    assert found == [(0, 300), (0, 500), (1, 900), (0, 600), (1, 550)]


def test_a_partition_that_was_never_served() -> None:
    assert pauses_ms([], 1, 0, 5_000 * MS) == [(0, 5_000)]


def test_the_histogram_has_bounds() -> None:
    counted = histogram([200, 499.9, 500, 70_000])
    assert counted == Counter({200: 2, 500: 1, 60_000: 1})
    assert told(counted) == [
        "     200..500 ms  2",
        "    500..1000 ms  1",
        "60000 ms and more  1",
    ]
