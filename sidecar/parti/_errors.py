"""Errors of the SDK. Their classes answer the one question that matters: did my message run?

`NotExecuted`: certainly not. `UnknownOutcome`: nobody can tell. `HandlerFailed`: it ran, and the
application's own code raised. A result that is not known is never called a failure.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parti_proto.errors_pb2 import ErrorDetail


class Reason(enum.IntEnum):
    """Why a message was refused or failed; the closed list of `parti.v1.Reason`."""

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

    @property
    def passing(self) -> bool:
        """True when the refusal is about this moment: the same message may succeed later."""
        return Reason.NOT_OWNER <= self <= Reason.PROPOSAL_DROPPED


class Executed(enum.IntEnum):
    """Whether the handler ran."""

    NO = 0
    YES = 1
    UNKNOWN = 2


class PartiError(Exception):
    """Root of all errors of the SDK.

    Attributes:
        reason: why, from the closed list.
        executed: whether the message ran.
        retry_after_ms: when to try again; 0 without a hint.
        owner: member id of the owner as known to who refused; 0 if unknown.
        epoch: epoch of the partition as known to who refused; 0 if unknown.
        table_index: log index of the table the refusal rests on; 0 if unknown.
    """

    def __init__(
        self,
        message: str,
        reason: Reason = Reason.INTERNAL,
        executed: Executed = Executed.UNKNOWN,
        *,
        retry_after_ms: int = 0,
        owner: int = 0,
        epoch: int = 0,
        table_index: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.executed = executed
        self.retry_after_ms = retry_after_ms
        self.owner = owner
        self.epoch = epoch
        self.table_index = table_index

    @property
    def retryable(self) -> bool:
        """True when sending the same message again is safe and may succeed."""
        return self.executed is Executed.NO and self.reason.passing

    def __str__(self) -> str:
        """Reason first: it is what people search for."""
        return f"{self.reason.name} (executed: {self.executed.name}): {self.message}"


class NotExecuted(PartiError):  # noqa: N818 - the name states the fact callers branch on
    """The message was certainly not executed."""

    def __init__(self, message: str, reason: Reason, **details: int) -> None:
        super().__init__(message, reason, Executed.NO, **details)


class UnknownOutcome(PartiError):  # noqa: N818 - an unknown result is not called an error
    """The message may have been executed: only the application can find out."""

    def __init__(self, message: str, reason: Reason, **details: int) -> None:
        super().__init__(message, reason, Executed.UNKNOWN, **details)


class HandlerFailed(PartiError):  # noqa: N818 - reads as the sentence it states
    """The message ran and the application's handler raised; the text is the handler's error."""

    def __init__(self, message: str, **details: int) -> None:
        super().__init__(message, Reason.HANDLER_FAILED, Executed.YES, **details)


def error_from_detail(detail: ErrorDetail) -> PartiError:
    """Make the exception of a refusal the sidecar wrote into a frame or a status."""
    try:
        reason = Reason(detail.reason)
        executed = Executed(detail.executed)
    except ValueError:  # a newer sidecar: what is not understood is not known
        reason, executed = Reason.INTERNAL, Executed.UNKNOWN
    message = detail.message or reason.name.lower().replace("_", " ")
    details = {
        "retry_after_ms": detail.retry_after_ms,
        "owner": detail.owner,
        "epoch": detail.epoch,
        "table_index": detail.table_index,
    }
    if executed is Executed.NO:
        return NotExecuted(message, reason, **details)
    if executed is Executed.UNKNOWN:
        return UnknownOutcome(message, reason, **details)
    if reason is Reason.HANDLER_FAILED:
        return HandlerFailed(message, **details)
    return PartiError(message, reason, executed, **details)
