"""Who worked on which partition, when: written by the workers, judged at the end.

Each worker notes when a message of a partition enters its handler and when it leaves, with the
epoch it ran under, in a file of its own. The clock is the machine's monotonic one, so notes of
different processes can be compared. A note is in the file before the handler goes on; what a
killed worker had begun has an entry without an exit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_ENTER = "enter"
_EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Stay:
    """One message inside a handler."""

    worker: str
    partition: int
    epoch: int
    enter_ns: int
    exit_ns: int


class Recorder:
    """The notes of one worker."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._stays = 0

    def close(self) -> None:
        """No more notes."""
        self._file.close()

    @contextmanager
    def inside(self, partition: int, epoch: int) -> Iterator[None]:
        """Note entry and exit around the block."""
        self._stays += 1
        stay = self._stays
        self._note(_ENTER, stay, partition, epoch)
        try:
            yield
        finally:
            self._note(_EXIT, stay, partition, epoch)

    def _note(self, kind: str, stay: int, partition: int, epoch: int) -> None:
        line = f"{kind} {stay} {partition} {epoch} {time.monotonic_ns()}\n"
        self._file.write(line.encode("ascii"))


def read_stays(folder: Path, killed_ns: Mapping[str, int]) -> list[Stay]:
    """The notes of all workers. What a killed worker had begun lasted until it was killed."""
    stays: list[Stay] = []
    for path in sorted(folder.glob("*.notes")):
        stays += _stays_of(path, killed_ns.get(path.stem))
    return stays


def faults(stays: Iterable[Stay]) -> list[str]:
    """Where two were inside a partition at once, or an epoch did not rise with a new worker."""
    by_partition: dict[int, list[Stay]] = {}
    for stay in sorted(stays, key=lambda stay: stay.enter_ns):
        by_partition.setdefault(stay.partition, []).append(stay)
    found = []
    for partition, sequence in by_partition.items():
        longest = sequence[0]  # of those before, the one that left last
        for earlier, later in pairwise(sequence):
            longest = max(longest, earlier, key=lambda stay: stay.exit_ns)
            texts = [*_overlap(longest, later), *_epoch_fault(earlier, later)]
            found += [f"partition {partition}: {text}" for text in texts]
    return found


def _overlap(earlier: Stay, later: Stay) -> Iterator[str]:
    if later.enter_ns < earlier.exit_ns:
        yield (
            f"{later.worker} (epoch {later.epoch}) entered before {earlier.worker} "
            f"(epoch {earlier.epoch}) had left"
        )


def _epoch_fault(earlier: Stay, later: Stay) -> Iterator[str]:
    if later.worker != earlier.worker and later.epoch <= earlier.epoch:
        yield (
            f"epoch {later.epoch} of {later.worker} is not above epoch {earlier.epoch} "
            f"of {earlier.worker}"
        )
    elif later.epoch < earlier.epoch:
        yield f"{later.worker} went back from epoch {earlier.epoch} to {later.epoch}"


def _stays_of(path: Path, killed_ns: int | None) -> Iterator[Stay]:
    open_stays: dict[str, tuple[int, int, int]] = {}
    for line in path.read_text(encoding="ascii").splitlines(keepends=True):
        if not line.endswith("\n"):
            continue  # cut short by kill -9; nothing ran after it
        kind, stay, partition, epoch, at_ns = line.split()
        if kind == _ENTER:
            open_stays[stay] = (int(partition), int(epoch), int(at_ns))
        else:
            yield Stay(path.stem, *open_stays.pop(stay), int(at_ns))
    for partition_of_open, epoch_of_open, enter_ns in open_stays.values():
        if killed_ns is None:
            raise ValueError(f"{path.stem} was not killed but never left a handler")
        yield Stay(path.stem, partition_of_open, epoch_of_open, enter_ns, killed_ns)
