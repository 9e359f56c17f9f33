"""The judge sees what must not be, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from tests.process.chaos.judge import Fault, Judge, Sent, Window, message_of
from tests.process.chaos.notes import Stay
from tests.process.history import Freeze, Outcome

NOW_NS = 1_000


def stay(number: int, enter_ns: int, exit_ns: int = -1, epoch: int = 1, worker: str = "a") -> Stay:
    ended_ns = enter_ns + 1 if exit_ns < 0 else exit_ns
    return Stay(enter_ns, 7, epoch, message_of(3, number), ended_ns, worker)


def told(
    number: int,
    outcome: Outcome = Outcome.ACKNOWLEDGED,
    epoch: int = 1,
    *,
    idempotent: bool = False,
) -> Sent:
    acknowledged = outcome is Outcome.ACKNOWLEDGED
    reason = "" if acknowledged else "NOT_OWNER"
    return Sent(message_of(3, number), outcome, epoch if acknowledged else 0, reason, idempotent)


def judged(*windows: tuple[Sequence[Stay], Sequence[Sent]], ordered: bool = True) -> Judge:
    judge = Judge()
    if ordered:
        judge.ordered.add(3)
    for stays, sent in windows:
        judge.judge(Window(stays, sent, NOW_NS))
    return judge


def faults(*windows: tuple[Sequence[Stay], Sequence[Sent]], ordered: bool = True) -> list[Fault]:
    return list(judged(*windows, ordered=ordered).tally.faults.elements())


def test_a_good_history_has_no_faults() -> None:
    stays = [stay(0, 10), stay(1, 20), stay(2, 30, epoch=2, worker="b"), stay(4, 40, epoch=2)]
    sent = [told(0), told(1), told(2, epoch=2), told(3, Outcome.REFUSED), told(4, Outcome.UNKNOWN)]
    judge = judged((stays[:3], sent[:4]), ([], sent[4:]))
    assert not judge.tally.faults
    assert judge.tally.outcomes.total() == 5
    assert judge.tally.epochs == 2


def test_two_inside_at_once() -> None:
    assert faults(([stay(0, 10, 20), stay(1, 19)], [told(0), told(1)])) == [Fault.OVERLAP]


def test_two_inside_at_once_in_different_windows() -> None:
    first = ([stay(0, 10, 0)], [told(0)])  # open, so until now
    assert faults(first, ([stay(1, NOW_NS - 1)], [told(1)])) == [Fault.OVERLAP]


def test_a_long_stay_is_not_hidden_by_a_short_one() -> None:
    stays = [stay(0, 10, 50), stay(1, 20, 21), stay(2, 30, 31)]
    assert faults((stays, [])) == [Fault.OVERLAP, Fault.OVERLAP]


def test_a_killed_worker_was_inside_until_it_was_dead() -> None:
    judge = Judge()
    stays = [stay(0, 10, 0), stay(1, 30, epoch=2, worker="b")]
    judge.judge(Window(stays, [], NOW_NS, ended_ns={"a": 25}))
    assert not judge.tally.faults
    judge = Judge()
    judge.judge(Window(stays, [], NOW_NS, ended_ns={"a": 35}))
    assert list(judge.tally.faults) == [Fault.OVERLAP]


def test_a_frozen_worker_may_finish_late_but_nobody_is_lied_to() -> None:
    judge = Judge()
    freeze = Freeze("a", from_ns=15, until_ns=100)
    stays = [stay(0, 10, 101), stay(1, 30, epoch=2, worker="b")]
    judge.judge(Window(stays, [told(0, Outcome.REFUSED)], NOW_NS, freezes=[freeze]))
    assert list(judge.tally.faults) == [Fault.LIE]
    assert judge.tally.thawed == 1


def test_an_epoch_goes_back() -> None:
    stays = [stay(0, 10, epoch=2), stay(1, 20, epoch=1)]
    assert faults((stays, [])) == [Fault.REGRESSION]
    assert faults((stays[:1], []), (stays[1:], [])) == [Fault.REGRESSION]


def test_another_worker_under_the_same_epoch() -> None:
    assert faults(([stay(0, 10), stay(1, 20, worker="b")], [])) == [Fault.REGRESSION]


def test_acknowledged_and_not_executed() -> None:
    assert faults(([], [told(0)])) == [Fault.LOST]
    assert faults(([stay(0, 10, epoch=2)], [told(0, epoch=1)])) == [Fault.LOST]


def test_refused_and_executed_in_any_order() -> None:
    refused = told(0, Outcome.REFUSED)
    assert faults(([stay(0, 10)], [refused])) == [Fault.LIE]
    assert faults(([], [refused]), ([stay(0, 10)], [])) == [Fault.LIE]
    assert faults(([stay(0, 10)], []), ([], [refused])) == [Fault.LIE]


def test_executed_twice() -> None:
    stays = [stay(0, 10), stay(0, 20)]
    assert faults((stays, [told(0)])) == [Fault.REPEAT]
    assert faults((stays[:1], [told(0)]), (stays[1:], [])) == [Fault.REPEAT]
    assert faults((stays, [told(0, idempotent=True)])) == []


def test_a_later_message_first() -> None:
    stays = [stay(1, 10), stay(0, 20)]
    sent = [told(0, Outcome.UNKNOWN), told(1)]
    assert faults((stays, sent)) == [Fault.DISORDER]
    assert faults((stays[:1], sent), (stays[1:], [])) == [Fault.DISORDER]
    assert faults((stays, sent), ordered=False) == []


def test_unknown_outcomes_may_have_run() -> None:
    unknown = [told(0, Outcome.UNKNOWN), told(1, Outcome.UNKNOWN)]
    judge = judged(([stay(0, 10)], unknown))
    assert not judge.tally.faults
    assert judge.tally.unknown_executed == 1


def test_a_fault_is_told_with_what_went_before() -> None:
    judge = judged(([stay(0, 10), stay(1, 20, worker="b")], []))
    assert "3:0 in partition 7 of a under epoch 1" in judge.tally.told[0]
