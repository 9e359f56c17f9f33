"""Failures as gRPC statuses and back. The reason decides, never the gRPC code alone.

gRPC itself answers with UNAVAILABLE, INTERNAL, CANCELLED, UNKNOWN, RESOURCE_EXHAUSTED and
DEADLINE_EXCEEDED; only a status with our detail says whether something ran. Details and text
together stay below 4 KB, because gRPC drops metadata at random from 8 KB on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import grpc
import grpc.aio
from google.rpc import status_pb2

from parti_proto import errors_pb2
from parti_shard.errors import Executed, Failure, Reason
from parti_shard.ids import Epoch, LogIndex, MemberId

DETAILS_KEY = "grpc-status-details-bin"
STATUS_TEXT_BYTES_MAX = 512  # said three times, and percent-encoded once
INTERNAL_TEXT = "internal error; see the sidecar's log"

_Code = grpc.StatusCode
CODES: dict[Reason, grpc.StatusCode] = {
    Reason.OK: _Code.OK,
    Reason.BAD_PARTITION: _Code.INVALID_ARGUMENT,
    Reason.EMPTY_KEY: _Code.INVALID_ARGUMENT,
    Reason.BAD_TARGET: _Code.INVALID_ARGUMENT,
    Reason.PAYLOAD_TOO_LARGE: _Code.INVALID_ARGUMENT,
    Reason.MALFORMED_FRAME: _Code.INVALID_ARGUMENT,
    Reason.INVALID_ARGUMENT: _Code.INVALID_ARGUMENT,
    Reason.WRONG_CLUSTER: _Code.FAILED_PRECONDITION,
    Reason.PROTOCOL_VERSION: _Code.FAILED_PRECONDITION,
    Reason.UNKNOWN_MEMBER: _Code.NOT_FOUND,
    Reason.CONFLICT: _Code.ABORTED,
    Reason.COMPACTED: _Code.OUT_OF_RANGE,
    Reason.LEFT_BEHIND: _Code.FAILED_PRECONDITION,
    Reason.NOT_OWNER: _Code.FAILED_PRECONDITION,
    Reason.STALE_EPOCH: _Code.FAILED_PRECONDITION,
    Reason.LEASE_EXPIRED: _Code.UNAVAILABLE,
    Reason.NO_WORKER: _Code.UNAVAILABLE,
    Reason.PARKING_FULL: _Code.RESOURCE_EXHAUSTED,
    Reason.OVERLOADED: _Code.RESOURCE_EXHAUSTED,
    Reason.NO_LEADER: _Code.UNAVAILABLE,
    Reason.NOT_READY: _Code.UNAVAILABLE,
    Reason.DRAINING: _Code.UNAVAILABLE,
    Reason.PROPOSAL_DROPPED: _Code.UNAVAILABLE,
    Reason.STORE_FULL: _Code.RESOURCE_EXHAUSTED,
    Reason.SESSION_OVER: _Code.FAILED_PRECONDITION,
    Reason.DEADLINE_EXCEEDED: _Code.DEADLINE_EXCEEDED,
    Reason.CONNECTION_LOST: _Code.UNKNOWN,
    Reason.OWNER_LOST: _Code.UNKNOWN,
    Reason.WORKER_LOST: _Code.UNKNOWN,
    Reason.HANDLER_FAILED: _Code.UNKNOWN,
    Reason.INTERNAL: _Code.INTERNAL,
}

# What a status without our detail means for a call that may have reached the other side.
_FOREIGN: dict[grpc.StatusCode, Reason] = {
    _Code.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    _Code.OK: Reason.CONNECTION_LOST,  # a stream that ended without a word
    _Code.UNAVAILABLE: Reason.CONNECTION_LOST,
    _Code.CANCELLED: Reason.CONNECTION_LOST,
    _Code.UNIMPLEMENTED: Reason.PROTOCOL_VERSION,
    _Code.RESOURCE_EXHAUSTED: Reason.PAYLOAD_TOO_LARGE,  # gRPC's own limit of a message
}
_NEVER_RAN = frozenset({Reason.PROTOCOL_VERSION, Reason.PAYLOAD_TOO_LARGE})
_REASONS = {int(reason): reason for reason in Reason}
_EXECUTED = {int(executed): executed for executed in Executed}


def detail_of(failure: Failure) -> errors_pb2.ErrorDetail:
    """Write a failure as a message."""
    return errors_pb2.ErrorDetail(
        reason=int(failure.reason),  # type: ignore[arg-type]  # same numbers; a test compares
        executed=int(failure.executed),  # type: ignore[arg-type]
        retry_after_ms=failure.retry_after_ms,
        owner=failure.owner,
        epoch=failure.epoch,
        table_index=failure.table_index,
        message=failure.message,
    )


def failure_from(detail: errors_pb2.ErrorDetail) -> Failure:
    """Read a failure; what a newer version may say is taken as unknown, never as not executed."""
    reason = _REASONS.get(detail.reason, Reason.INTERNAL)
    return Failure(
        reason=reason,
        executed=_EXECUTED.get(detail.executed, Executed.UNKNOWN),
        message=detail.message,
        retry_after_ms=detail.retry_after_ms,
        owner=MemberId(detail.owner),
        epoch=Epoch(detail.epoch),
        table_index=LogIndex(detail.table_index),
    )


async def abort(context: grpc.aio.ServicerContext, failure: Failure) -> NoReturn:
    """End a call with the status of a failure."""
    text = _cut(failure.message or failure.reason.name)
    detail = detail_of(failure)
    detail.message = text
    code = CODES[failure.reason]
    status = status_pb2.Status(code=code.value[0], message=text)
    status.details.add().Pack(detail)
    await context.abort(code, text, ((DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort returned")


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """Read the failure of a unary call that was made from here."""
    return _failure(error.code(), error.details(), error.trailing_metadata())


async def failure_of_call(call: grpc.aio.Call) -> Failure:
    """Read the failure of a stream that was opened from here and is over."""
    return _failure(await call.code(), await call.details(), await call.trailing_metadata())


def _failure(
    code: grpc.StatusCode, text: str | None, trailing: Iterable[tuple[str, bytes]] | None
) -> Failure:
    for key, value in trailing or ():
        if key == DETAILS_KEY:
            failure = _unpacked(value)
            if failure is not None:
                return failure
    reason = _FOREIGN.get(code, Reason.INTERNAL)
    executed = Executed.NO if reason in _NEVER_RAN else Executed.UNKNOWN
    return Failure(reason, executed, _cut(f"{code.name}: {text}"))


def _unpacked(raw: bytes) -> Failure | None:
    detail = errors_pb2.ErrorDetail()
    for packed in status_pb2.Status.FromString(raw).details:
        if packed.Unpack(detail):
            return failure_from(detail)
    return None


def _cut(text: str) -> str:
    """Shorten a text to the bytes a status may carry."""
    return text.encode()[:STATUS_TEXT_BYTES_MAX].decode(errors="ignore")
