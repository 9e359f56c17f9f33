"""The application's database: one SQLite file that all workers write.

Two rules make it safe whatever happens to the workers, and both live inside the transaction that
changes the data:

- *fenced*: it remembers the highest epoch that wrote for a partition and refuses lower ones, so
  a worker that was frozen and wakes up after its partition has moved changes nothing;
- *idempotent*: it remembers which messages it has seen, so one that is sent again counts once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.demo.events import Event, Usage, is_error

_BUSY_TIMEOUT_S = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fences (partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS seen (message_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage (
    user TEXT PRIMARY KEY, requests INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
    errors INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS heartbeats (partition INTEGER PRIMARY KEY, beats INTEGER NOT NULL);
"""


class FencedError(Exception):
    """A later owner has written already: this one has lost the partition."""


class Database:
    """One connection. Not shared between threads."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def count_event(self, partition: int, epoch: int, event: Event) -> None:
        """Count an event for its user, once."""
        with self._transaction(partition, epoch):
            if self._is_new(f"event-{event.event_id}"):
                self._connection.execute(
                    "INSERT INTO usage VALUES (?, 1, ?, ?) ON CONFLICT (user) DO UPDATE SET "
                    "requests = requests + 1, size_bytes = size_bytes + excluded.size_bytes, "
                    "errors = errors + excluded.errors",
                    (event.user, event.size_bytes, is_error(event)),
                )

    def count_heartbeat(self, partition: int, epoch: int, beat: int) -> None:
        """Count a heartbeat of the partition itself, once."""
        with self._transaction(partition, epoch):
            if self._is_new(f"beat-{partition}-{beat}"):
                self._connection.execute(
                    "INSERT INTO heartbeats VALUES (?, 1) "
                    "ON CONFLICT (partition) DO UPDATE SET beats = beats + 1",
                    (partition,),
                )

    def usage(self) -> dict[str, Usage]:
        """What was counted per user."""
        rows = self._connection.execute("SELECT user, requests, size_bytes, errors FROM usage")
        return {user: Usage(*counts) for user, *counts in rows}

    def heartbeats(self) -> int:
        """How many heartbeats were counted, over all partitions."""
        row = self._connection.execute("SELECT coalesce(sum(beats), 0) FROM heartbeats")
        return int(row.fetchone()[0])

    @contextmanager
    def _transaction(self, partition: int, epoch: int) -> Iterator[None]:
        """All or nothing, and nothing below the fence."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._raise_fence(partition, epoch)
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _raise_fence(self, partition: int, epoch: int) -> None:
        written = self._connection.execute(
            "INSERT INTO fences VALUES (?, ?) ON CONFLICT (partition) DO UPDATE SET "
            "epoch = excluded.epoch WHERE epoch <= excluded.epoch",
            (partition, epoch),
        )
        if written.rowcount == 0:
            raise FencedError(f"partition {partition}: epoch {epoch} is over")

    def _is_new(self, message_id: str) -> bool:
        return (
            self._connection.execute(
                "INSERT INTO seen VALUES (?) ON CONFLICT DO NOTHING", (message_id,)
            ).rowcount
            == 1
        )
