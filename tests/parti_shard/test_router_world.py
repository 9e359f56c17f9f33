"""Random life of three routers. Replay one seed: `PARTI_SEED=N pytest <this file>`."""

from __future__ import annotations

import os

import pytest

from parti_shard.ids import PartitionId
from tests.parti_shard.router_world import MEMBERS, PARTITIONS, World

SEEDS = [int(os.environ["PARTI_SEED"])] if "PARTI_SEED" in os.environ else list(range(16))


def stories(world: World) -> str:
    lines = []
    for member in MEMBERS:
        for partition in range(PARTITIONS):
            lines.append(f"-- member {member}, partition {partition}")
            lines.extend(world.nodes[member].router.story(PartitionId(partition)))
    return "\n".join(lines)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_the_promises_hold(seed: int) -> None:
    world = World(seed)
    try:
        world.run(6_000)
        world.settle()
        world.run(4_000)
        silent = [uid for uid, message in world.oracle.sent.items() if not message.outcome]
        assert not silent, f"without an outcome: {silent[:5]}"
        everywhere = list(range(PARTITIONS))
        last = [uid for node in world.nodes.values() for uid in world.send(node, everywhere, 900)]
        world.run(1_000)
        unserved = {uid: world.oracle.sent[uid].outcome for uid in last}
        assert set(unserved.values()) == {"OK"}, f"trouble is over, yet: {unserved}"
    except AssertionError as error:
        error.add_note(f"replay: PARTI_SEED={seed}, at {world.now_ms} ms\n{stories(world)}")
        raise
    assert world.oracle.outcomes["OK"] > 200, world.oracle.outcomes


def test_the_seeds_together_reach_every_kind_of_outcome() -> None:
    seen: set[str] = set()
    for seed in range(100, 108):
        world = World(seed)
        world.run(3_000)
        seen.update(world.oracle.outcomes)
    assert seen >= {
        "OK",
        "CONNECTION_LOST/UNKNOWN",
        "DEADLINE_EXCEEDED/NO",
        "DEADLINE_EXCEEDED/UNKNOWN",
        "OVERLOADED/NO",
        "OWNER_LOST/UNKNOWN",
        "WORKER_LOST/UNKNOWN",
    }, seen
