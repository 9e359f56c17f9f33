"""The application of the chaos runs: notes every message, takes as long as it says, answers.

`python -m tests.process.chaos.worker NOTES_FOLDER`, beside a sidecar.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import parti
from tests.process.chaos.notes import NoteWriter, read_payload

CREDITS = 2_048
PARTITION_CREDITS = 256


class Application:
    """The handler."""

    def __init__(self, notes: NoteWriter) -> None:
        self._notes = notes

    async def handle(self, message: parti.Message) -> bytes:
        name, sleep_ms = read_payload(message.payload)
        with self._notes.inside(message.partition, message.epoch, name):
            if sleep_ms:
                await asyncio.sleep(sleep_ms / 1000)
        return b""


def main() -> None:
    """Serve until asked to stop."""
    member = os.environ["PARTI_MEMBER"]
    application = Application(NoteWriter(Path(sys.argv[1]), member))
    parti.Worker(
        application.handle,
        credits=CREDITS,
        partition_credits=PARTITION_CREDITS,
        name=f"{member}-{os.getpid()}",
        drain_timeout=5.0,
    ).run_forever()


if __name__ == "__main__":
    main()
