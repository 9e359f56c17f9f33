"""A plugin that pytest loads inside a scratch copy: what failed there, and which code was run.

It stands alone, since it is copied into the scratch copy. The report is a JSON file; without one,
pytest itself did not get to its end.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT_VARIABLE = "PARTI_MUTANT_ROOT"
REPORT_VARIABLE = "PARTI_MUTANT_REPORT"

_passed: list[str] = []
_failed: list[dict[str, object]] = []
_broken: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note how each phase of each test ended."""
    report: Any = yield
    if report.when == "call" and report.passed:
        _passed.append(item.nodeid)
    elif call.excinfo is not None and not report.skipped:
        _failed.append(
            {
                "test": item.nodeid,
                "phase": report.when,
                "kinds": sorted(_kinds(call.excinfo.value)),
                "says": str(call.excinfo.value)[:500],
            }
        )
    return report  # type: ignore[no-any-return]  # what a wrapper gives back is the report


def _kinds(error: BaseException) -> set[str]:
    """Names of the classes of an error; of a group, those that all of its errors have."""
    if isinstance(error, BaseExceptionGroup):
        return set.intersection(*(_kinds(each) for each in error.exceptions))
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be read tests nothing."""
    if report.failed:
        _broken.append(f"{report.nodeid}: {report.longreprtext[-500:]}")


def pytest_sessionfinish() -> None:
    """Write the report; name every module of the tree that came from elsewhere."""
    root = Path(os.environ[ROOT_VARIABLE])
    foreign = [
        f"{name} came from {file}"
        for name, module in list(sys.modules.items())
        if name.partition(".")[0].startswith(("parti", "tests"))
        and (file := getattr(module, "__file__", None)) is not None
        and not Path(file).is_relative_to(root)
    ]
    report = {"passed": _passed, "failed": _failed, "broken": _broken + foreign}
    Path(os.environ[REPORT_VARIABLE]).write_text(json.dumps(report))
