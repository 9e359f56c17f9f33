"""Which cells of the two tables that everything hangs on were reached: what each role of Raft does
with each message, and what each command does to a partition in each phase. Reading the sidecar's
own dispatch tables, it knows also what was not reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from parti_raft import stepping
from parti_raft.core import Core
from parti_raft.types import Message, MessageType, Role
from parti_shard import table as table_module
from parti_shard.commands import Command, Grant, Outcome, Pin, Release, Revoke
from parti_shard.table import Phase, Table

Cell: TypeAlias = tuple[str, str]  # row, column
Cells: TypeAlias = Counter[Cell]

_OF_PARTITION: Final = (Grant, Revoke, Release, Pin)
_DONE, _REFUSED = "done", "refused"


@contextmanager
def recording(cells: Cells) -> Iterator[None]:
    """Count what is handled meanwhile."""
    by_role, by_command = stepping._HANDLERS, table_module._HANDLERS
    roles = {role: dict(handlers) for role, handlers in by_role.items()}
    commands = dict(by_command)
    try:
        for role, handlers in roles.items():
            for kind, handler in handlers.items():
                by_role[role][kind] = _counting_message(cells, (kind.name, role.name), handler)
        for command, change in commands.items():
            by_command[command] = _counting_command(cells, command, change)
        yield
    finally:
        for role, handlers in roles.items():
            by_role[role].update(handlers)
        by_command.update(commands)


def _counting_message(
    cells: Cells, cell: Cell, handler: Callable[[Core, Message], None]
) -> Callable[[Core, Message], None]:
    def handle(core: Core, message: Message) -> None:
        cells[cell] += 1
        handler(core, message)

    return handle


def _counting_command(
    cells: Cells, kind: type[Command], change: Callable[[Table, Any], Outcome]
) -> Callable[[Table, Any], Outcome]:
    rows = {phase: f"{kind.__name__} {phase.name}" for phase in Phase}
    has_phase = kind in _OF_PARTITION

    def apply(table: Table, command: Any) -> Outcome:
        row = rows[Phase(table.phase[command.partition])] if has_phase else kind.__name__
        outcome = change(table, command)
        cells[row, _DONE if outcome.ok else _REFUSED] += 1
        return outcome

    return apply


def matrices(cells: Cells) -> str:
    """Both tables, `-` where there is no such case; and what was not reached."""
    roles = [role.name for role in Role]
    kinds = {kind for handlers in stepping._HANDLERS.values() for kind in handlers}
    exist = {(k.name, r.name) for r, handlers in stepping._HANDLERS.items() for k in handlers}
    messages = [kind.name for kind in MessageType if kind in kinds]
    commands = list(_command_rows())
    lines = ["", "messages handled, by role:", *_table(cells, messages, roles, exist)]
    both = {(row, outcome) for row in commands for outcome in (_DONE, _REFUSED)}
    lines += ["", "commands applied, by phase:", *_table(cells, commands, [_DONE, _REFUSED], both)]
    reached = sum(1 for cell in exist | both if cells[cell])
    lines.append(f"{reached} of {len(exist | both)} cells reached")
    return "\n".join(lines)


def _command_rows() -> Iterator[str]:
    for kind in table_module._HANDLERS:
        if kind in _OF_PARTITION:
            yield from (f"{kind.__name__} {phase.name}" for phase in Phase)
        else:
            yield kind.__name__


def _table(
    cells: Cells, rows: Iterable[str], columns: list[str], exist: set[Cell]
) -> Iterator[str]:
    yield " " * 20 + "".join(f"{column:>15}" for column in columns)
    for row in rows:
        shown = (cells[row, c] if (row, c) in exist else "-" for c in columns)
        yield f"{row:20}" + "".join(f"{each:>15}" for each in shown)
