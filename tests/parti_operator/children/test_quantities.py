"""Amounts in every notation of Kubernetes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_operator.children import amount


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", 1),
        ("1000m", "1"),
        ("0.5", "500m"),
        (0.5, "500m"),
        (".5", "500m"),
        ("1.", "1"),
        ("1024Mi", "1Gi"),
        ("1000Mi", "1048576000"),
        ("1k", "1000"),
        ("1e3", "1k"),
        ("1E3", "1k"),
        ("12e-1", "1200m"),
        ("1E", "1000P"),
        ("1Ei", "1024Pi"),
        ("100n", "0.1u"),
        ("+1", "1"),
        ("-1", -1),
    ],
)
def test_equal_amounts(one: object, other: object) -> None:
    assert amount(one) == amount(other) is not None


@pytest.mark.parametrize(
    "text",
    ["", "Gi", "1gi", "1 Gi", "1ki", "one", "1Gi ", ".", "1e", "1e3Gi", True, None, [], "1K"],
)
def test_what_is_no_amount(text: object) -> None:
    assert amount(text) is None


@given(st.integers(0, 10**15))
def test_milli_is_a_thousandth(count: int) -> None:
    assert amount(f"{count}m") == Fraction(count, 1_000)
