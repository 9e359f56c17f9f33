"""The sidecar's side of streams of frames: its errors on the wire, and its patience."""

from __future__ import annotations

from parti_proto import errors_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_sidecar.status import INTERNAL_TEXT, detail_of, failure_from
from parti_sidecar.transport import KEEPALIVE_TIMEOUT_MS
from parti_wire.errors import Side

# An application's handlers may run on the loop that should answer: a little more patience.
APP_ANSWER_MS = 10_000


def _detail_of(error: Exception) -> errors_pb2.ErrorDetail:
    """The words of a bug stay inside."""
    if isinstance(error, PartiError):
        return detail_of(error.failure)
    return detail_of(Failure(Reason.INTERNAL, Executed.UNKNOWN, INTERNAL_TEXT))


def _error_from(detail: errors_pb2.ErrorDetail) -> PartiError:
    return PartiError(failure_from(detail))


TO_MEMBERS = Side(
    _detail_of, _error_from, answer_ms=KEEPALIVE_TIMEOUT_MS, unconfirmed_ms=KEEPALIVE_TIMEOUT_MS
)
TO_APPLICATIONS = Side(_detail_of, _error_from, answer_ms=APP_ANSWER_MS)
