"""The plan: all kinds, the same for the same seed."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.process.chaos.plan import LANES, Kind, Lane, troubles


def test_every_kind_has_one_lane() -> None:
    kinds = [kind for lane in Lane for kind in LANES[lane]]
    assert sorted(kinds) == sorted(Kind)


@pytest.mark.parametrize("lane", Lane)
def test_every_kind_comes_before_any_comes_again(lane: Lane) -> None:
    count = len(LANES[lane])
    dealt = list(islice(troubles(lane, 5), 2 * count))
    assert {each.kind for each in dealt[:count]} == set(LANES[lane])
    assert {each.kind for each in dealt[count:]} == set(LANES[lane])


def test_a_seed_is_a_plan() -> None:
    first, again, other = (list(islice(troubles(Lane.NETWORK, seed), 30)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
