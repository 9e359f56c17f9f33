"""Errors answer whether a message ran, and mirror the protocol's lists."""

from __future__ import annotations

import pytest

from parti import Executed, HandlerFailed, NotExecuted, PartiError, Reason, UnknownOutcome
from parti._errors import error_from_detail
from parti_proto import errors_pb2


def test_reason_lists_exactly_the_protocols_reasons() -> None:
    protocol = {name.removeprefix("REASON_"): n for name, n in errors_pb2.Reason.items()}
    assert {reason.name: reason.value for reason in Reason} == protocol


def test_executed_lists_exactly_the_protocols_values() -> None:
    protocol = {name.removeprefix("EXECUTED_"): n for name, n in errors_pb2.Executed.items()}
    assert {one.name: one.value for one in Executed} == protocol


@pytest.mark.parametrize(
    ("reason", "executed", "kind", "retryable"),
    [
        (errors_pb2.REASON_NO_WORKER, errors_pb2.EXECUTED_NO, NotExecuted, True),
        (errors_pb2.REASON_PARKING_FULL, errors_pb2.EXECUTED_NO, NotExecuted, True),
        (errors_pb2.REASON_EMPTY_KEY, errors_pb2.EXECUTED_NO, NotExecuted, False),
        (errors_pb2.REASON_DEADLINE_EXCEEDED, errors_pb2.EXECUTED_NO, NotExecuted, False),
        (errors_pb2.REASON_DEADLINE_EXCEEDED, errors_pb2.EXECUTED_UNKNOWN, UnknownOutcome, False),
        (errors_pb2.REASON_OWNER_LOST, errors_pb2.EXECUTED_UNKNOWN, UnknownOutcome, False),
        (errors_pb2.REASON_NOT_OWNER, errors_pb2.EXECUTED_UNKNOWN, UnknownOutcome, False),
        (errors_pb2.REASON_HANDLER_FAILED, errors_pb2.EXECUTED_YES, HandlerFailed, False),
        (errors_pb2.REASON_INTERNAL, errors_pb2.EXECUTED_YES, PartiError, False),
    ],
)
def test_class_follows_from_what_was_executed(
    reason: errors_pb2.Reason,
    executed: errors_pb2.Executed,
    kind: type[PartiError],
    retryable: bool,  # noqa: FBT001
) -> None:
    error = error_from_detail(errors_pb2.ErrorDetail(reason=reason, executed=executed))
    assert type(error) is kind
    assert error.retryable is retryable


def test_details_are_kept_and_shown() -> None:
    detail = errors_pb2.ErrorDetail(
        reason=errors_pb2.REASON_NOT_OWNER,
        retry_after_ms=5,
        owner=6,
        epoch=7,
        table_index=8,
        message="moved",
    )
    error = error_from_detail(detail)
    assert (error.retry_after_ms, error.owner, error.epoch, error.table_index) == (5, 6, 7, 8)
    assert str(error) == "NOT_OWNER (executed: NO): moved"


def test_reason_of_a_newer_sidecar_is_unknown_not_failed() -> None:
    detail = errors_pb2.ErrorDetail.FromString(b"\x08\xe7\x07")  # reason = 999
    error = error_from_detail(detail)
    assert isinstance(error, UnknownOutcome)
    assert error.reason is Reason.INTERNAL
