"""Client sessions of the store: opened when they are needed, kept alive, given up when over.

A session is counted as lost on this side's own clock: a keep-alive that was answered carries it to
the moment it was *sent* plus the TTL, less what clocks may differ. The cluster ends it later than
that, never earlier.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import grpc
import grpc.aio

from parti import _limits as limits
from parti import _transport as transport
from parti._errors import Executed, NotExecuted, PartiError, Reason
from parti._values import boottime_ms
from parti_proto import kv_pb2

CALL_TIMEOUT_S = 2.0


class Session:
    """One open session, kept alive until `close` or until it is lost."""

    def __init__(
        self, channel: Any, session: int, ttl_ms: int, sent_ms: int, lost: asyncio.Event
    ) -> None:
        self.id = session
        self.ttl_ms = ttl_ms
        self.lost = lost
        self.until_ms = sent_ms + _counted_ms(ttl_ms)
        self._channel = channel
        self._stopping = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="parti-kv-session")

    async def close(self) -> None:
        """End it; without an answer it expires by itself."""
        await self.stop()
        request = kv_pb2.KvCloseSessionRequest(session=self.id)
        try:
            await transport.kv_call(
                self._channel,
                "CloseSession",
                request,
                kv_pb2.KvCloseSessionReply,
                CALL_TIMEOUT_S,
            )
        except (grpc.aio.AioRpcError, grpc.aio.UsageError):
            return  # it is over already, or will be

    async def stop(self) -> None:
        """Keep it alive no longer; it is not lost by this."""
        self._stopping = True
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            await self._keep()
        finally:
            if not self._stopping:
                self.lost.set()

    async def _keep(self) -> None:
        """Return when it is over, or must be counted as over."""
        pause_ms = self.ttl_ms // limits.KV_KEEP_ALIVES_PER_TTL
        while (rest_ms := self.until_ms - boottime_ms()) > 0:
            await asyncio.sleep(min(pause_ms, rest_ms) / 1000)
            sent_ms = boottime_ms()
            alive = await self._ask((self.until_ms - sent_ms) / 1000)
            if alive is None:
                pause_ms = limits.KV_KEEP_AGAIN_MS
            elif alive:
                self.until_ms = sent_ms + _counted_ms(self.ttl_ms)
                pause_ms = self.ttl_ms // limits.KV_KEEP_ALIVES_PER_TTL
            else:
                return

    async def _ask(self, rest_s: float) -> bool | None:
        """Whether it lives; None if nobody could tell."""
        if rest_s <= 0:
            return None
        request = kv_pb2.KvKeepAliveRequest(session=[self.id])
        timeout_s = min(CALL_TIMEOUT_S, rest_s)
        try:
            reply = await transport.kv_call(
                self._channel, "KeepAlive", request, kv_pb2.KvKeepAliveReply, timeout_s
            )
        except (grpc.aio.AioRpcError, grpc.aio.UsageError):  # the latter: the client is closed
            return None
        return bool(reply.alive[0])


async def open_session(channel: Any, ttl_ms: int, timeout_s: float, lost: asyncio.Event) -> Session:
    """Open a session; tries again until the time is over. `lost` is set when it is lost."""
    if not limits.KV_SESSION_TTL_MS_MIN <= ttl_ms <= limits.KV_SESSION_TTL_MS_MAX:
        text = f"a TTL of {ttl_ms} ms: it may be 1 s to 1 h"
        raise NotExecuted(text, Reason.INVALID_ARGUMENT)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    request = kv_pb2.KvOpenSessionRequest(nonce=secrets.randbits(64), ttl_ms=ttl_ms)
    backoff = transport.Backoff()
    while True:
        sent_ms = boottime_ms()
        rest_s = max(0.001, deadline - loop.time())
        try:
            reply = await transport.kv_call(
                channel,
                "OpenSession",
                request,
                kv_pb2.KvOpenSessionReply,
                min(rest_s, 2 * CALL_TIMEOUT_S),
            )
            return Session(channel, reply.session, ttl_ms, sent_ms, lost)
        except grpc.aio.AioRpcError as error:
            failure = transport.error_from_status(error)
            pause_s = backoff.next_s()
            if not _passing(failure) or loop.time() + pause_s >= deadline:
                raise NotExecuted(
                    f"no session of the store could be opened: {failure.message}", failure.reason
                ) from None
            await asyncio.sleep(pause_s)


def _passing(error: PartiError) -> bool:
    return error.executed is Executed.UNKNOWN or error.reason.passing


def _counted_ms(ttl_ms: int) -> int:
    return ttl_ms * (100 - limits.CLOCK_RATE_ERROR_PERCENT) // 100
