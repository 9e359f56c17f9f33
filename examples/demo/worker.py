"""The demo's application: counts events per user, in the database, as the partition's owner.

`python -m examples.demo.worker DATABASE NOTES_FOLDER`, beside a sidecar (PARTI_ADDRESS). A message
is either a line of the access log (sent by key: the user) or `heartbeat N` (sent by partition).
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import parti
from examples.demo.database import Database
from examples.demo.events import parse
from examples.demo.recorder import Recorder

_HEARTBEAT = "heartbeat "


class Counter:
    """The handler with what it needs."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        self._database = database
        self._recorder = recorder

    async def handle(self, message: parti.Message) -> None:
        """Count one message. A transaction is so short that the loop can wait for it."""
        text = message.payload.decode("ascii")
        with self._recorder.inside(message.partition, message.epoch):
            if text.startswith(_HEARTBEAT):
                beat = int(text.removeprefix(_HEARTBEAT))
                self._database.count_heartbeat(message.partition, message.epoch, beat)
            else:
                self._database.count_event(message.partition, message.epoch, parse(text))


def main() -> None:
    """Serve until asked to stop."""
    name = os.environ.get("PARTI_MEMBER", f"pid-{os.getpid()}")
    notes = Path(sys.argv[2]) / f"{name}.notes"
    with closing(Database(Path(sys.argv[1]))) as database, closing(Recorder(notes)) as recorder:
        parti.Worker(Counter(database, recorder).handle, name=name).run_forever()


if __name__ == "__main__":
    main()
