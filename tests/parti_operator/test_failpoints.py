"""Failpoints end the process exactly where they say."""

from __future__ import annotations

import pytest

from parti_operator.failpoints import FailpointError, Failpoints


def _passed(text: str, *moments: str) -> list[int]:
    """At which of the moments it crashed."""
    crashes: list[int] = []
    at = 0
    failpoints = Failpoints(text, lambda: crashes.append(at))
    for at, moment in enumerate(moments):  # noqa: B007 - read when it crashes
        which, _, action = moment.partition(":")
        getattr(failpoints, which)(action)
    return crashes


def test_without_one_nothing_happens() -> None:
    assert _passed("", "before:SetIntent", "after:SetIntent") == []


def test_before_and_after_differ() -> None:
    moments = ("before:SetIntent", "after:SetIntent")
    assert _passed("before:SetIntent", *moments) == [0]
    assert _passed("after:SetIntent", *moments) == [1]


def test_the_number_counts_that_action_only() -> None:
    moments = ("before:SetIntent", "before:EvictPod", "before:SetIntent", "before:SetIntent")
    assert _passed("before:SetIntent#2", *moments) == [2]


@pytest.mark.parametrize("text", ["SetIntent", "during:SetIntent", "before:SetIntent#0", "before:"])
def test_what_is_no_failpoint_is_refused(text: str) -> None:
    with pytest.raises(FailpointError):
        Failpoints(text)
