"""The judge judges: good histories pass, and each kind of bad one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.history import Freeze, Outcome, Sent, Verdict, judge
from tests.process.recorder import Execution, Recorder, boottime_ns, read_executions

NOW_NS = 1_000


def ran(
    message: str, worker: str, epoch: int, enter_ns: int, exit_ns: int | None, partition: int = 1
) -> Execution:
    return Execution(worker, partition, epoch, message, enter_ns, exit_ns)


def sent(
    message: str,
    outcome: Outcome = Outcome.ACKNOWLEDGED,
    *,
    epoch: int = 0,
    idempotent: bool = False,
    in_order: bool = True,
) -> Sent:
    sender, _, number = message.partition(":")
    return Sent(message, sender, int(number), outcome, "OK", epoch, idempotent, in_order)


A1 = ran("c:1", "m1-7", 1, 10, 20)
A2 = ran("c:2", "m1-7", 1, 30, 40)
B3 = ran("c:3", "m2-8", 2, 50, 60)
GOOD = [A1, A2, B3]
GOOD_SENT = [sent("c:1", epoch=1), sent("c:2", epoch=1), sent("c:3", epoch=2)]


def verdict(executions: list[Execution], messages: list[Sent] | None = None) -> Verdict:
    return judge(executions, messages or [], now_ns=NOW_NS)


def test_a_good_history_passes_and_is_counted() -> None:
    found = verdict(GOOD, [*GOOD_SENT, sent("c:4", Outcome.UNKNOWN), sent("c:5", Outcome.REFUSED)])
    assert found.faults == []
    assert (found.executions, found.changes_of_epoch) == (3, 2)
    assert found.outcomes == {Outcome.ACKNOWLEDGED: 3, Outcome.UNKNOWN: 1, Outcome.REFUSED: 1}


@pytest.mark.parametrize(
    ("executions", "words"),
    [
        ([A1, ran("x:1", "m2-8", 2, 15, 25)], "entered before"),
        ([A1, ran("x:1", "m1-7", 1, 15, 25)], "entered before"),
        ([B3, ran("x:1", "m1-7", 1, 70, 80)], "not above"),
        ([A1, ran("x:1", "m2-8", 1, 30, 40)], "not above"),
        ([ran("x:1", "m1-7", 2, 1, 2), A1], "went back"),
        ([ran("x:1", "m1-7", 1, 10, None), ran("x:2", "m2-8", 2, 50, 60)], "entered before"),
    ],
    ids=["two owners", "twice inside", "back", "shared epoch", "own epoch back", "never left"],
)
def test_overlaps_and_epochs_that_do_not_rise(executions: list[Execution], words: str) -> None:
    (fault,) = verdict(executions).faults
    assert words in fault


def test_other_partitions_may_overlap() -> None:
    assert verdict([A1, ran("x:1", "m2-8", 2, 15, 25, partition=2)]).faults == []


def test_a_killed_worker_was_inside_until_it_was_seen_dead() -> None:
    begun, after = ran("x:1", "m1-7", 1, 10, None), ran("x:2", "m2-8", 2, 50, 60)
    assert judge([begun, after], [], now_ns=NOW_NS, ended_ns={"m1-7": 45}).faults == []
    assert judge([begun, after], [], now_ns=NOW_NS, ended_ns={"m1-7": 55}).faults != []


def test_what_a_frozen_worker_finishes_late_is_listed_not_hidden() -> None:
    frozen, later = ran("x:1", "m1-7", 1, 10, 80), ran("x:2", "m2-8", 2, 50, 60)
    freeze = Freeze("m1-7", 20, 70)
    found = judge([frozen, later], [], now_ns=NOW_NS, freezes=[freeze])
    assert (found.faults, found.thawed) == ([], [frozen])


@pytest.mark.parametrize("freeze", [Freeze("m3-9", 20, 70), Freeze("m1-7", 85, 90)])
def test_only_a_freeze_of_its_own_while_inside_excuses(freeze: Freeze) -> None:
    frozen, later = ran("x:1", "m1-7", 1, 10, 80), ran("x:2", "m2-8", 2, 50, 60)
    found = judge([frozen, later], [], now_ns=NOW_NS, freezes=[freeze])
    assert found.faults
    assert found.thawed == []


def test_an_epoch_told_wrongly_is_found_also_of_a_frozen_worker() -> None:
    frozen = ran("c:1", "m1-7", 1, 10, 80)
    found = judge([frozen], [sent("c:1", epoch=2)], now_ns=NOW_NS, freezes=[Freeze("m1-7", 20, 70)])
    assert "acknowledged under epoch 2, executed under [1]" in found.faults[0]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (sent("c:9", epoch=1), "acknowledged under epoch 1, executed under []"),
        (sent("c:1", epoch=2), "acknowledged under epoch 2, executed under [1]"),
        (sent("c:1", Outcome.REFUSED), "refused (OK), but executed under [1]"),
    ],
    ids=["lost", "wrong epoch", "refused and run"],
)
def test_lies_to_the_sender(message: Sent, words: str) -> None:
    (fault,) = verdict(GOOD, [message]).faults
    assert words in fault


def test_only_idempotent_messages_run_twice() -> None:
    twice = [*GOOD, ran("c:1", "m2-8", 2, 70, 80)]
    (fault,) = verdict(twice, [sent("c:1", epoch=1, in_order=False)]).faults
    assert "not idempotent" in fault
    assert verdict(twice, [sent("c:1", epoch=1, idempotent=True)]).faults == []


def test_order_holds_per_sender_and_partition() -> None:
    swapped = [ran("c:2", "m1-7", 1, 10, 20), ran("c:1", "m2-8", 2, 30, 40)]
    messages = [sent("c:1", epoch=2), sent("c:2", epoch=1)]
    (fault,) = verdict(swapped, messages).faults
    assert fault == "c:1 entered partition 1 after c:2"
    loose = [sent("c:1", epoch=2, in_order=False), sent("c:2", epoch=1)]
    assert verdict(swapped, loose).faults == []
    elsewhere = [swapped[0], ran("c:1", "m2-8", 2, 30, 40, partition=2)]
    assert verdict(elsewhere, messages).faults == []


def test_notes_are_read_as_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "m1")
    before_ns = boottime_ns()
    with recorder.inside(3, 4, "c:1"), recorder.inside(5, 6, "c:2"):
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes() + b"enter 3 99 1 1")  # cut short by kill -9
        first, second = read_executions(tmp_path)
        assert (first.exit_ns, second.exit_ns) == (None, None)
    assert (first.member, first.partition, first.epoch, first.message) == ("m1", 3, 4, "c:1")
    assert before_ns <= first.enter_ns <= second.enter_ns <= boottime_ns()
    path.write_bytes(path.read_bytes().replace(b"enter 3 99 1 1", b""))
    first, second = read_executions(tmp_path)
    assert first.exit_ns is not None
    assert second.exit_ns is not None
    assert second.enter_ns <= second.exit_ns <= first.exit_ns
