"""Failures as gRPC statuses: every reason has a code, nothing is lost, nothing grows too large."""

from __future__ import annotations

from typing import cast

import grpc
import pytest

from parti_proto import errors_pb2
from parti_shard.errors import Executed, Failure, Reason
from parti_shard.ids import Epoch, LogIndex, MemberId
from parti_sidecar import status


class _AbortedError(Exception):
    pass


class _Context:
    """Keeps what a handler aborts with."""

    def __init__(self) -> None:
        self.code = grpc.StatusCode.OK
        self.text = ""
        self.trailing: tuple[tuple[str, bytes], ...] = ()

    async def abort(
        self, code: grpc.StatusCode, text: str, trailing: tuple[tuple[str, bytes], ...]
    ) -> None:
        self.code, self.text, self.trailing = code, text, trailing
        raise _AbortedError


class _RpcError:
    def __init__(self, code: grpc.StatusCode, trailing: tuple[tuple[str, bytes], ...]) -> None:
        self._code, self._trailing = code, trailing

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "words of gRPC"

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._trailing


async def _carried(failure: Failure) -> tuple[_Context, Failure]:
    context = _Context()
    with pytest.raises(_AbortedError):
        await status.abort(cast("grpc.aio.ServicerContext", context), failure)
    error = _RpcError(context.code, context.trailing)
    return context, status.failure_of(cast("grpc.aio.AioRpcError", error))


def test_the_enums_are_those_of_the_protocol() -> None:
    assert {f"REASON_{r.name}": int(r) for r in Reason} == dict(errors_pb2.Reason.items())
    assert {f"EXECUTED_{e.name}": int(e) for e in Executed} == dict(errors_pb2.Executed.items())


@pytest.mark.parametrize("reason", [r for r in Reason if r is not Reason.OK])
async def test_every_failure_survives_the_status(reason: Reason) -> None:
    failure = Failure(reason, Executed.UNKNOWN, "why", 5, MemberId(1 << 63), Epoch(3), LogIndex(4))
    context, arrived = await _carried(failure)
    assert context.code is status.CODES[reason]
    assert context.code is not grpc.StatusCode.OK
    assert arrived == failure


async def test_a_long_message_is_cut_so_that_metadata_stays_small() -> None:
    context, arrived = await _carried(Failure(Reason.CONFLICT, message="ü" * 10_000))
    percent_encoded = 3 * len(context.text.encode())
    assert percent_encoded + sum(len(value) for _, value in context.trailing) < 4_096
    assert arrived.message == "ü" * (status.STATUS_TEXT_BYTES_MAX // 2)


@pytest.mark.parametrize(
    ("code", "reason", "executed"),
    [
        (grpc.StatusCode.UNAVAILABLE, Reason.CONNECTION_LOST, Executed.UNKNOWN),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED, Executed.UNKNOWN),
        (grpc.StatusCode.UNIMPLEMENTED, Reason.PROTOCOL_VERSION, Executed.NO),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.PAYLOAD_TOO_LARGE, Executed.NO),
        (grpc.StatusCode.INTERNAL, Reason.INTERNAL, Executed.UNKNOWN),
    ],
)
def test_a_status_of_grpc_itself_never_claims_too_much(
    code: grpc.StatusCode, reason: Reason, executed: Executed
) -> None:
    failure = status.failure_of(cast("grpc.aio.AioRpcError", _RpcError(code, ())))
    assert (failure.reason, failure.executed) == (reason, executed)
    assert code.name in failure.message


def test_numbers_of_a_newer_version_count_as_unknown() -> None:
    raw = errors_pb2.ErrorDetail(message="new").SerializeToString() + b"\x08\xe7\x07\x10\x63"
    failure = status.failure_from(errors_pb2.ErrorDetail.FromString(raw))
    assert (failure.reason, failure.executed) == (Reason.INTERNAL, Executed.UNKNOWN)
