"""What commands print: tables for people, JSON for programs.

On a terminal tables are drawn by rich. Elsewhere they are plain columns, never cut to a width, so
that `parti partitions | grep m2` works.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

__all__ = ["document", "fields", "line", "note", "table"]

_GAP = "  "


def document(value: object) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def line(value: object) -> None:
    """One JSON document in one line: an item of a sequence."""
    click.echo(json.dumps(value, ensure_ascii=False))


def note(text: str) -> None:
    """Words for people beside the result: progress, confirmation."""
    click.echo(text, err=True)


def fields(pairs: Sequence[tuple[str, object]]) -> None:
    """Names with values, one a line."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name:<{width}}{_GAP}{value}".rstrip())


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows below column titles."""
    cells = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(columns, cells)
        return
    texts = [[title.upper() for title in columns], *cells]
    widths = [max(len(row[position]) for row in texts) for position in range(len(columns))]
    for row in texts:
        padded = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo(_GAP.join(padded).rstrip())


def _draw(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - slow to import, needed on terminals only
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(*columns, box=SIMPLE_HEAD)
    for row in cells:
        drawn.add_row(*row)
    Console(highlight=False, markup=False).print(drawn)
