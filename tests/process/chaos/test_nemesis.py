"""Which ways a trouble of the network touches, and how."""

from __future__ import annotations

from typing import cast

import pytest

from tests.process.chaos.load import Load
from tests.process.chaos.nemesis import CUT, Nemesis, condition_of
from tests.process.chaos.network import Pair
from tests.process.chaos.plan import Kind, Trouble
from tests.process.chaos.ways import Condition
from tests.process.chaos.world import ChaosWorld

MEMBERS = ("a", "b", "c")


class Cluster:
    def running(self) -> list[str]:
        return list(MEMBERS)


class World:
    cluster = Cluster()


async def nobody(member: str) -> None:
    raise AssertionError(member)


def trouble(kind: Kind, strength: int = 0) -> Trouble:
    return Trouble(kind, for_ms=1, rest_ms=1, victim=1, other=1, strength=strength)


def pairs(kind: Kind) -> set[Pair]:
    nemesis = Nemesis(cast("ChaosWorld", World()), cast("Load", None), nobody)
    return set(nemesis.pairs(trouble(kind)))


@pytest.mark.parametrize(
    ("kind", "touched"),
    [
        (Kind.CUT_ONE_WAY, {("b", "c")}),
        (Kind.CUT_PAIR, {("b", "c"), ("c", "b")}),
        (Kind.DEAF, {("a", "b"), ("c", "b")}),
        (Kind.MUTE, {("b", "a"), ("b", "c")}),
        (Kind.CUT_OFF, {("a", "b"), ("c", "b"), ("b", "a"), ("b", "c")}),
        (Kind.CUT_OFF_LEADER, {("a", "b"), ("c", "a"), ("b", "a"), ("a", "c")}),
        (Kind.DELAY, {(x, y) for x in MEMBERS for y in MEMBERS if x != y}),
    ],
)
def test_ways(kind: Kind, touched: set[Pair]) -> None:
    assert pairs(kind) == touched


def test_conditions() -> None:
    assert condition_of(trouble(Kind.DELAY, 40)) == Condition(delay_ms=40)
    assert condition_of(trouble(Kind.THROTTLE, 9_000)) == Condition(bytes_per_s=9_000)
    assert condition_of(trouble(Kind.DEAF)) == CUT
