"""Tells one watcher of the table every change, at the pace it takes them.

Changes gather as a set of partitions while a write is going on, so what is sent is always the
latest state. Above a limit the set is dropped and a whole table goes out instead: a slow watcher
costs a bounded amount of memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from parti_proto import app_pb2
from parti_shard.ids import PartitionId
from parti_shard.table import Table
from parti_sidecar.host import Host
from parti_sidecar.table_views import changed_table, whole_table

PENDING_PARTITIONS_MAX = 4_096  # changes a watcher may fall behind before it gets a whole table


class TableWatch:
    """The changes one watcher has not been told yet. Begins with a whole table."""

    def __init__(self, host: Host, table: Table) -> None:
        self._table = table
        self._pending: set[PartitionId] = set()
        self._whole = True
        self._changed = asyncio.Event()
        self._changed.set()
        self.close = host.on_table_changed(self._on_change)

    async def next_event(self) -> app_pb2.TableEvent:
        """Wait for the next change."""
        await self._changed.wait()
        self._changed.clear()
        pending, self._pending = self._pending, set()
        if self._whole:
            self._whole = False
            return await whole_table(self._table)
        return changed_table(self._table, sorted(pending))

    def _on_change(self, partitions: Sequence[PartitionId]) -> None:
        if not self._whole:
            self._pending.update(partitions)
            if len(self._pending) > PENDING_PARTITIONS_MAX:
                self._pending.clear()
                self._whole = True
        self._changed.set()
