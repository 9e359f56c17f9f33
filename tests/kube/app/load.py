"""The load container: sends steadily through the sidecar of its pod and notes every outcome.

`python -m tests.kube.app.load FOLDER PER_S PARTITIONS`. The folder outlives the pod. The load ends
with the pod, or when the file `stop` appears in the folder: then what is in flight is settled, the
file NAME.done says so, and the container idles until it is stopped.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from tests.process.history import Outcome, Sent
from tests.process.load import Load, Sender
from tests.process.recorder import boottime_ns

SENT_SUFFIX = ".sent"
DONE_SUFFIX = ".done"
STOP = "stop"
LOOK_S = 0.05


def read_sent(folder: Path) -> Iterator[Sent]:
    """What all load containers noted. The last line of a killed one may be cut short."""
    for path in sorted(folder.glob(f"*{SENT_SUFFIX}")):
        for line in path.read_text(encoding="ascii").splitlines(keepends=True):
            if line.endswith("\n"):
                fields = json.loads(line)
                yield Sent(**{**fields, "outcome": Outcome(fields["outcome"])})


class Notes:
    """Appends the outcomes of one sender to a file."""

    def __init__(self, file: TextIO, sender: Sender) -> None:
        self._file = file
        self._sender = sender
        self._written = 0

    def write(self) -> None:
        """Write what is new."""
        for each in self._sender.sent[self._written :]:
            self._file.write(json.dumps(asdict(each)) + "\n")
            self._written += 1
        self._file.flush()


async def run(folder: Path, name: str, per_s: float, partitions: int) -> None:
    """Send until asked to stop by a signal; pause for good when the file says so."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with Sender(name, os.environ.get("PARTI_ADDRESS", "127.0.0.1:5100")) as sender:
        with (folder / f"{name}{SENT_SUFFIX}").open("w", encoding="ascii") as file:
            notes = Notes(file, sender)
            async with Load([sender], per_s=per_s, partitions=range(partitions)):
                while not ended.is_set() and not (folder / STOP).exists():
                    notes.write()
                    await asyncio.sleep(LOOK_S)
            notes.write()
    (folder / f"{name}{DONE_SUFFIX}").touch()
    await ended.wait()


def main() -> None:
    """Entry point."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{os.environ['PARTI_POD_NAME']}.{boottime_ns()}"
    asyncio.run(run(folder, name, float(sys.argv[2]), int(sys.argv[3])))


if __name__ == "__main__":
    main()
