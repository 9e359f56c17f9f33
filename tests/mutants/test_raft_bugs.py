"""docs/raft-bugs.md names every one of the 52 bugs, tests that exist, and the right mutants."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from tests.mutants.__main__ import ROOT
from tests.mutants.table import MUTANTS
from tests.mutants.tree import unknown_tests

PAGE = ROOT / "docs" / "raft-bugs.md"
BUGS = range(1, 53)
_ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")


def rows() -> dict[int, tuple[str, str, str]]:
    """What happened, tests, and mutants or reason, by number."""
    return {int(number): (bug, tests, rest) for number, bug, tests, rest in _rows()}


def _rows() -> list[tuple[str, str, str, str]]:
    return _ROW.findall(PAGE.read_text())


def test_every_bug_has_one_row() -> None:
    assert [int(row[0]) for row in _rows()] == list(BUGS)


def test_every_bug_has_a_test_that_exists() -> None:
    tests = {number: _CODE.findall(row[1]) for number, row in rows().items()}
    assert [number for number, named in tests.items() if not named] == []
    assert unknown_tests(ROOT, [test for named in tests.values() for test in named]) == []


@pytest.mark.parametrize("number", BUGS)
def test_the_mutants_of_a_row_are_those_of_the_table(number: int) -> None:
    of_table = defaultdict(set)
    for mutant in MUTANTS:
        for bug in mutant.bugs:
            of_table[bug].add(mutant.name)
    known = {mutant.name for mutant in MUTANTS}
    of_page = set(_CODE.findall(rows()[number][2])) & known
    assert of_page == of_table[number]


def test_a_bug_without_a_mutant_says_why() -> None:
    silent = [number for number, row in rows().items() if not re.search(r"[`\w]", row[2])]
    assert silent == []


def test_the_page_on_correctness_counts_the_mutants() -> None:
    page = (ROOT / "docs" / "correctness.md").read_text()
    assert f"{len(MUTANTS)} sabotages" in page
