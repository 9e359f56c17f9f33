"""The sidecar as the SDK reaches it: a gRPC channel for calls, sockets for streams.

Streams carry the frames of the gRPC streams of the same name; a plain socket that is read and
written in the callbacks of the event loop does it for a fraction of the time. Where it is dialled
is asked before every attempt, because a sidecar that was restarted listens somewhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from parti import _limits as limits
from parti import _transport as transport
from parti._errors import NotExecuted, PartiError, Reason, UnknownOutcome, error_from_detail
from parti_proto import errors_pb2, stream_pb2
from parti_wire.dialled_stream import DialledStream, StreamOwner
from parti_wire.errors import Side
from parti_wire.sockets import Make, dial, dial_unix

Decoded = TypeVar("Decoded", bound=Message)

UNIX = "unix:"


def detail_of(error: Exception) -> errors_pb2.ErrorDetail:
    """Tell the sidecar why a stream ends; the words of a bug stay inside."""
    if not isinstance(error, PartiError):
        error = UnknownOutcome("internal error of the application", Reason.INTERNAL)
    return errors_pb2.ErrorDetail(
        reason=errors_pb2.Reason.Name(error.reason),
        executed=errors_pb2.Executed.Name(error.executed),
        message=error.message[: limits.ERROR_TEXT_CHARS_MAX],
    )


SIDE = Side(detail_of, error_from_detail, answer_ms=limits.PING_ANSWER_MS)


class Sidecar:
    """One sidecar. Make it inside the running loop it belongs to."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel: Any = transport.open_channel(address)

    async def close(self) -> None:
        """Close the channel; its streams are closed by those who run them."""
        await self.channel.close()

    async def run_stream(
        self, owner: StreamOwner, kind: stream_pb2.AppStreamKind, first: bytes = b""
    ) -> None:
        """Open a stream and serve it to its end; raises why it ended."""
        hello = stream_pb2.AppStreamHello(kind=kind, first=first).SerializeToString()
        stream = DialledStream(owner, SIDE, hello=hello, bytes_max=limits.GRPC_MESSAGE_BYTES_MAX)
        await stream.run(self._dial, handshake_ms=limits.CONNECT_MS_MAX)

    async def _dial(self, make: Make) -> None:
        try:
            reply = await transport.stream_address_call(self.channel, limits.CONNECT_MS_MAX / 1000)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                text = "the sidecar is older than this SDK: upgrade it first"
                raise NotExecuted(text, Reason.PROTOCOL_VERSION) from None
            raise transport.error_from_status(error) from None
        if self.address.startswith(UNIX):
            beside = Path(self.address.removeprefix(UNIX)).with_name(reply.socket_name)
            await dial_unix(str(beside), make)
        else:
            host, _, _ = self.address.rpartition(":")
            await dial(host.strip("[]"), reply.port, make)


def decoded(message: type[Decoded], data: bytes) -> Decoded:
    """Read what the sidecar sent."""
    try:
        return message.FromString(data)
    except DecodeError:
        text = "the sidecar sent bytes that are no message of this stream"
        raise UnknownOutcome(text, Reason.MALFORMED_FRAME) from None
