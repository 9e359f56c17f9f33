"""Compact notes of a worker: 32 bytes when a message enters the handler, 32 when it leaves.

Like `tests.process.recorder`, of which these are the short form for millions of messages: a note is
written before the handler goes on, unbuffered, so kill -9 loses none; the clock is that of leases,
the same for all processes of the machine. A file belongs to one process and is only appended to, so
a reader goes on where it stopped.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tests.process.recorder import boottime_ns

SUFFIX: Final = ".stays"
_ENTER: Final = 1
_EXIT: Final = 2
_NOTE: Final = struct.Struct("<BxHIQQQ")  # kind, partition, stay, epoch, message, time
_PAYLOAD: Final = struct.Struct("<QI")


class Stay(NamedTuple):
    """One message inside a handler; `exit_ns` is 0 while nothing is known of its end."""

    enter_ns: int
    partition: int
    epoch: int
    message: int
    exit_ns: int
    worker: str  # MEMBER-PID


def payload_of(message: int, sleep_ms: int) -> bytes:
    """What a sender writes: its name for the message, and how long the handler shall take."""
    return _PAYLOAD.pack(message, sleep_ms)


def read_payload(payload: bytes) -> tuple[int, int]:
    """The message and the milliseconds."""
    message, sleep_ms = _PAYLOAD.unpack(payload)
    return message, sleep_ms


class NoteWriter:
    """The notes of this process."""

    def __init__(self, folder: Path, member: str) -> None:
        path = folder / f"{member}-{os.getpid()}{SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._count = 0

    @contextmanager
    def inside(self, partition: int, epoch: int, message: int) -> Iterator[None]:
        """Note entry and exit around the block."""
        self._count += 1
        number = self._count
        self._note(_ENTER, partition, number, epoch, message)
        try:
            yield
        finally:
            self._note(_EXIT, partition, number, epoch, message)

    def _note(self, kind: int, partition: int, number: int, epoch: int, message: int) -> None:
        note = _NOTE.pack(kind, partition, number, epoch, message, boottime_ns())
        os.write(self._file, note)


@dataclass(slots=True)
class _File:
    offset: int
    inside: dict[int, Stay]


class NoteReader:
    """Reads what has been added to all notes of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, _File] = {}

    def read(self) -> list[Stay]:
        """Stays that have ended since the last call, or are still open, in the order of entry.

        A stay that is given as open is not given again.
        """
        stays: list[Stay] = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            stays += self._read_file(path)
        stays.sort()
        return stays

    def _read_file(self, path: Path) -> Iterator[Stay]:
        known = self._files.setdefault(path, _File(0, {}))
        with path.open("rb") as notes:
            notes.seek(known.offset)
            data = notes.read()
        whole = len(data) - len(data) % _NOTE.size  # a note may be cut short by kill -9
        known.offset += whole
        worker, inside = path.stem, known.inside
        for kind, partition, number, epoch, message, at_ns in _NOTE.iter_unpack(data[:whole]):
            if kind == _ENTER:
                inside[number] = Stay(at_ns, partition, epoch, message, 0, worker)
            elif number in inside:
                yield inside.pop(number)._replace(exit_ns=at_ns)
        yield from inside.values()
        inside.clear()
