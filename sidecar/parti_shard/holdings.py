"""What this member holds of one partition: the epoch it was granted and the messages at its gate.

Stages of an epoch (all but OVER and NONE are "held"):

    NONE -> GRANTED -> ASSIGNED -> STARTED -> REVOKING -> OVER
                          |           |
                          +-> LOST <--+   the worker went away; OVER when the next one comes

An epoch that is OVER is never admitted under again here, even if the table still shows it. An epoch
that has been handed to one worker is never handed to another, since the old process may be alive.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from parti_shard.ids import NO_EPOCH, Epoch, PartitionId
from parti_shard.messages import Arrival


class Stage(IntEnum):
    """Where an epoch is in its life, see module."""

    NONE = 0
    GRANTED = 1
    ASSIGNED = 2
    STARTED = 3
    REVOKING = 4
    LOST = 5
    OVER = 6


WITH_WORKER = frozenset({Stage.ASSIGNED, Stage.STARTED, Stage.REVOKING})


class Holding:
    """One partition at the owner. `accepts` is the epoch whose messages may wait here, or 0."""

    __slots__ = (
        "accepts",
        "epoch",
        "in_worker",
        "load",
        "partition",
        "queue",
        "ready",
        "revoke_by_ms",
        "stage",
    )

    def __init__(self, partition: PartitionId) -> None:
        self.partition = partition
        self.stage = Stage.NONE
        self.epoch = NO_EPOCH
        self.accepts = NO_EPOCH
        self.queue: deque[Arrival] = deque()
        self.ready = False  # in the ring of partitions with something to deliver
        self.in_worker = 0  # delivered under this epoch and not answered
        self.revoke_by_ms = 0
        self.load = 0  # admitted since the last report

    def begin(self, epoch: Epoch) -> None:
        assert epoch > self.epoch, "epochs rise"
        self.epoch = epoch
        self.in_worker = 0
        self.move_to(Stage.GRANTED)

    def move_to(self, stage: Stage) -> None:
        self.stage = stage
        open_to_messages = stage in (Stage.ASSIGNED, Stage.STARTED)
        self.accepts = self.epoch if open_to_messages else NO_EPOCH
