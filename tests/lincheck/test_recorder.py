"""What the recorder makes of the events it is told."""

from __future__ import annotations

import pytest

from tests.lincheck.history import HistoryError, Operation, Recorder
from tests.lincheck.judge import Verdict, judge
from tests.lincheck.steps import Append, Cas, CasRefused, Read, Write


def test_answers_end_operations() -> None:
    recorder = Recorder()
    recorder.invoke("p", "k", Write("1"))
    recorder.invoke("q", "k")
    recorder.ok("q", Read("1"))
    recorder.ok("p")
    assert recorder.history().operations == (
        Operation("q", "k", Read("1"), 2, 3),
        Operation("p", "k", Write("1"), 1, 4),
    )


def test_a_failed_operation_leaves_only_what_it_learned() -> None:
    recorder = Recorder()
    recorder.invoke("p", "k", Write("1"))
    recorder.fail("p")
    recorder.invoke("p", "k", Cas("1", "2"))
    recorder.fail("p", CasRefused("1"))
    assert recorder.history().operations == (Operation("p", "k", CasRefused("1"), 3, 4),)


def test_a_failed_operation_cannot_have_changed_anything() -> None:
    recorder = Recorder()
    recorder.invoke("p", "k", Write("1"))
    with pytest.raises(AssertionError, match="cannot change the state"):
        recorder.fail("p", Write("1"))


def test_unknown_abandoned_and_open_operations_may_take_effect_later() -> None:
    recorder = Recorder()
    recorder.invoke("unknown", "k", Write("1"))
    recorder.unknown("unknown")
    recorder.invoke("abandoned", "k", Write("2"))
    recorder.invoke("abandoned", "k", Write("3"))
    operations = recorder.history().operations
    assert {operation.step for operation in operations} == {Write("1"), Write("2"), Write("3")}
    assert {operation.returned for operation in operations} == {None}


def test_a_read_without_an_answer_says_nothing() -> None:
    recorder = Recorder()
    recorder.invoke("p", "k")
    recorder.unknown("p")
    recorder.invoke("q", "k")
    assert recorder.history().operations == ()


def test_an_answer_needs_a_question() -> None:
    recorder = Recorder()
    for answer in (recorder.ok, recorder.fail, recorder.unknown):
        with pytest.raises(HistoryError, match="process p: an answer without a question"):
            answer("p")
    recorder.invoke("p", "k")
    with pytest.raises(HistoryError, match="a read was answered without its value"):
        recorder.ok("p")


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(HistoryError, match="returned before it was invoked"):
        Operation("p", "k", Write("1"), 2, 1)


def test_the_state_at_the_start_can_be_given() -> None:
    for initial, verdict in (("x", Verdict.LINEARIZABLE), ("", Verdict.NOT_LINEARIZABLE)):
        recorder = Recorder(initial=initial)
        recorder.invoke("p", "k", Append("y"))
        recorder.ok("p")
        recorder.invoke("p", "k")
        recorder.ok("p", Read("xy"))
        assert judge(recorder.history()).verdict is verdict
