"""Why something was refused or failed. Mirrors `errors.proto`; a test compares the two."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from parti_shard.ids import NO_EPOCH, NO_MEMBER, Epoch, LogIndex, MemberId


class Reason(IntEnum):
    """One closed list; meanings stand in `errors.proto`."""

    OK = 0
    BAD_PARTITION = 1
    EMPTY_KEY = 2
    BAD_TARGET = 3
    PAYLOAD_TOO_LARGE = 4
    MALFORMED_FRAME = 5
    WRONG_CLUSTER = 6
    PROTOCOL_VERSION = 7
    UNKNOWN_MEMBER = 8
    INVALID_ARGUMENT = 9
    CONFLICT = 10
    COMPACTED = 11
    LEFT_BEHIND = 12
    NOT_OWNER = 20
    STALE_EPOCH = 21
    LEASE_EXPIRED = 22
    NO_WORKER = 23
    PARKING_FULL = 24
    OVERLOADED = 25
    NO_LEADER = 26
    NOT_READY = 27
    DRAINING = 28
    PROPOSAL_DROPPED = 29
    STORE_FULL = 30
    SESSION_OVER = 31
    DEADLINE_EXCEEDED = 40
    CONNECTION_LOST = 50
    OWNER_LOST = 51
    WORKER_LOST = 52
    HANDLER_FAILED = 60
    INTERNAL = 70


class Executed(IntEnum):
    """Whether a message ran. A result that is not known is called unknown, never failed."""

    NO = 0
    YES = 1
    UNKNOWN = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """The outcome of a message or request that did not succeed."""

    reason: Reason
    executed: Executed = Executed.NO
    message: str = ""
    retry_after_ms: int = 0
    owner: MemberId = NO_MEMBER
    epoch: Epoch = NO_EPOCH
    table_index: LogIndex = LogIndex(0)


class PartiError(Exception):
    """Root of errors of sharding; carries the failure that is told to the caller."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message or failure.reason.name)
        self.failure = failure


def refuse(reason: Reason, text: str) -> NoReturn:
    """Raise that something was not done, and why."""
    raise PartiError(Failure(reason, Executed.NO, text))


class MalformedFrameError(PartiError):
    """A peer or application sent bytes that do not follow the protocol; its stream ends."""

    def __init__(self, message: str) -> None:
        super().__init__(Failure(Reason.MALFORMED_FRAME, message=message))
