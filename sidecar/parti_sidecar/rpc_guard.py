"""What every RPC handler runs inside: statuses, counters, and the list of running handlers.

A handler says "refused" by raising PartiError. Any other exception is a bug of ours: it is logged
and counted, and the caller gets a fixed text, because gRPC would send the exception's own words.
The guard knows the task of every running handler, because a server's `stop` returns before its
handlers have cleaned up: `wait_idle` is what shutdown waits for.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_sidecar.logs import event
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.status import INTERNAL_TEXT, abort
from parti_sidecar.streams import decoded_or_stand_in, require_decoded

log = logging.getLogger(__name__)

# A unary handler takes (request, context); one that reads a stream takes (context).
Handler = Callable[..., Awaitable[Any]]


class RpcGuard:
    """Wraps the handlers of all services of a process."""

    def __init__(self, meter: RpcMeter) -> None:
        self.meter = meter
        self._running: set[asyncio.Task[Any]] = set()

    def service(self, descriptor: ServiceDescriptor, target: object) -> grpc.GenericRpcHandler:
        """Serve each method of a service by the method of `target` of the same name."""
        handlers = {
            method.name: self._method_handler(descriptor.name, method, target)
            for method in descriptor.methods
        }
        return grpc.method_handlers_generic_handler(descriptor.full_name, handlers)

    async def wait_idle(self, limit_ms: int) -> None:
        """Wait until all handlers have ended; those that do not in time are cancelled."""
        running = self._running - {asyncio.current_task()}
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=limit_ms / 1000)
        for task in late:
            task.cancel()
        if late:
            event(log, "rpc handlers did not end in time", level=logging.ERROR, handlers=len(late))
            await asyncio.wait(late, timeout=limit_ms / 1000)

    def _method_handler(
        self, service: str, method: MethodDescriptor, target: object
    ) -> grpc.RpcMethodHandler:
        inner: Handler = getattr(target, snake_case(method.name))
        guarded = self._guarded(f"{service}.{method.name}", inner)
        reads, writes = method.client_streaming, method.server_streaming

        async def unary(request: object, context: grpc.aio.ServicerContext) -> object:
            return await guarded(context, request, context)

        async def streaming(_requests: object, context: grpc.aio.ServicerContext) -> object:
            return await guarded(context, context)

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[reads, writes]
        return make(
            streaming if reads else unary,
            request_deserializer=decoded_or_stand_in(GetMessageClass(method.input_type)),
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )

    def _guarded(self, rpc: str, inner: Handler) -> Handler:
        async def guarded(context: grpc.aio.ServicerContext, *arguments: object) -> object:
            task = asyncio.current_task()
            assert task is not None
            self._running.add(task)
            started = self.meter.begin(rpc)
            outcome = "CANCELLED"
            try:
                require_decoded(arguments[0])
                reply = await inner(*arguments)
                outcome = ""
            except PartiError as error:
                outcome = error.failure.reason.name
                await abort(context, error.failure)
            except Exception as bug:  # noqa: BLE001  # logged with its traceback
                outcome = Reason.INTERNAL.name
                self.meter.bugs += 1
                event(log, "rpc handler failed", level=logging.ERROR, error=bug, rpc=rpc)
                await abort(context, Failure(Reason.INTERNAL, Executed.UNKNOWN, INTERNAL_TEXT))
            finally:
                self._running.discard(task)
                self.meter.finish(rpc, started, outcome)
            return reply

        return guarded


def snake_case(name: str) -> str:
    """Turn the name of an RPC into the name of its handler."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
