"""Everything that the one log drives: the table of owners and the key-value store.

An entry may hold commands of both, told apart by their first byte. A snapshot is the table and the
store's chunks; one that holds a table alone, as the founding of a cluster writes it, leaves the
store empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from struct import Struct

from parti_kv.codec import is_kv
from parti_kv.store import KvStore
from parti_kv.values import Answers
from parti_raft.confchange import ConfChange
from parti_raft.types import ConfState
from parti_shard.errors import MalformedFrameError
from parti_shard.ids import LogIndex
from parti_shard.machine import TableMachine
from parti_shard.table import Table

SNAPSHOT_MARK = 0x50  # never the format version of a table
_HEAD = Struct("<BQ")  # mark, length of the table


class ClusterMachine:
    """See the module's docstring. `origin` is this run of this member."""

    def __init__(self, table: Table, store: KvStore, origin: int) -> None:
        self._table = TableMachine(table)
        self._store = store
        self._origin = origin
        self._answered: list[tuple[int, Answers]] = []

    def take_answered(self) -> list[tuple[int, Answers]]:
        """Answers to requests that entered the store here, by their numbers."""
        answered, self._answered = self._answered, []
        return answered

    def apply(self, index: LogIndex, commands: Sequence[bytes]) -> Sequence[object]:
        """Apply one entry; gives the outcomes of each batch of table commands."""
        outcomes: list[object] = []
        for command in commands:
            if is_kv(command):
                self._apply_kv(command)
                outcomes.append(None)
            else:
                outcomes.extend(self._table.apply(index, [command]))
        if not commands or outcomes[-1] is None:
            self._table.apply(index, ())
        return outcomes

    def _apply_kv(self, command: bytes) -> None:
        applied = self._store.apply(command)
        if applied is not None and applied[0] == self._origin:
            self._answered.append(applied[1:])

    def configured(self, index: LogIndex, change: ConfChange, conf: ConfState) -> None:
        """Only the table knows members."""
        self._table.configured(index, change, conf)

    def freeze(self) -> Iterator[bytes]:
        """Both states as they are now, in chunks to be taken at any later time."""
        table = self._table.snapshot()
        head = _HEAD.pack(SNAPSHOT_MARK, len(table)) + table
        return chain((head,), self._store.freeze())

    def snapshot(self) -> bytes:
        """Both states at once."""
        return b"".join(self.freeze())

    def restore(self, index: LogIndex, data: bytes) -> None:
        """Become what a snapshot holds."""
        if data[:1] != bytes((SNAPSHOT_MARK,)):
            self._table.restore(index, data)
            return
        if len(data) < _HEAD.size:
            raise MalformedFrameError("a snapshot without its head")
        _, table_bytes = _HEAD.unpack_from(data)
        end = _HEAD.size + table_bytes
        self._table.restore(index, data[_HEAD.size : end])
        self._store.restore(data[end:])
