"""Everything of gRPC that the SDK uses: channels, methods, statuses, pauses between attempts.

The end of a stream looks the same whether the peer finished, froze or died, so nothing here
interprets it: a result counts only when it came in a frame.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import status_pb2

from parti import _limits as limits
from parti._errors import (
    Executed,
    NotExecuted,
    PartiError,
    Reason,
    UnknownOutcome,
    error_from_detail,
)
from parti_proto import app_pb2, errors_pb2, kv_pb2

DEFAULT_ADDRESS: Final = "127.0.0.1:5100"
ADDRESS_VARIABLE: Final = "PARTI_ADDRESS"
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"

# What reading and writing raise on a stream that is over: of grpc, or of its own state.
STREAM_OVER: Final = (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError)

# Keepalive closes a link to a frozen sidecar; reconnecting is quick, since the peer is local.
CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", limits.BACKOFF_MS),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", limits.BACKOFF_MS_MAX),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


def resolve_address(address: str | None) -> str:
    """Return the sidecar's address: the given one, PARTI_ADDRESS, or the default port."""
    return address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS


def open_channel(address: str) -> Any:
    """Open a channel to the sidecar; call inside the running loop it belongs to."""
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)


def send_stream(channel: Any) -> Any:
    """Open `Router.SendStream`."""
    return channel.stream_stream(
        "/parti.v1.Router/SendStream",
        request_serializer=app_pb2.SendFrame.SerializeToString,
        response_deserializer=app_pb2.ResultFrame.FromString,
    )()


def attach_stream(channel: Any) -> Any:
    """Open `Worker.Attach`."""
    return channel.stream_stream(
        "/parti.v1.Worker/Attach",
        request_serializer=app_pb2.WorkerFrame.SerializeToString,
        response_deserializer=app_pb2.SidecarFrame.FromString,
    )()


def kv_stream(channel: Any) -> Any:
    """Open `KV.Stream`."""
    return channel.stream_stream(
        "/parti.v1.KV/Stream",
        request_serializer=kv_pb2.KvFrame.SerializeToString,
        response_deserializer=kv_pb2.KvAnswers.FromString,
    )()


def kv_call(channel: Any, name: str, request: Message, reply: type[Message], timeout: float) -> Any:
    """Call a unary method of `KV`."""
    return channel.unary_unary(
        f"/parti.v1.KV/{name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=reply.FromString,
    )(request, timeout=timeout, wait_for_ready=True)


def kv_watch(channel: Any, name: str, request: Message, reply: type[Message]) -> Any:
    """Open a watch of `KV`."""
    return channel.unary_stream(
        f"/parti.v1.KV/{name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=reply.FromString,
    )(request)


def locate_call(channel: Any, request: app_pb2.LocateRequest, timeout: float) -> Any:
    """Call `Router.Locate`."""
    return channel.unary_unary(
        "/parti.v1.Router/Locate",
        request_serializer=app_pb2.LocateRequest.SerializeToString,
        response_deserializer=app_pb2.LocateReply.FromString,
    )(request, timeout=timeout, wait_for_ready=True)


def watch_stream(channel: Any) -> Any:
    """Open `Router.WatchTable`."""
    return channel.unary_stream(
        "/parti.v1.Router/WatchTable",
        request_serializer=app_pb2.WatchTableRequest.SerializeToString,
        response_deserializer=app_pb2.TableEvent.FromString,
    )(app_pb2.WatchTableRequest())


def error_from_status(error: Any) -> PartiError:
    """Make a PartiError of an AioRpcError: of its ErrorDetail, else of its code."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            for packed in status_pb2.Status.FromString(value).details:
                detail = errors_pb2.ErrorDetail()
                if packed.Unpack(detail):
                    return error_from_detail(detail)
    text = f"{error.code().name}: {error.details()}"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnknownOutcome(text, Reason.DEADLINE_EXCEEDED)
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return NotExecuted(text, Reason.PROTOCOL_VERSION)
    return UnknownOutcome(text, Reason.CONNECTION_LOST)


async def stream_failure(call: Any) -> PartiError:
    """Say why a stream ended; the end itself is not a reason. Never waits long."""
    finished = asyncio.ensure_future(call.code())
    try:
        done, _ = await asyncio.wait({finished}, timeout=limits.CLOSE_MS_MAX / 1000)
        if not done or finished.result() is grpc.StatusCode.OK:
            return UnknownOutcome("the sidecar ended the stream", Reason.CONNECTION_LOST)
        code, metadata = await call.code(), await call.trailing_metadata()
        error = grpc.aio.AioRpcError(code, (), metadata, details=await call.details())
        return error_from_status(error)
    finally:
        finished.cancel()


def hello(name: str, message_credits: int, partition_credits: int) -> app_pb2.Hello:
    """Make the first words of a worker."""
    return app_pb2.Hello(
        protocol_version=limits.PROTOCOL_VERSION,
        name=name,
        credits=message_credits,
        partition_credits=partition_credits,
    )


def check_welcome(welcome: app_pb2.Welcome) -> None:
    """Refuse a sidecar that speaks another version of the protocol."""
    if welcome.protocol_version != limits.PROTOCOL_VERSION:
        raise NotExecuted(
            f"the sidecar speaks protocol version {welcome.protocol_version}, "
            f"this SDK version {limits.PROTOCOL_VERSION}: upgrade the older of the two",
            Reason.PROTOCOL_VERSION,
        )


def lasting(error: PartiError) -> bool:
    """Tell whether connecting again cannot help: the sidecar refuses us for what we are."""
    return error.executed is Executed.NO and not error.reason.passing


class Backoff:
    """Jittered pauses between attempts: doubled at each failure, reset by a success."""

    def __init__(self) -> None:
        self.failures = 0

    def reset(self) -> None:
        self.failures = 0

    def next_s(self) -> float:
        """Return the next pause in seconds, between a half and the whole of its step."""
        step_ms = min(limits.BACKOFF_MS_MAX, limits.BACKOFF_MS << min(self.failures, 16))
        self.failures += 1
        return step_ms * random.uniform(0.5, 1.0) / 1000  # noqa: S311 - jitter, not a secret


async def first_frame(call: Any) -> Any:
    """Read the first frame of a stream, or raise why there is none in time."""
    reading = asyncio.ensure_future(call.read())
    try:
        done, _ = await asyncio.wait({reading}, timeout=limits.CONNECT_MS_MAX / 1000)
    finally:
        if not reading.done():
            call.cancel()
            reading.cancel()
    if not done:
        text = f"the sidecar did not answer within {limits.CONNECT_MS_MAX} ms"
        raise UnknownOutcome(text, Reason.CONNECTION_LOST)
    try:
        frame = reading.result()
    except grpc.aio.AioRpcError as error:
        raise error_from_status(error) from None
    if frame is grpc.aio.EOF:
        raise await stream_failure(call)
    return frame


async def serve(call: Any, *work: Coroutine[Any, Any, None]) -> None:
    """Run the writer and the reader of a stream until one ends; raise why it did.

    Errors of the stream become PartiErrors; anything else is a bug and passes unchanged.
    """
    tasks = {asyncio.ensure_future(one) for one in work}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, STREAM_OVER):
            raise error
    raise await stream_failure(call)


async def settle(writing: asyncio.Future[Any]) -> None:
    """Wait for a write whose stream may be over; the reader knows better why it is."""
    if not writing.done():
        writing.cancel()
    await asyncio.wait({writing})
    error = None if writing.cancelled() else writing.exception()
    if error is not None and not isinstance(error, STREAM_OVER):
        raise error
