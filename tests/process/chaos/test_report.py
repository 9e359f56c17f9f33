"""Reports add up and survive being written."""

from __future__ import annotations

from collections import Counter

from tests.process.chaos.judge import FAULTS_TOLD_MAX, Fault
from tests.process.chaos.report import NOT_LINEARIZABLE, Report


def made(seed: int) -> Report:
    return Report(
        seeds=[seed],
        seconds=10,
        messages=Counter(acknowledged=5, unknown=1),
        kv_operations=Counter(answered=4),
        kv_keys=Counter(linearizable=2),
        troubles=Counter({"kill both": 1}),
        pauses=Counter({"200": 3}),
        unavailable_ms=Counter({"0": 700, "1": 900}),
        recovery_ms=[50],
        told=["x"] * 15,
    )


def test_two_runs_make_one_report() -> None:
    both = Report()
    both.add(made(1))
    both.add(made(2))
    assert (both.seeds, both.operations, both.seconds) == ([1, 2], 20, 20)
    assert both.pauses == Counter({"200": 6})
    assert both.recovery_ms == [50, 50]
    assert len(both.told) == FAULTS_TOLD_MAX
    assert "20 operations checked in 20 s, seeds 1, 2" in str(both)
    assert "unavailable by partition: 7.00 to 9.00 %" in str(both)


def test_json_gives_the_same_back() -> None:
    assert Report.from_json(made(3).as_json()) == made(3)


def test_every_violation_counts() -> None:
    assert made(1).bad == 0
    for fault in Fault:
        assert Report(faults=Counter({fault.value: 1})).bad == 1
    assert Report(kv_keys=Counter({NOT_LINEARIZABLE: 2})).bad == 2
