"""Cordoned members keep what they have, and receive only what nobody else can own."""

from __future__ import annotations

from typing import Any

import pytest

from parti_shard.commands import (
    Cause,
    CloseSession,
    Command,
    Grant,
    Intent,
    Pin,
    Revoke,
    SetIntent,
)
from parti_shard.standing import Standing, receivers
from tests.parti_shard.test_coordinator import Scene

RECEIVES, UNHEARD, CORDONED = Standing.RECEIVES, Standing.UNHEARD, Standing.CORDONED
KEEPS, SHEDS = Standing.KEEPS, Standing.SHEDS


def intend(scene: Scene, intent: Intent, *members: int) -> None:
    commands: list[Any] = [SetIntent(member, intent) for member in members]  # type: ignore[arg-type]
    scene.apply(commands)


def rolled() -> Scene:
    """Members 1 and 2 are outdated and cordoned, 3 is updated and has everything else."""
    scene = Scene(members=3, partitions=12)
    for member in (1, 2, 3):
        scene.renew(member)
    scene.settle()
    scene.settle(after_ms=500)
    assert sorted(scene.table.owner) == [1] * 4 + [2] * 4 + [3] * 4
    intend(scene, Intent.CORDON, 1, 2)
    return scene


def end(scene: Scene, member: int) -> None:
    session = scene.table.members[member].session  # type: ignore[index]
    scene.apply([CloseSession(session)])


def much_later(scene: Scene) -> list[Command]:
    """What is done in a time in which every coalescing and cooldown ends."""
    done: list[Command] = []
    for _ in range(40):
        for member in (1, 2, 3):
            scene.renew(member)
        done += scene.settle(after_ms=500)
    return done


@pytest.mark.parametrize(
    ("standings", "expected"),
    [
        ({1: RECEIVES, 2: CORDONED, 3: KEEPS, 4: SHEDS}, {1}),
        ({1: CORDONED, 2: CORDONED, 3: KEEPS, 4: SHEDS}, {1, 2}),
        ({1: CORDONED, 2: UNHEARD}, set()),
        ({1: CORDONED, 2: UNHEARD, 3: RECEIVES}, {3}),
        ({1: KEEPS, 2: SHEDS}, set()),
        ({}, set()),
    ],
)
def test_who_receives(standings: Any, expected: set[int]) -> None:
    assert receivers(standings) == expected


def test_while_another_can_own_a_cordoned_member_receives_nothing() -> None:
    scene = rolled()
    end(scene, 1)
    assert {c.member for c in scene.settle() if isinstance(c, Grant)} == {3}


def test_what_nobody_else_can_own_goes_evenly_to_those_who_are_cordoned() -> None:
    scene = rolled()
    before = list(scene.table.owner)
    end(scene, 3)
    done = scene.settle()
    assert sorted(scene.table.owner) == [1] * 6 + [2] * 6
    assert all(isinstance(c, Grant) and c.cause is Cause.ORPHAN for c in done)
    kept = [p for p, owner in enumerate(before) if owner in (1, 2)]
    assert all(scene.table.owner[p] == before[p] for p in kept)


def test_a_cordon_is_kept_again_when_another_can_own() -> None:
    scene = rolled()
    end(scene, 3)
    scene.settle()
    scene.reopen(3)
    assert much_later(scene) == [], "what they received they keep"
    end(scene, 1)
    assert {c.member for c in scene.settle() if isinstance(c, Grant)} == {3}


def test_a_member_that_has_not_reported_to_a_new_leader_is_waited_for() -> None:
    scene = rolled()
    end(scene, 3)
    intend(scene, Intent.CORDON, 3)
    intend(scene, Intent.NONE, 2)
    scene.coordinator.became_leader(scene.now_ms)
    scene.renew(1)
    assert scene.turn() == [], "member 2 may receive"
    scene.renew(2)
    assert {c.member for c in scene.settle() if isinstance(c, Grant)} == {2}


def test_drained_partitions_go_to_cordoned_members_rather_than_to_nobody() -> None:
    scene = rolled()
    intend(scene, Intent.DRAIN, 3)
    revokes = [c for c in scene.settle() if isinstance(c, Revoke)]
    assert {c.cause for c in revokes} == {Cause.DRAIN}
    assert sorted(scene.table.owner) == [1] * 6 + [2] * 6


def test_cordoning_everybody_moves_nothing() -> None:
    """A freeze: also what is uneven, or pinned elsewhere, stays."""
    scene = rolled()
    end(scene, 2)
    scene.settle()
    scene.reopen(2)
    intend(scene, Intent.CORDON, 1, 2, 3)
    partition: Any = scene.table.owner.index(3)  # type: ignore[arg-type]
    pin: Any = Pin(partition, 1)  # type: ignore[arg-type]
    scene.apply([pin])
    assert much_later(scene) == []
