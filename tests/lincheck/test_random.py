"""The checker against one that tries everything, and on histories good or bad by construction."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.lincheck import brute_force
from tests.lincheck.history import History
from tests.lincheck.judge import Verdict, judge
from tests.lincheck.random_histories import OPERATIONS_MAX, arbitrary, atomic, with_stale_read
from tests.lincheck.steps import Append, Cas, Step, Write

_SEEDS_PER_BLOCK = 2000


def _replay(name: str, seed: int, history: History) -> str:
    return f"replay with {name}(Random({seed})):\n" + "\n".join(map(str, history.operations))


@pytest.mark.parametrize("block", range(5))
def test_agrees_with_brute_force(block: int) -> None:
    verdicts: Counter[bool] = Counter()
    for seed in range(block * _SEEDS_PER_BLOCK, (block + 1) * _SEEDS_PER_BLOCK):
        history = arbitrary(Random(seed))
        assert len(history.operations) <= OPERATIONS_MAX
        good = brute_force.linearizable(history)
        verdicts[good] += 1
        expected = Verdict.LINEARIZABLE if good else Verdict.NOT_LINEARIZABLE
        assert judge(history).verdict is expected, _replay("arbitrary", seed, history)
    assert min(verdicts[True], verdicts[False]) > _SEEDS_PER_BLOCK // 10, verdicts


def _unique_writes(number: int) -> Step | None:
    return Write(str(number)) if number % 2 else None


def _appends(number: int) -> Step | None:
    return Append(f"{number},") if number % 2 else None


def _few_values(number: int) -> Step | None:
    steps = (None, Write(str(number % 4)), Cas(str(number % 3), str(number % 5)))
    return steps[number % 3]


@pytest.mark.parametrize("effect", [_unique_writes, _appends, _few_values])
@pytest.mark.parametrize("seed", range(10))
def test_what_an_atomic_store_shows_is_linearizable(seed: int, effect: object) -> None:
    assert callable(effect)
    history = atomic(Random(seed), 300, effect)
    assert judge(history).verdict is Verdict.LINEARIZABLE, _replay("atomic", seed, history)


@pytest.mark.parametrize("effect", [_unique_writes, _appends])
@pytest.mark.parametrize("seed", range(10))
def test_a_stale_read_spoils_a_good_history(seed: int, effect: object) -> None:
    assert callable(effect)
    random = Random(seed)
    history = with_stale_read(random, atomic(random, 300, effect))
    judgement = judge(history)
    assert judgement.verdict is Verdict.NOT_LINEARIZABLE, _replay("stale", seed, history)
    assert judgement.stuck is not None
