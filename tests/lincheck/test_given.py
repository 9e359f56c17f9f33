"""The histories with known verdicts, one test per file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lincheck.files import VERDICTS_NAME, history_files, judge_file, read_verdicts

_GIVEN = Path(__file__).resolve().parents[2] / "../shared/linearizability-histories"
_FILES = history_files([_GIVEN]) if _GIVEN.is_dir() else []


def test_every_history_given_is_judged() -> None:
    if not _FILES:
        pytest.skip(f"no histories at {_GIVEN}")
    names = [name for name, _ in read_verdicts((_GIVEN / VERDICTS_NAME).read_text())]
    assert sorted(file.relative_to(_GIVEN).as_posix() for file in _FILES) == sorted(names)
    assert len(names) >= 75


@pytest.mark.parametrize("path", _FILES, ids=[str(path.relative_to(_GIVEN)) for path in _FILES])
def test_verdict(path: Path) -> None:
    result = judge_file(path)
    assert result.passed, f"{result.line()}\n{result.story}"
