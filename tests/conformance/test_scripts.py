"""The given conformance scripts, one test per file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.runner import run_file, script_files

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPTS = Path(os.environ.get("PARTI_CONFORMANCE", _ROOT / "../shared/raft-conformance"))
_FILES = [path for path in script_files([_SCRIPTS]) if path.is_file()]


def test_scripts_are_there() -> None:
    if not _FILES:
        pytest.skip(f"no conformance scripts at {_SCRIPTS} (set PARTI_CONFORMANCE)")
    assert all(path.suffix == ".txt" for path in _FILES)


@pytest.mark.parametrize("path", _FILES, ids=[str(path.relative_to(_SCRIPTS)) for path in _FILES])
def test_script(path: Path) -> None:
    result = run_file(path)
    assert result.passed + result.failed > 0, "an empty script proves nothing"
    assert not result.failed, result.report
