"""Notes of a test worker: which message was inside the handler, when, and under which epoch.

Every note is one unbuffered line in a file of its own process, written before the handler goes
on: kill -9 loses none. What a killed process had begun has an entry without an exit. The clock is
that of leases (CLOCK_BOOTTIME where there is one), so notes of different processes compare.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parti._values import LEASE_CLOCK

SUFFIX = ".notes"
_ENTER = "enter"
_EXIT = "exit"


def boottime_ns() -> int:
    """The clock of leases."""
    return time.clock_gettime_ns(LEASE_CLOCK)


@dataclass(frozen=True, slots=True)
class Execution:
    """One message inside a handler."""

    worker: str  # MEMBER-PID
    partition: int
    epoch: int
    message: str
    enter_ns: int
    exit_ns: int | None  # None: no exit was noted

    @property
    def member(self) -> str:
        return self.worker.rpartition("-")[0]


class Recorder:
    """The notes of this process."""

    def __init__(self, folder: Path, member: str) -> None:
        path = folder / f"{member}-{os.getpid()}{SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._count = 0

    @contextmanager
    def inside(self, partition: int, epoch: int, message: str) -> Iterator[None]:
        """Note entry and exit around the block."""
        self._count += 1
        number = self._count
        self._note(f"{_ENTER} {number} {boottime_ns()} {partition} {epoch} {message}")
        try:
            yield
        finally:
            self._note(f"{_EXIT} {number} {boottime_ns()}")

    def _note(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode("ascii"))


def read_executions(folder: Path) -> list[Execution]:
    """The notes of all workers."""
    found: list[Execution] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        found += _executions_of(path)
    return found


def _executions_of(path: Path) -> Iterator[Execution]:
    begun: dict[str, list[str]] = {}
    ended: dict[str, int] = {}
    for line in path.read_text(encoding="ascii").splitlines(keepends=True):
        if not line.endswith("\n"):
            continue  # cut short by kill -9: the handler did not go on after it
        kind, number, at_ns, *rest = line.split()
        if kind == _ENTER:
            begun[number] = [at_ns, *rest]
        else:
            ended[number] = int(at_ns)
    for number, (enter_ns, partition, epoch, message) in begun.items():
        yield Execution(
            path.name.removesuffix(SUFFIX),
            int(partition),
            int(epoch),
            message,
            int(enter_ns),
            ended.get(number),
        )
