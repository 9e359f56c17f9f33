"""Small histories made by hand, and what each rule that keeps the search small is worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from tests.lincheck.history import History, Operation
from tests.lincheck.judge import Verdict, judge
from tests.lincheck.steps import (
    VARIOUS,
    Append,
    Cas,
    CasRefused,
    Read,
    State,
    Step,
    Various,
    Write,
)

Timed = tuple[Step, int, int | None]


def _history(*timed: Timed, initial: State = None) -> History:
    operations = [
        Operation(process, "k", step, invoked, returned)
        for process, (step, invoked, returned) in enumerate(timed)
    ]
    return History(tuple(operations), initial)


_GOOD: dict[str, tuple[Timed, ...]] = {
    "nothing": (),
    "absent at first": ((Read(None), 1, 2),),
    "in order": ((Write("1"), 1, 2), (Read("1"), 3, 4)),
    "read overlaps write, old value": ((Write("1"), 1, 4), (Read(None), 2, 3)),
    "read overlaps write, new value": ((Write("1"), 1, 4), (Read("1"), 2, 3)),
    "two writes in the other order": (
        (Write("1"), 1, 5),
        (Write("2"), 2, 6),
        (Read("2"), 7, 8),
        (Read("2"), 9, 10),
    ),
    "equal times overlap": ((Write("1"), 1, 2), (Read(None), 2, 3)),
    "cas chain": ((Write("1"), 1, 2), (Cas("2", "3"), 3, 8), (Cas("1", "2"), 4, 7)),
    "refused cas": ((Write("1"), 1, 2), (CasRefused("2"), 3, 4)),
    "refused cas between two writes": (
        (Write("1"), 1, 2),
        (Write("2"), 3, 6),
        (CasRefused("1"), 4, 5),
    ),
    "unknown write takes effect late": (
        (Write("1"), 1, None),
        (Read(None), 2, 3),
        (Read("1"), 4, 5),
    ),
    "unknown write never takes effect": ((Write("1"), 1, None), (Read(None), 2, 3)),
    "unknown cas takes effect after a write": (
        (Cas("1", "2"), 1, None),
        (Write("1"), 2, 3),
        (Read("1"), 4, 5),
        (Read("2"), 6, 7),
    ),
    "unknown write makes a cas possible": ((Write("1"), 1, None), (Cas("1", "2"), 2, 3)),
    "unknown write makes a cas impossible": (
        (Write("1"), 1, 2),
        (Write("2"), 3, None),
        (CasRefused("1"), 4, 5),
    ),
    "same unknown write twice": (
        (Write("1"), 1, None),
        (Write("1"), 2, None),
        (Read("1"), 3, 4),
        (Write("2"), 5, 6),
        (Read("1"), 7, 8),
    ),
    "appends": ((Append("a"), 1, 4), (Append("b"), 2, 3), (Read("ba"), 5, 6)),
    "unknown append": ((Append("a"), 1, None), (Append("b"), 2, 3), (Read("ab"), 4, 5)),
    "write starts appends anew": (
        (Append("a"), 1, 2),
        (Write("b"), 3, 6),
        (Append("c"), 4, 5),
        (Read("bc"), 7, 8),
    ),
    "delete": ((Write("1"), 1, 2), (Write(None), 3, 4), (Read(None), 5, 6)),
}

_BAD: dict[str, tuple[Timed, ...]] = {
    "value from nowhere": ((Read("1"), 1, 2),),
    "stale read": ((Write("1"), 1, 2), (Read(None), 3, 4)),
    "lost write": ((Write("1"), 1, 2), (Write("2"), 3, 4), (Read("1"), 5, 6)),
    "value seen, then not": ((Write("1"), 1, 6), (Read("1"), 2, 3), (Read(None), 4, 5)),
    "read before its write": ((Read("1"), 1, 2), (Write("1"), 3, 4)),
    "two winners": ((Write("0"), 1, 2), (Cas("0", "1"), 3, 5), (Cas("0", "2"), 4, 6)),
    "cas refused though it held": ((Write("1"), 1, 2), (CasRefused("1"), 3, 4)),
    "unknown write before its invocation": ((Read("1"), 1, 2), (Write("1"), 3, None)),
    "unknown write twice": (
        (Write("1"), 1, None),
        (Read("1"), 2, 3),
        (Write("2"), 4, 5),
        (Read("1"), 6, 7),
    ),
    "appends in two orders": (
        (Append("a"), 1, 4),
        (Append("b"), 2, 3),
        (Read("ab"), 5, 6),
        (Read("ba"), 7, 8),
    ),
    "lost append": ((Append("a"), 1, 2), (Append("b"), 3, 4), (Read("b"), 5, 6)),
    "appended twice": ((Append("a"), 1, None), (Read("aa"), 2, 3)),
}


@pytest.mark.parametrize("timed", _GOOD.values(), ids=_GOOD.keys())
def test_good(timed: tuple[Timed, ...]) -> None:
    assert judge(_history(*timed)).verdict is Verdict.LINEARIZABLE


@pytest.mark.parametrize("timed", _BAD.values(), ids=_BAD.keys())
def test_bad(timed: tuple[Timed, ...]) -> None:
    assert judge(_history(*timed)).verdict is Verdict.NOT_LINEARIZABLE


def test_keys_do_not_influence_one_another() -> None:
    write = Operation("p", "a", Write("1"), 1, 2)
    assert judge(History((write, Operation("q", "b", Read(None), 3, 4)))).verdict is (
        Verdict.LINEARIZABLE
    )
    judgement = judge(History((write, Operation("q", "b", Read("1"), 3, 4))))
    assert (judgement.verdict, judgement.key) == (Verdict.NOT_LINEARIZABLE, "b")


def test_the_story_names_the_operation_without_a_place() -> None:
    judgement = judge(_history((Write("1"), 1, 2), (Write("2"), 3, 4), (Read("1"), 5, 6)))
    assert judgement.stuck is not None
    assert judgement.stuck.blocking.invoked in {3, 5}
    assert "not-linearizable, key 'k': no place for Operation(" in judgement.story()


def _refuted(timed: Iterable[Timed]) -> int:
    """How many configurations it takes to see that a history is bad."""
    judgement = judge(_history(*timed))
    assert judgement.verdict is Verdict.NOT_LINEARIZABLE
    return judgement.states


# Two orders of the same answered writes, the last of which a late refused compare rules out.
_CONTRADICTION: tuple[Timed, ...] = ((Write("0"), 100, 101), (CasRefused("0"), 102, 103))


def test_observations_are_taken_at_once() -> None:
    reads: list[Timed] = [(Read(None), at, 50) for at in range(1, 21)]
    assert _refuted((*reads, *_CONTRADICTION)) < 10


def test_equal_unknown_operations_are_not_tried_in_all_orders() -> None:
    chain: list[Timed] = [(Cas("0", "1"), at, None) for at in range(1, 11)]
    back: list[Timed] = [(Cas("1", "0"), at, None) for at in range(11, 21)]
    end: tuple[Timed, ...] = (
        (Write("0"), 100, 101),
        (CasRefused("0"), 102, 103),
        (CasRefused("1"), 104, 105),
        (Write("2"), 106, 107),
        (CasRefused("2"), 108, 109),
    )
    assert _refuted((*chain, *back, *end)) < 50


def test_unknown_writes_over_one_another_are_not_tried() -> None:
    writes: list[Timed] = [(Write(str(at)), at, None) for at in range(1, 21)]
    end: tuple[Timed, ...] = ((Write("x"), 100, 101), (Read("x"), 102, 103))
    bad: tuple[Timed, ...] = ((Cas("x", "y"), 104, 105), (Cas("x", "z"), 106, 107))
    assert _refuted((*writes, *end, *bad)) < 200


def test_fewer_unknown_operations_used_is_never_worse() -> None:
    there: list[Timed] = [(Cas("0", str(at)), at, None) for at in range(1, 9)]
    back: list[Timed] = [(Cas(str(at), "0"), at, None) for at in range(1, 9)]
    bad: tuple[Timed, ...] = ((Write("a"), 104, 105), (CasRefused("a"), 106, 107))
    assert _refuted((*there, *back, *_CONTRADICTION, *bad)) < 200


def test_a_value_overwritten_too_early_is_noticed_at_once() -> None:
    writes: list[Timed] = [(Write(str(at)), at, 1000) for at in range(1, 16)]
    reads: list[Timed] = [(Read(str(at)), 200 - 2 * at, 201 - 2 * at) for at in range(1, 16)]
    judgement = judge(_history(*writes, *reads), states_max=5000)
    assert judgement.verdict is Verdict.LINEARIZABLE


def test_the_answer_that_comes_first_is_the_one_asked_about() -> None:
    # Each long compare-and-set can wait for the second write of its value, the reads cannot.
    values = range(1, 13)
    writes: list[Timed] = [(Write(str(at)), at, 1000) for at in values]
    long: list[Timed] = [(Cas(str(at), f"{at}x"), 50, 2000) for at in values]
    short: list[Timed] = [(Read(str(at)), 200 - 2 * at, 201 - 2 * at) for at in values]
    again: list[Timed] = [(Write(str(at)), 1500, 1600) for at in values]
    judgement = judge(_history(*writes, *long, *short, *again), states_max=5000)
    assert judgement.verdict is Verdict.LINEARIZABLE


def test_appends_in_the_wrong_order_are_noticed_at_once() -> None:
    letters = "abcdefghijklmnopqrst"
    appends: list[Timed] = [(Append(letter), 1, 100) for letter in reversed(letters)]
    judgement = judge(_history(*appends, (Read(letters), 101, 102)), states_max=1000)
    assert judgement.verdict is Verdict.LINEARIZABLE


def test_a_value_from_nowhere_is_noticed_before_the_search() -> None:
    writes: list[Timed] = [(Write(str(at)), at, 100) for at in range(1, 21)]
    assert _refuted((*writes, (Read("x"), 101, 102))) == 0


@dataclass(frozen=True, slots=True)
class _Increment:
    """A step the checker has no name for, on a number: its result is not told in advance."""

    observes: bool = False
    needs: State | Various = VARIOUS
    gives: State | Various = VARIOUS

    def allows(self, state: State) -> bool:
        return True

    def after(self, state: State) -> State:
        assert isinstance(state, int)
        return state + 1


def test_steps_of_another_store_can_be_judged() -> None:
    counted: tuple[Timed, ...] = ((_Increment(), 1, 4), (_Increment(), 2, 3))
    for total, verdict in ((2, Verdict.LINEARIZABLE), (3, Verdict.NOT_LINEARIZABLE)):
        assert judge(_history(*counted, (Read(total), 5, 6), initial=0)).verdict is verdict


def test_too_many_configurations_leave_it_undecided() -> None:
    writes: list[Timed] = [(Write(str(at)), at, 100) for at in range(1, 13)]
    history = _history(*writes, (Write("a"), 101, 102), (CasRefused("a"), 103, 104))
    judgement = judge(history, states_max=1000)
    assert judgement.verdict is Verdict.UNDECIDED
    assert 1000 < judgement.states < 1100
    assert judge(history).verdict is Verdict.NOT_LINEARIZABLE


def test_the_limit_is_one_for_all_keys() -> None:
    operations = [
        Operation(f"{key}{at}", key, Write(at), at, 100) for key in "abc" for at in range(10)
    ]
    assert judge(History(tuple(operations)), states_max=100).verdict is Verdict.UNDECIDED
    assert judge(History(tuple(operations))).verdict is Verdict.LINEARIZABLE
