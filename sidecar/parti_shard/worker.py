"""One attachment of an application process: what it holds and what waits to be told to it."""

from __future__ import annotations

from parti_shard.batches import WorkerOutput
from parti_shard.holdings import Holding
from parti_shard.ids import Epoch, PartitionId, WorkerId
from parti_shard.messages import Arrival
from parti_shard.streams import WORKER, Destination


class Worker:
    """`held`: epochs handed to it. `delivered`: what it has not answered; each costs a credit.

    An entry of `delivered` whose `stream` is None was given up here (its epoch was cut off); it
    keeps its credit until the worker answers, since it may still run there.
    """

    __slots__ = (
        "assign",
        "cancel",
        "closed",
        "closing",
        "credits",
        "delivered",
        "destination",
        "held",
        "id",
        "last_delivery",
        "lease_told_ms",
        "name",
        "partition_credits",
        "revoke",
    )

    def __init__(self, worker: WorkerId, name: str, credits_: int, partition_credits: int) -> None:
        self.id = worker
        self.name = name
        self.credits = credits_
        self.partition_credits = partition_credits
        self.destination = Destination(WORKER, worker)
        self.held: dict[PartitionId, Holding] = {}
        self.delivered: dict[int, Arrival] = {}
        self.last_delivery = 0
        self.lease_told_ms = 0
        self.assign: dict[PartitionId, Epoch] = {}  # not taken by the writer yet
        self.cancel: list[tuple[int, int]] = []
        self.revoke: dict[PartitionId, Epoch] = {}
        self.closing = False
        self.closed = ""

    def take_orders(self, out: WorkerOutput, live_until_ms: int, items_max: int) -> bool:
        """Everything but deliveries, into a frame. Says whether there is anything."""
        if live_until_ms != self.lease_told_ms:
            out.lease_until_ms = self.lease_told_ms = live_until_ms
        for partition in list(self.assign)[:items_max]:
            out.assign.append((partition, self.assign.pop(partition)))
        out.cancel, self.cancel = self.cancel, []
        out.closed, self.closed = self.closed, ""
        return bool(out.lease_until_ms or out.assign or out.cancel or out.closed)
