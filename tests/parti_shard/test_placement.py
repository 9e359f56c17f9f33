"""Placement: fewest moves against brute force, quotas, pins, load, rings."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import pytest

from parti_shard.placement import Problem, imbalance_percent, place
from parti_shard.placement_balanced import quotas
from parti_shard.policy import Strategy


def problem(
    current: Iterable[int], capacity: dict[int, int], last: Iterable[int] = (), **more: Any
) -> Problem:
    held: Any = list(current)
    before: Any = list(last) or held
    weights: Any = capacity
    partitions: Any = list(range(len(held)))
    return Problem(partitions, held, before, weights, **more)


def balanced(given: Problem) -> list[int]:
    return list(place(Strategy.BALANCED, given))


def moves(given: Problem, placed: Sequence[int]) -> int:
    return sum(
        1 for a, b in zip(given.current, placed, strict=True) if a in given.capacity and a != b
    )


def spread(placed: list[int], members: Iterable[int]) -> int:
    counts = Counter(placed)
    sizes = [counts[member] for member in members]
    return max(sizes) - min(sizes)


@pytest.mark.parametrize("members", [1, 2, 3])
@pytest.mark.parametrize("partitions", [1, 2, 3, 4, 5, 6])
def test_balanced_needs_the_fewest_moves_of_all_even_placements(
    members: int, partitions: int
) -> None:
    capacity = dict.fromkeys(range(1, members + 1), 1)
    even = [
        placed
        for placed in product(capacity, repeat=partitions)
        if spread(list(placed), capacity) <= 1
    ]
    for current in product(range(members + 1), repeat=partitions):
        given = problem(current, capacity)
        placed = balanced(given)
        assert spread(placed, capacity) <= 1, (current, placed)
        best = min(moves(given, list(other)) for other in even)
        assert moves(given, placed) == best, (current, placed)


def test_quotas_follow_capacity_by_largest_remainder() -> None:
    weights: Any = {1: 1, 2: 2, 3: 4}
    assert quotas(10, weights, {}, {}) == {1: 1, 2: 3, 3: 6}
    assert quotas(7, weights, {}, {}) == {1: 1, 2: 2, 3: 4}


def test_an_orphan_returns_to_its_last_owner_if_that_is_fair() -> None:
    given = problem([0, 0, 0, 0], {1: 1, 2: 1}, last=[2, 2, 1, 1])
    assert balanced(given) == [2, 2, 1, 1]


def test_pins_hold_and_the_rest_balances_round_them() -> None:
    pins: Any = {0: 3, 1: 3, 2: 9}
    placed = balanced(problem([1] * 9, {1: 1, 2: 1, 3: 1}, pins=pins))
    assert placed[:2] == [3, 3]
    assert spread(placed, (1, 2, 3)) == 0
    crowded: Any = dict.fromkeys(range(5), 3)
    placed = balanced(problem([0] * 9, {1: 1, 2: 1, 3: 1}, pins=crowded))
    assert Counter(placed) == {3: 5, 1: 2, 2: 2}


def test_partitions_moved_lately_move_last() -> None:
    reluctant: Any = frozenset({2, 3})
    placed = balanced(problem([1, 1, 1, 1], {1: 1, 2: 1}, reluctant=reluctant))
    assert placed == [2, 2, 1, 1]


@pytest.mark.parametrize("strategy", Strategy)
def test_without_members_nobody_owns_anything(strategy: Strategy) -> None:
    assert place(strategy, problem([1, 0], {})) == [0, 0]


@pytest.mark.parametrize("strategy", Strategy)
def test_every_strategy_is_deterministic_and_honours_pins(strategy: Strategy) -> None:
    pins: Any = {5: 2}
    given = problem([0] * 200, {3: 1, 1: 2, 2: 1}, pins=pins)
    again = problem([0] * 200, {1: 2, 2: 1, 3: 1}, pins=pins)
    placed = place(strategy, given)
    assert placed == place(strategy, again)
    assert placed[5] == 2
    assert set(placed) == {1, 2, 3}


@pytest.mark.parametrize(
    "strategy", [Strategy.CONSISTENT_HASH, Strategy.BALANCED, Strategy.WEIGHTED_CONSISTENT_HASH]
)
def test_a_member_that_joins_takes_about_its_share(strategy: Strategy) -> None:
    before = place(strategy, problem([0] * 1_000, dict.fromkeys(range(1, 10), 1)))
    given = problem(before, dict.fromkeys(range(1, 11), 1))
    assert 50 <= moves(given, list(place(strategy, given))) <= 200


def test_the_bounded_ring_bounds_everybody() -> None:
    given = problem([0] * 500, {1: 1, 2: 1, 3: 2, 4: 4})
    placed = place(Strategy.WEIGHTED_CONSISTENT_HASH, given)
    assert imbalance_percent(given, placed) <= 130


@pytest.mark.parametrize("seed", range(10))
def test_load_is_evened_out_with_few_moves(seed: int) -> None:
    rng = random.Random(seed)
    load = [rng.choice((0, 1, 2, 5, 20)) for _ in range(300)]
    load[:30] = [40] * 30
    current = [1 if p < 60 else 1 + p % 5 for p in range(300)]
    capacity = dict.fromkeys(range(1, 6), 1)
    given = problem(current, capacity, load=load)
    total_moves = 0
    for _ in range(10):
        placed = list(place(Strategy.BALANCED, given))
        moved = moves(given, placed)
        assert moved <= 27, "the budget of one plan"
        total_moves += moved
        given = problem(placed, capacity, load=load)
        if not moved:
            break
    assert imbalance_percent(given, list(given.current)) <= 120, seed
    assert total_moves <= 60, seed
    assert moves(given, list(place(Strategy.BALANCED, given))) == 0, "it comes to rest"
