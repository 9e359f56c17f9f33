"""Everything of gRPC that the SDK uses: channels, methods, statuses, pauses between attempts."""

from __future__ import annotations

import os
import random
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
from parti_proto import app_pb2, errors_pb2

DEFAULT_ADDRESS: Final = "127.0.0.1:5100"
ADDRESS_VARIABLE: Final = "PARTI_ADDRESS"
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"

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


def stream_address_call(channel: Any, timeout: float) -> Any:
    """Call `Router.StreamAddress`."""
    return channel.unary_unary(
        "/parti.v1.Router/StreamAddress",
        request_serializer=app_pb2.StreamAddressRequest.SerializeToString,
        response_deserializer=app_pb2.StreamAddressReply.FromString,
    )(app_pb2.StreamAddressRequest(), timeout=timeout)


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
