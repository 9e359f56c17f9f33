"""Processes named for good: a pid alone may be reused, with its start time it may not."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START = 0, 19  # fields of /proc/PID/stat behind the program's name


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A process of this host: its pid, and when it was born, in ticks of which boot."""

    pid: int
    born: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return identify(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signal it, and nobody else that has its pid by now."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def identify(pid: int) -> ProcessName | None:
    """The name of a running process; None if there is none or only its remains."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    start = start_ticks(stat)
    return ProcessName(pid, f"{_BOOT_ID.read_text().strip()}/{start}") if start else None


def start_ticks(stat: str) -> str:
    """The start time in a line of /proc/PID/stat; nothing for a zombie.

    The program's name, in brackets, may itself hold brackets and spaces.
    """
    fields = stat.rpartition(")")[2].split()
    return "" if fields[_STATE] == "Z" else fields[_START]


def own_name() -> ProcessName:
    """This process."""
    name = identify(os.getpid())
    assert name is not None
    return name
