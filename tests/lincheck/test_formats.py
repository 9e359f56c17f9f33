"""Both text forms, and that nothing is passed over in silence."""

from __future__ import annotations

import pytest

from tests.lincheck.formats import parse
from tests.lincheck.history import HistoryError, Operation
from tests.lincheck.steps import Append, Cas, CasRefused, Read, Write


def _register(*events: str) -> str:
    return "".join(f"INFO  jepsen.util - {event}\n" for event in events)


def _keyed(*events: str) -> str:
    return "".join(f"{{:process 0, {event}}}\n" for event in events)


def test_register() -> None:
    history = parse(
        _register(
            "0\t:invoke\t:read\tnil",
            "1\t:invoke\t:write\t4",
            "0\t:ok\t:read\tnil",
            "1\t:ok\t:write\t4",
            "0\t:invoke\t:cas\t[4 5]",
            "1\t:invoke\t:cas\t[3 1]",
            "0\t:ok\t:cas\t[4 5]",
            "1\t:fail\t:cas\t[3 1]",
        )
    )
    assert history.initial is None
    assert history.operations == (
        Operation("0", None, Read(None), 1, 3),
        Operation("1", None, Write("4"), 2, 4),
        Operation("0", None, Cas("4", "5"), 5, 7),
        Operation("1", None, CasRefused("3"), 6, 8),
    )


def test_register_operations_that_time_out() -> None:
    history = parse(
        _register(
            "0 :invoke :read nil",
            "1 :invoke :write 4",
            "2 :invoke :cas [1 2]",
            "3 :invoke :cas [2 3]",
            "4 :invoke :write 5",
            "0 :fail :read :timed-out",
            "1 :info :write :timed-out",
            "2 :info :cas :timed-out",
            "3 :fail :cas :timed-out",
        )
    )
    assert history.operations == (
        Operation("1", None, Write("4"), 2, None),
        Operation("2", None, Cas("1", "2"), 3, None),
        Operation("4", None, Write("5"), 5, None),
    )


def test_keyed_store() -> None:
    history = parse(
        _keyed(
            ':type :invoke, :f :put, :key "a", :value "x"',
            ':type :ok, :f :put, :key "a", :value "x"',
            ':type :invoke, :f :append, :key "a", :value "1 \\"y\\" \\\\ }"',
            ':type :ok, :f :append, :key "a", :value "1 \\"y\\" \\\\ }"',
            ':type :invoke, :f :get, :key "b", :value nil',
            ':type :ok, :f :get, :key "b", :value ""',
        )
    )
    assert history.initial == ""
    assert history.operations == (
        Operation("0", "a", Write("x"), 1, 2),
        Operation("0", "a", Append('1 "y" \\ }'), 3, 4),
        Operation("0", "b", Read(""), 5, 6),
    )


def test_an_empty_text_is_an_empty_history() -> None:
    assert parse("\n\n").operations == ()


_INVOKED = "0 :invoke :write 4"

_BAD = {
    "another logger": ("INFO jepsen.core - hello\n", "line 1: not an event of a register"),
    "cut line": (_register(_INVOKED)[:-8], "line 1: not an event of a register"),
    "mixed": (_keyed(':type :invoke, :f :get, :key "a", :value nil') + "x", "line 2: not an event"),
    "no value": (_register("0 :invoke :write four"), "line 1: not a value: four"),
    "no operation": (_register("0 :invoke :swap 4"), "line 1: unknown operation :swap"),
    "write of a pair": (_register("0 :invoke :write [1 2]"), "line 1: unknown operation :write"),
    "no type": (_register(_INVOKED, "0 :maybe :write 4"), "line 2: unknown type :maybe"),
    "no question": (_register("0 :ok :write 4"), "line 1: process 0: an answer without a question"),
    "other action": (_register(_INVOKED, "0 :ok :read 4"), "the answer to another question"),
    "other value": (_register(_INVOKED, "0 :ok :write 5"), "4 was asked, 5 answered"),
    "ok without value": (_register(_INVOKED, "0 :ok :write :x"), "an answer without a value: :x"),
    "other key": (
        _keyed(
            ':type :invoke, :f :get, :key "a", :value nil',
            ':type :ok, :f :get, :key "b", :value ""',
        ),
        "line 2: process 0: the answer to another question",
    ),
}


@pytest.mark.parametrize(("text", "complaint"), _BAD.values(), ids=_BAD.keys())
def test_what_is_not_understood_is_an_error(text: str, complaint: str) -> None:
    with pytest.raises(HistoryError) as caught:
        parse(text)
    assert complaint in str(caught.value)
