"""The application of the process tests: notes every message and does what it says.

`python -m tests.process.worker NOTES_FOLDER [CREDITS PARTITION_CREDITS]`, beside a sidecar.
A payload is `ID ORDER [NUMBER]`:

    echo      answer at once with the payload
    sleep MS  answer later
    hang      never answer, until cancelled
    crash     end the process, as a bug in C code would
    block MS  block the whole process
    keep      answer at once, but never let go of this partition (on_revoked does not return)
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import parti
from tests.process.recorder import Recorder


class Application:
    """The handler with what it remembers."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._kept: set[int] = set()

    async def handle(self, message: parti.Message) -> bytes:
        name, order, *number = message.payload.decode("ascii").split()
        with self._recorder.inside(message.partition, message.epoch, name):
            await self._obey(message.partition, order, int(number[0]) if number else 0)
        if order == "crash":
            os._exit(70)
        return message.payload

    async def on_revoked(self, partition: int, _epoch: int) -> None:
        if partition in self._kept:
            await asyncio.get_running_loop().create_future()

    async def _obey(self, partition: int, order: str, ms: int) -> None:
        if order == "sleep":
            await asyncio.sleep(ms / 1000)
        elif order == "hang":
            await asyncio.get_running_loop().create_future()
        elif order == "block":
            time.sleep(ms / 1000)  # noqa: ASYNC251 - that is the point
        elif order == "keep":
            self._kept.add(partition)
        else:
            assert order in {"echo", "crash"}, order


def main() -> None:
    """Serve until asked to stop, or let go."""
    folder, *limits = sys.argv[1:]
    member = os.environ["PARTI_MEMBER"]
    application = Application(Recorder(Path(folder), member))
    credits_, partition_credits = map(int, limits) if limits else (1_024, 256)
    parti.Worker(
        application.handle,
        credits=credits_,
        partition_credits=partition_credits,
        on_revoked=application.on_revoked,
        name=f"{member}-{os.getpid()}",
        drain_timeout=5.0,
    ).run_forever()


if __name__ == "__main__":
    main()
