"""Moments in the status, and progress counted by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_operator.plan.progress import STALL_MS_MIN, progress, stall_after_ms
from parti_operator.plan.timestamps import as_text, elapsed_ms, read_ms
from tests.parti_operator.plan.looks import NOW_MS, ago


@given(st.integers(0, 4_000_000_000))
def test_a_moment_is_read_as_it_was_written(moment_s: int) -> None:
    assert read_ms(as_text(moment_s * 1_000), 0) == moment_s * 1_000


@pytest.mark.parametrize("text", [None, "", "yesterday", 7, "2026-11-21"])
def test_what_is_no_moment_is_now(text: object) -> None:
    assert read_ms(text, NOW_MS) == NOW_MS
    assert elapsed_ms(text, NOW_MS) == 0


def test_a_clock_that_was_set_back_waits_anew() -> None:
    assert elapsed_ms(as_text(NOW_MS + 60_000), NOW_MS) == 0
    assert elapsed_ms(ago(60_000), NOW_MS) == 60_000


def test_a_step_is_stalled_after_three_times_its_time_and_a_minute_at_least() -> None:
    assert stall_after_ms(1_000) == STALL_MS_MIN
    assert stall_after_ms(60_000) == 180_000


def test_progress_keeps_its_moments_until_a_word_changes() -> None:
    before = {"phase": "a", "note": "x", "since": ago(9_000), "lastProgress": ago(5_000)}
    same = progress(before, {"phase": "a", "note": "y"}, ("phase",), NOW_MS)
    assert (same.since, same.last_progress) == (ago(9_000), ago(5_000))
    moved = progress(before, {"phase": "b"}, ("phase",), NOW_MS)
    assert (moved.since, moved.last_progress) == (ago(9_000), ago(0))
    first = progress(None, {"phase": "a"}, ("phase",), NOW_MS)
    assert (first.since, first.last_progress) == (ago(0), ago(0))
