"""Single messages on their way through the router, as one shared stream.

`Router.Send` and pings have no stream of their own. All of them share one pseudo stream here:
what arrives in one turn of the loop enters the router as one batch, and each caller waits for one
future. The router bounds the unanswered messages of a stream, so of all these together, and gives
every message an outcome by its deadline: nothing here waits for ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from parti_shard.batches import SendBatch
from parti_shard.errors import Failure, PartiError, Reason
from parti_shard.ids import StreamId
from parti_shard.router import Router
from parti_shard.streams import CLIENT, Destination
from parti_sidecar.host import Host

NOT_READY = Failure(
    Reason.NOT_READY, message="this member has no table yet: it waits to bootstrap or to join"
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message to send."""

    partition: int  # or BY_KEY
    key: bytes
    payload: bytes
    timeout_ms: int  # 0: the router's default
    headers: bytes = b""  # serialized
    idempotent: bool = False
    ping: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went; failures are raised instead."""

    epoch: int
    payload: bytes


class UnarySends:
    """The pseudo stream of this process. It opens with the first message after the router is."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._router: Router | None = None
        self._stream = StreamId(0)
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._batch = SendBatch([], [], [], [], [])

    async def send(self, message: Message) -> Outcome:
        """Route one message. Raises PartiError with its failure."""
        if self._router is None:
            self._open()
        self._last_id += 1
        message_id = self._last_id
        loop = asyncio.get_running_loop()
        if not self._batch.ids:
            loop.call_soon(self._flush)
        self._append(message_id, message)
        outcome: asyncio.Future[Outcome] = loop.create_future()
        self._waiting[message_id] = outcome
        try:
            return await outcome
        finally:
            self._waiting.pop(message_id, None)

    def _open(self) -> None:
        router = self._host.router
        if router is None:
            raise PartiError(NOT_READY)
        self._router = router
        self._stream = self._host.new_stream_id()
        router.open_client(self._stream)
        self._host.add_writer(Destination(CLIENT, self._stream), self._drain)

    def _append(self, message_id: int, message: Message) -> None:
        batch = self._batch
        position = len(batch.ids)
        batch.ids.append(message_id)
        batch.partitions.append(message.partition)
        batch.keys.append(message.key)
        batch.payloads.append(message.payload)
        batch.timeouts_ms.append(message.timeout_ms)
        if message.headers:
            batch.headers[position] = message.headers
        if message.idempotent:
            batch.idempotent_at.append(position)
        if message.ping:
            batch.ping_at.append(position)

    def _flush(self) -> None:
        """Hand over what this turn of the loop has gathered."""
        batch, self._batch = self._batch, SendBatch([], [], [], [], [])
        assert self._router is not None
        try:
            self._router.client_frame(self._stream, batch, self._host.now_ms())
            self._host.settle()
        except Exception as error:  # noqa: BLE001  # nobody awaits a callback: the host must know
            self._host.fail(error)

    def _drain(self) -> None:
        """Give the outcomes to those who wait; who has gone away gets none."""
        assert self._router is not None
        while (batch := self._router.take_client(self._stream)) is not None:
            for position, message_id in enumerate(batch.ids):
                outcome = self._waiting.get(message_id)
                if outcome is None or outcome.done():
                    continue
                failure = batch.failures.get(position)
                if failure is None:
                    epoch = batch.epochs[position] if batch.epochs else 0
                    outcome.set_result(Outcome(epoch, batch.payloads[position]))
                else:
                    outcome.set_exception(PartiError(failure))
