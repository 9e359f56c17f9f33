"""Why a stream ends, as far as the stream itself knows.

The sidecar and the SDK have errors of their own, which say the same in their words. Each side of a
stream brings along how to write and read them (`Side`); nothing else of it is known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parti_proto import errors_pb2


class WireError(Exception):
    """The bytes of the other side do not follow the protocol."""

    def __init__(self, reason: errors_pb2.Reason, text: str) -> None:
        super().__init__(text)
        self.detail = errors_pb2.ErrorDetail(reason=reason, message=text)


class FrameTooLargeError(WireError):
    """A frame says that it is longer than is taken here."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        text = f"a frame of {size_bytes} bytes, limit {limit_bytes}"
        super().__init__(errors_pb2.REASON_PAYLOAD_TOO_LARGE, text)


class BadFrameError(WireError):
    """A frame that nobody can read, or that nobody may send now."""

    def __init__(self, text: str) -> None:
        super().__init__(errors_pb2.REASON_MALFORMED_FRAME, text)


def broken(text: str) -> errors_pb2.ErrorDetail:
    """The connection is gone, and with it what nobody has answered."""
    return errors_pb2.ErrorDetail(
        reason=errors_pb2.REASON_CONNECTION_LOST,
        executed=errors_pb2.EXECUTED_UNKNOWN,
        message=text,
    )


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of streams brings along.

    A side that hears nothing for a while asks, and gives up what does not answer in `answer_ms`.
    Sent bytes that the other machine's kernel does not confirm in `unconfirmed_ms` end a stream;
    0 for a side whose peer is on the same machine.
    """

    detail_of: Callable[[Exception], errors_pb2.ErrorDetail]  # what the other side is told
    error_from: Callable[[errors_pb2.ErrorDetail], Exception]  # what it said, or the stream
    answer_ms: int
    unconfirmed_ms: int = 0
