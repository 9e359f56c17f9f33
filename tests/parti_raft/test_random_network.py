from __future__ import annotations

import os

import pytest

from tests.parti_raft.simulation import Simulation

_SEEDS = int(os.environ.get("PARTI_RAFT_SEEDS", "20"))
_EVENTS = 10_000


@pytest.mark.parametrize("seed", range(_SEEDS))
@pytest.mark.parametrize("size", [3, 5])
def test_random_network(size: int, seed: int) -> None:
    simulation = Simulation(seed, size)
    try:
        simulation.run(_EVENTS)
        simulation.recover()
    except Exception as error:
        name = "tests/parti_raft/test_random_network.py::test_random_network"
        replay = f"PARTI_RAFT_SEEDS={seed + 1} pytest '{name}[{size}-{seed}]'"
        raise AssertionError(f"replay with: {replay}") from error
    assert simulation.committed, "nothing was committed: the run proves nothing"
