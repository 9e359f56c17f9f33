"""Run script files and count steps."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Protocol

from tests.conformance import confchange_scripts, interaction_scripts, quorum_scripts
from tests.conformance.datadriven import ScriptError, Step, comparable, parse_file


class Script(Protocol):
    """The state of a script while it runs."""

    def run(self, step: Step) -> str:
        """Run one step and give its output."""
        ...


@dataclass(frozen=True, slots=True)
class FileResult:
    """How many steps of a file passed and failed, and the first failure."""

    path: Path
    passed: int
    failed: int
    report: str = ""


def script_for(steps: list[Step]) -> Script:
    """The runner for a script, told by its first command."""
    command = steps[0].command if steps else ""
    if command in quorum_scripts.COMMANDS:
        return quorum_scripts.QuorumScript()
    if command in confchange_scripts.COMMANDS:
        return confchange_scripts.ConfChangeScript()
    return interaction_scripts.InteractionScript()


def run_file(path: Path) -> FileResult:
    """Run one file.

    After a failed step of an interaction script the members' state cannot be compared any more,
    so the rest of that file counts as failed.
    """
    steps = parse_file(path)
    script = script_for(steps)
    stateful = isinstance(script, interaction_scripts.InteractionScript)
    passed, report = 0, ""
    for step in steps:
        difference = _run_step(script, step)
        if not difference:
            passed += 1
            continue
        report += f"{path}:{step.line}: {step.command}\n{difference}\n"
        if stateful:
            break
    return FileResult(path, passed, len(steps) - passed, report)


def _run_step(script: Script, step: Step) -> str:
    """Give the difference to the expected output, empty if there is none."""
    try:
        output = script.run(step)
    except (AssertionError, LookupError, ValueError, TypeError, ScriptError):
        output = traceback.format_exc()
    expected, actual = comparable(step.expected), comparable(output)
    if expected == actual:
        return ""
    return "\n".join(unified_diff(expected, actual, "expected", "actual", lineterm=""))


def script_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Script files among the given files and below the given folders."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.txt"))
        else:
            yield path
