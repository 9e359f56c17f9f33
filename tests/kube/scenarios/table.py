"""The table of scenarios: a row each, printed at the end of the session and written as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = "scenarios.json"
_HEADINGS = (
    "scenario",
    "seconds",
    "sent",
    "failed",
    "longest pause ms",
    "executions",
    "double owners",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario: how long until all was well again, and what became of the messages."""

    scenario: str
    seconds: float
    sent: int = 0
    failed: dict[str, int] = field(default_factory=dict)  # by reason
    longest_pause_ms: int = 0
    executions: int = 0
    double_owners: int = 0


class Table:
    """The rows of a session."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[Row] = []
        self.path = folder / FILE

    def add(self, row: Row) -> None:
        """One more; the file is whole after each."""
        self.rows.append(row)
        self.path.write_text(json.dumps([asdict(each) for each in self.rows], indent=1) + "\n")


def as_text(rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    cells = [_HEADINGS, tuple("---" for _ in _HEADINGS), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _cells(row: Row) -> tuple[str, ...]:
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(row.failed.items()))
    return (
        row.scenario,
        f"{row.seconds:.1f}",
        str(row.sent),
        f"{sum(row.failed.values())}{f' ({reasons})' if reasons else ''}",
        str(row.longest_pause_ms),
        str(row.executions),
        str(row.double_owners),
    )
