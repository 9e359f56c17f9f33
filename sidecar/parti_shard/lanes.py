"""State of the origin: one lane per partition, one link per owner.

Invariants of a lane: all its unsettled messages (queued or sent, also those given up whose result
is still out) were sent under one epoch over one link; every unsettled one that was not put back is
older than every parked one. `link` is the way for new messages and is None as soon as anything
keeps them from being sent at once, so that the hot path tests one field.
"""

from __future__ import annotations

from collections import deque

from parti_shard.ids import (
    NO_EPOCH,
    NO_SESSION,
    Epoch,
    LogIndex,
    MemberId,
    PartitionId,
    SessionId,
)
from parti_shard.messages import QUEUED, Message
from parti_shard.streams import PEER, Destination


class Link:
    """An open stream to one owner, or the way to the own intake. `unanswered` goes by id."""

    __slots__ = (
        "destination",
        "last_id",
        "member",
        "queue",
        "restarts",
        "session",
        "unanswered",
    )

    def __init__(self, member: MemberId) -> None:
        self.member = member
        self.destination = Destination(PEER, member)
        self.session: SessionId | None = None  # the owner's, as last looked at in the table
        self.queue: deque[Message] = deque()
        self.unanswered: dict[int, Message] = {}
        self.last_id = 0
        self.restarts: set[Message] = set()  # queued ones that try a refused epoch once more

    def forget_unqueued(self) -> None:
        """Drop those that were given up or parked again."""
        self.queue = deque(message for message in self.queue if message.state == QUEUED)
        self.restarts.intersection_update(self.queue)


class Lane:
    """The messages of one partition at this origin."""

    __slots__ = (
        "epoch",
        "held",
        "hold_index",
        "hold_until_ms",
        "link",
        "parked",
        "parked_bytes",
        "partition",
        "probing",
        "session",
        "unsettled",
        "via",
        "window",
    )

    def __init__(self, partition: PartitionId, window: int) -> None:
        self.partition = partition
        self.link: Link | None = None
        self.window = window
        self.unsettled = 0
        # Of the unsettled messages, or of the last ones.
        self.epoch: Epoch = NO_EPOCH
        self.session: SessionId = NO_SESSION
        self.via: Link | None = None
        self.parked: deque[Message] = deque()
        self.parked_bytes = 0
        # After a refusal: nothing is sent until all is settled and this index or time is reached.
        self.held = False
        self.hold_index = LogIndex(0)
        self.hold_until_ms = 0
        # One message tries the refused epoch again; the others wait for its result, or until
        # `hold_until_ms`: a refusal would have come by then.
        self.probing = False
