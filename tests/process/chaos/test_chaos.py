"""Two minutes of real processes under real faults; the whole of it is `python -m tests.chaos`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.process.chaos.diallers import SUPPORTED
from tests.process.chaos.exactly_once import exactly_once
from tests.process.chaos.rolling import PARTITIONS, rolling_restart
from tests.process.chaos.run import Settings, run
from tests.process.history import Outcome

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not SUPPORTED, reason="the network asks Linux who dials"),
]

SEED = int(os.environ.get("PARTI_CHAOS_SEED", "1"))
MINUTES = 2.0
OPERATIONS_MIN = 50_000
PER_S = 1_000.0
ROLLING_PER_S = 500.0
WRITES = 3_000


async def test_nothing_is_lost_doubled_or_out_of_order_under_faults(tmp_path: Path) -> None:
    replay = f"python -m tests.chaos --minutes {MINUTES:g} --seed {SEED} --rate {PER_S:g}"
    try:
        report = await run(Settings(SEED, MINUTES * 60, per_s=PER_S), tmp_path)
    except BaseException as error:
        error.add_note(f"replay: {replay}")
        raise
    assert report.bad == 0, f"\n{report}\nreplay: {replay}"
    assert report.operations > OPERATIONS_MIN, f"\n{report}"
    assert len(report.troubles) > 15, f"\n{report}"


@pytest.mark.parametrize("members", [3, 5])
async def test_a_rolling_restart_fails_no_request(tmp_path: Path, members: int) -> None:
    report = await rolling_restart(tmp_path, members, per_s=ROLLING_PER_S, seed=SEED)
    assert report.bad == 0, f"\n{report}"
    assert set(report.messages) == {Outcome.ACKNOWLEDGED}, f"\n{report}"
    assert report.epochs > 2 * PARTITIONS, f"\n{report}"


async def test_writes_whose_answers_are_lost_count_once(tmp_path: Path) -> None:
    figures = await exactly_once(tmp_path, WRITES)
    assert figures.writes >= WRITES
    assert figures.leaders_killed
    assert figures.connections_reset >= figures.rounds
