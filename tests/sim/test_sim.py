"""The simulator's own proof: known bad seeds, a few more, and that it notices what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import blake2b

import pytest

from tests.sim.__main__ import corpus_seeds, run_many
from tests.sim.run import Result, run_plan, run_seed
from tests.sim.sabotage import SABOTAGES, SEEDS_TO_CATCH

BLOCKS = 50
SEEDS_PER_BLOCK = 10  # a block is a test: enough work to be worth handing to another process
_FINGERPRINT = (
    "from tests.sim.test_sim import fingerprint; from tests.sim.run import run_seed;"
    "print(fingerprint(run_seed({seed})))"
)


def told(result: Result) -> str:
    story = "\n".join(result.story)
    return f"{result.error}\n{story}\nreplay: python -m tests.sim --replay {result.seed} --verbose"


def fingerprint(result: Result) -> str:
    text = f"{result.events} {sorted(result.counts.items())} {result.story}"
    return blake2b(text.encode(), digest_size=8).hexdigest()


@pytest.mark.parametrize("seed", corpus_seeds())
def test_a_seed_that_once_failed_passes(seed: int) -> None:
    result = run_seed(seed)
    assert not result.error, told(result)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_nothing_is_violated(block: int) -> None:
    first = 1 + block * SEEDS_PER_BLOCK
    for seed in range(first, first + SEEDS_PER_BLOCK):
        result = run_seed(seed)
        assert not result.error, told(result)
        assert result.counts["outcome: OK"] > 0, f"seed {seed} serves nothing and proves nothing"


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_guard_taken_away_is_noticed(name: str) -> None:
    sabotage = SABOTAGES[name]
    seeds = range(1, 1 + SEEDS_TO_CATCH)
    with sabotage.at_work():
        caught = any(run_plan(sabotage.plan(seed)).error for seed in seeds)
    assert caught, f"{SEEDS_TO_CATCH} seeds see nothing wrong with {name}"


def test_many_seeds_at_once_are_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_many([1, 2, 3], jobs=2) == 0
    told = capsys.readouterr().out
    assert "3 seeds" in told
    assert ", 0 failed" in told
    appended = next(line for line in told.splitlines() if line.startswith("APP_RESP"))
    assert int(appended.split()[3]) > 0, "only a leader hears of what was appended"
    assert appended.split()[1:3] == ["-", "-"]


def test_a_seed_replays_exactly_in_another_process() -> None:
    """Also where strings hash otherwise: nothing may hang on the order of a set."""
    told_twice = {
        subprocess.run(
            [sys.executable, "-c", _FINGERPRINT.format(seed=2)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(told_twice) == 1, told_twice
