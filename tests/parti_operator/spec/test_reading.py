"""Durations, and what is said about fields that are not as the schema promises."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_operator.spec.problems import InvalidSpecError
from parti_operator.spec.reading import Section, duration_ms


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("0s", 0),
        ("1ms", 1),
        ("500ms", 500),
        ("2s", 2_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("1m1ms", 60_001),
        ("", None),
        ("5", None),
        ("1.5s", None),
        ("-1s", None),
        ("1 s", None),
        ("s", None),
        ("1us", None),
        ("1s ", None),
        ("1234567890s", None),
    ],
)
def test_durations(text: str, expected_ms: int | None) -> None:
    assert duration_ms(text) == expected_ms


@given(
    st.lists(
        st.tuples(st.integers(0, 999_999_999), st.sampled_from(["h", "m", "s", "ms"])), min_size=1
    )
)
def test_a_duration_is_the_sum_of_its_steps(steps: list[tuple[int, str]]) -> None:
    unit_ms = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
    text = "".join(f"{count}{unit}" for count, unit in steps)
    assert duration_ms(text) == sum(count * unit_ms[unit] for count, unit in steps)


SECTION = Section(
    {"text": "x", "number": 7, "flag": True, "list": [1], "nothing": None, "long": "2s"}, "spec.a"
)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda at: at.text("none"), "spec.a.none: is missing"),
        (lambda at: at.text("nothing"), "spec.a.nothing: is missing"),
        (lambda at: at.text("number"), "spec.a.number: must be a string, not 7"),
        (lambda at: at.flag("text"), "spec.a.text: must be true or false, not 'x'"),
        (lambda at: at.number("text", 0, 9), "spec.a.text: must be a whole number, not 'x'"),
        (
            lambda at: at.number("flag", 0, 9),
            "spec.a.flag: must be a whole number from 0 to 9, not True",
        ),
        (
            lambda at: at.number("number", 8, 9),
            "spec.a.number: must be a whole number from 8 to 9, not 7",
        ),
        (lambda at: at.choice("text", Colour), "spec.a.text: must be one of red, blue"),
        (
            lambda at: at.duration_ms("text", 0, 9),
            "spec.a.text: must be a duration such as 500ms, 2s or 5m, not 'x'",
        ),
        (
            lambda at: at.duration_ms("long", 0, 1_999),
            "spec.a.long: must be 0 ms to 1999 ms, not 2s",
        ),
        (lambda at: at.section("text"), "spec.a.text: must be an object"),
        (lambda at: at.objects("text"), "spec.a.text: must be a list, not 'x'"),
        (lambda at: at.objects("list"), "spec.a.list[0]: must be an object"),
        (lambda at: at.mapping("text"), "spec.a.text: must be an object"),
    ],
)
def test_misshapen_fields_are_named(read: Callable[[Section], object], message: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        read(SECTION)
    assert str(caught.value) == message


def test_absent_lists_and_objects_are_empty() -> None:
    assert SECTION.objects("none") == []
    assert SECTION.objects("nothing") == []
    assert SECTION.mapping("none") == {}
    assert not SECTION.has("nothing")
