"""One connection to a sidecar's admin or app API, and its failures in words.

Calls block: the command line does one thing at a time. A failure becomes a `CliError` whose exit
code tells apart that nobody answers (3) and that somebody refused (1).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.rpc.status_pb2 import Status as RpcStatus

from parti_cli.errors import CannotConnectError, CliError
from parti_proto import errors_pb2
from parti_proto.admin_pb2_grpc import AdminStub
from parti_proto.app_pb2_grpc import RouterStub
from parti_proto.kv_pb2_grpc import KVStub

__all__ = ["AdminConnection", "AppConnection"]

_Reply = TypeVar("_Reply")
_PROBE_TIMEOUT_S = 2.0
_STATUS_DETAILS_KEY = "grpc-status-details-bin"
# By gRPC, or by this program for a stream that does not begin.
_TIME_IS_OVER = frozenset({grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
_OPTIONS = [
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment is not meant for cluster addresses
    ("grpc.use_local_subchannel_pool", 1),  # no back-off inherited from an earlier connection
]
_HINTS = {
    errors_pb2.REASON_NO_LEADER: "The cluster has no leader now. Are most of its voters running? "
    "`parti members` shows them.",
    errors_pb2.REASON_NOT_READY: "The member is still starting. If it is the first of a new "
    "cluster, run `parti bootstrap`; otherwise try again in a moment.",
    errors_pb2.REASON_UNKNOWN_MEMBER: "`parti members` lists the members there are.",
    errors_pb2.REASON_BAD_PARTITION: "`parti stats` shows how many partitions there are.",
    errors_pb2.REASON_NO_WORKER: "Start the application beside the member that owns it.",
    errors_pb2.REASON_STORE_FULL: "Delete something, or raise `kv_bytes_max` of all members.",
    errors_pb2.REASON_COMPACTED: "Watch without --after, or from a newer revision.",
    errors_pb2.REASON_INTERNAL: "This is a bug of parti: please report it.",
}


class _Connection:
    """A channel, and what its failures mean."""

    what = ""
    setting = ""

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self.channel = grpc.insecure_channel(address, options=_OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.channel.close()

    def call(self, method: Callable[..., _Reply], request: object) -> _Reply:
        """One unary call within the time given at the command line."""
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise self._translate(error) from error

    def stream(self, method: Callable[..., Any], request: object) -> Iterator[Any]:
        """A stream without an end, whose first item comes within the time."""
        call = method(request)
        impatience = threading.Timer(self._timeout_s, call.cancel)
        impatience.daemon = True
        impatience.start()
        begun = False
        try:
            for item in call:
                impatience.cancel()
                begun = True
                yield item
        except grpc.RpcError as error:
            if begun and _detail_of(error) is None:
                raise CliError(f"lost the connection to {self.address}") from error
            raise self._translate(error) from error
        finally:
            impatience.cancel()
            call.cancel()

    def _is_listening(self) -> bool:
        """Whether a connection is accepted there: a frozen process does, a dead machine not."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _PROBE_TIMEOUT_S).close()
        except (OSError, ValueError):
            return False
        return True

    def _cannot_connect(self, reason: str) -> CannotConnectError:
        return CannotConnectError(
            f"cannot connect to the {self.what} at {self.address}: {reason}",
            hint=f"Is the sidecar running? Name its {self.what} with {self.setting}.",
        )

    def _translate(self, error: Any) -> CliError:
        detail = _detail_of(error)
        if detail is not None:
            return _refusal(detail)
        code, text = error.code(), str(error.details())
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return self._cannot_connect("another API answers there")
        if code in _TIME_IS_OVER and self._is_listening():
            return CliError(
                f"{self.address} did not answer within {self._timeout_s:g} s",
                hint="Allow more time with --timeout, or ask another member.",
            )
        if code is grpc.StatusCode.UNAVAILABLE or code in _TIME_IS_OVER:
            return self._cannot_connect(text)
        return CliError(f"{self.address} answered {code.name}: {text}")


class AdminConnection(_Connection):
    """Speaks `parti.v1.Admin`."""

    what = "admin API"
    setting = "--addr or PARTI_ADMIN"

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(address, timeout_s)
        self.stub = AdminStub(self.channel)  # type: ignore[no-untyped-call]  # generated


class AppConnection(_Connection):
    """Speaks `parti.v1.Router` and `parti.v1.KV`."""

    what = "app API"
    setting = "--app-addr or PARTI_ADDRESS"

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(address, timeout_s)
        self.stub = RouterStub(self.channel)  # type: ignore[no-untyped-call]  # generated
        self.kv = KVStub(self.channel)  # type: ignore[no-untyped-call]  # generated


def _detail_of(error: Any) -> errors_pb2.ErrorDetail | None:
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS_KEY:
            for packed in RpcStatus.FromString(value).details:
                detail = errors_pb2.ErrorDetail()
                if packed.Unpack(detail):
                    return detail
    return None


def _refusal(detail: errors_pb2.ErrorDetail) -> CliError:
    reason = errors_pb2.Reason.Name(detail.reason).removeprefix("REASON_")
    executed = {
        errors_pb2.EXECUTED_YES: " (it was executed)",
        errors_pb2.EXECUTED_UNKNOWN: " (it may have been executed)",
    }.get(detail.executed, "")
    text = detail.message or "no further explanation"
    return CliError(f"{reason}: {text}{executed}", hint=_HINTS.get(detail.reason, ""))
