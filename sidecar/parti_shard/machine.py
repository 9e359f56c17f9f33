"""The table as the state machine that the log drives.

An entry holds batches of commands (`codec.encode_batch`); the value of a batch is the list of its
commands' outcomes. A member that cannot read a committed batch must not go on: the error leaves
`apply` and ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence

from parti_raft.confchange import ChangeType, ConfChange, as_v2
from parti_raft.types import ConfState
from parti_shard.codec import decode_batch, decode_member
from parti_shard.commands import Outcome, Require
from parti_shard.ids import LogIndex
from parti_shard.table import Table

_ADDS = (ChangeType.ADD_VOTER, ChangeType.ADD_LEARNER)


class TableMachine:
    """Applies entries to one table."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def apply(self, index: LogIndex, commands: Sequence[bytes]) -> Sequence[object]:
        """Apply the batches of one entry; gives the outcomes of each."""
        self.table.advance(index)
        return [self._apply_batch(index, batch) for batch in commands]

    def _apply_batch(self, index: LogIndex, batch: bytes) -> list[Outcome]:
        """Apply the commands in order; what a batch requires and does not find ends it."""
        at_unix_ms, commands = decode_batch(batch)
        outcomes: list[Outcome] = []
        for command in commands:
            outcomes.append(self.table.apply(index, at_unix_ms, command))
            if isinstance(command, Require) and not outcomes[-1].ok:
                return outcomes + [outcomes[-1]] * (len(commands) - len(outcomes))
        return outcomes

    def configured(self, index: LogIndex, change: ConfChange, conf: ConfState) -> None:
        """Take in and forget members; a role change alone leaves the table as it is.

        The record of a new member rides in the change's context.
        """
        self.table.configured(index)
        change = as_v2(change)
        for single in change.changes:
            if single.type in _ADDS and change.context:
                self.table.member_added(index, decode_member(change.context))
            elif single.type is ChangeType.REMOVE:
                self.table.member_removed(index, single.member)
        del conf  # who votes is Raft's own knowledge

    def snapshot(self) -> bytes:
        """The whole table."""
        return self.table.snapshot()

    def restore(self, index: LogIndex, data: bytes) -> None:
        """Become the table of a snapshot."""
        self.table.restore(data)
        self.table.advance(index)
