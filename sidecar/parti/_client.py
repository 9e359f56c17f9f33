"""The client: sends messages by key or partition, and looks at the table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from parti import _limits as limits
from parti import _transport as transport
from parti._errors import NotExecuted, PartiError, Reason
from parti._kv import Kv
from parti._link import Link
from parti._locks import Election, Lock
from parti._pending import BY_KEY, Item
from parti._sidecar import Sidecar
from parti._values import ClientCounts, Location, Outgoing, Phase, Reply, TableChange
from parti_proto import app_pb2


class Client:
    """Sends messages to the owners of their partitions, through the sidecar of this pod.

    Use it as `async with Client() as client`, one per process: all its messages share one
    stream and travel in batches. It connects in the background and again whenever the sidecar
    restarts; messages wait for that within their timeout.

    Messages are refused, retried and reported by one rule: what certainly did not run is sent
    again within its timeout (`retry=False`: raised at once); what may have run is sent again
    only if it is `idempotent`, and is an `UnknownOutcome` otherwise. Messages that one caller
    awaits one after the other stay in order; of messages in flight together, one that was
    refused and sent again falls behind the others.
    """

    def __init__(self, address: str | None = None, *, retry: bool = True) -> None:
        """Prepare a client.

        Args:
            address: of the sidecar, `host:port` or `unix:/path`; default `$PARTI_ADDRESS`,
                then 127.0.0.1:5100.
            retry: send again what is safe to send again.
        """
        self.address = transport.resolve_address(address)
        self._retry = retry
        self._sidecar: Sidecar | None = None
        self._link: Link | None = None
        self._kv: Kv | None = None

    async def __aenter__(self) -> Self:
        """Start connecting; does not wait for it (`ready` does)."""
        if self._link is not None:
            raise RuntimeError("this client is already open")
        self._sidecar = Sidecar(self.address)
        self._link = Link(self._sidecar, retry=self._retry)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; messages still waiting are refused or become unknown."""
        kv, self._kv = self._kv, None
        if kv is not None:
            await kv.close()
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        sidecar, self._sidecar = self._sidecar, None
        if sidecar is not None:
            await sidecar.close()

    async def ready(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - a plain bound
        """Wait until the sidecar takes messages; raises `NotExecuted` after `timeout` seconds."""
        await self._open_link().wait_ready(timeout)

    @property
    def counts(self) -> ClientCounts:
        """What has happened so far, and what waits now."""
        link = self._open_link()
        pending = link.pending
        return ClientCounts(
            link.connects_count,
            pending.retries_count,
            pending.overloads_count,
            pending.items_count,
        )

    @property
    def kv(self) -> Kv:
        """The replicated key-value store."""
        if self._kv is None:
            self._kv = Kv(self._open_sidecar())
        return self._kv

    def lock(
        self, name: bytes | str, *, value: bytes | str = b"", ttl: float | None = None
    ) -> Lock:
        """Make a named lock of the whole cluster: `async with client.lock("reports") as lock`.

        Args:
            name: what is locked.
            value: what others see of the holder.
            ttl: seconds until the lock of a holder that fell silent is free (default 10).
        """
        return Lock(self.kv, name, value=value, ttl=ttl)

    def elect(
        self, name: bytes | str, value: bytes | str = b"", *, ttl: float | None = None
    ) -> Election:
        """Stand for an election: `async with client.elect("main", "pod-1") as leading`."""
        return Election(self.kv, name, value=value, ttl=ttl)

    async def send(
        self,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        payload: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109 - goes with the message to the owner
        idempotent: bool = False,
    ) -> Reply:
        """Send one message and wait for its reply.

        Args:
            key: routed by its hash; all messages of one key go to one partition.
            partition: routed as it says; give either this or `key`.
            payload: opaque to parti.
            headers: small text values for the handler.
            timeout: seconds until nobody waits for the reply any more.
            idempotent: it may run more than once, so it is sent again when unsure.

        Raises:
            NotExecuted: it did not run.
            UnknownOutcome: it may have run.
            HandlerFailed: it ran and the handler raised.
        """
        link = self._link or self._open_link()
        loop = link.loop
        future: asyncio.Future[Reply] = loop.create_future()
        if not 0 < timeout <= limits.TIMEOUT_MS_MAX / 1000:
            raise timeout_refused()
        link.offer(
            Item(
                partition_of(key, partition),
                key_bytes(key),
                payload_bytes(payload, link.pending.payload_bytes_max),
                header_bytes(headers) if headers else b"",
                idempotent,
                loop.time() + timeout,
                future,
            )
        )
        return await future

    async def send_many(
        self,
        messages: Iterable[Outgoing],
        *,
        timeout: float = 30.0,  # noqa: ASYNC109 - goes with the messages to their owners
    ) -> list[Reply | PartiError]:
        """Send many messages and return their outcomes in the same order.

        An outcome that is not a `Reply` is the error that `send` would have raised. The timeout
        is one for all.
        """
        link = self._open_link()
        if not 0 < timeout <= limits.TIMEOUT_MS_MAX / 1000:
            raise timeout_refused()
        batch = Batch(link.loop)
        deadline = link.loop.time() + timeout
        try:
            for message in messages:
                await batch.wait_for_room()
                index = batch.add()
                try:
                    link.offer(
                        make_item(message, deadline, batch, index, link.pending.payload_bytes_max)
                    )
                except PartiError as error:
                    batch.settle(index, error)
            return await batch.wait()
        finally:
            batch.abandoned = True

    async def locate(
        self,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        timeout: float = 5.0,  # noqa: ASYNC109 - the call's own
    ) -> Location:
        """Say where a key or partition lives now, as far as the sidecar knows."""
        channel = self._open_sidecar().channel
        request = app_pb2.LocateRequest()
        if partition_of(key, partition) == BY_KEY:
            request.key = key_bytes(key)
        else:
            request.partition = partition or 0
        try:
            reply = await transport.locate_call(channel, request, timeout)
        except grpc.aio.AioRpcError as error:
            raise transport.error_from_status(error) from None
        return location(reply.partition, reply.owner_name, reply.table_index)

    async def watch_table(self) -> AsyncGenerator[TableChange, None]:
        """Yield the whole table, then every change; after a lost connection the whole again."""
        self._open_sidecar()
        backoff = transport.Backoff()
        while self._sidecar is not None:
            call = transport.watch_stream(self._sidecar.channel)
            try:
                while (event := await call.read()) is not grpc.aio.EOF:
                    backoff.reset()
                    yield table_change(event)
            except grpc.aio.AioRpcError as error:
                failure = transport.error_from_status(error)
                if transport.lasting(failure):
                    raise failure from None
            finally:
                call.cancel()
            await asyncio.sleep(backoff.next_s())

    def _open_link(self) -> Link:
        if self._link is None:
            raise RuntimeError("the client is not open: use `async with Client() as client`")
        return self._link

    def _open_sidecar(self) -> Sidecar:
        self._open_link()
        assert self._sidecar is not None
        return self._sidecar


class Batch:
    """Collects the outcomes of one `send_many`, a bounded window of them at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.abandoned = False  # nobody waits any more: what is not sent yet stays here
        self._loop = loop
        self._outcomes: list[Reply | PartiError | None] = []
        self._open_count = 0
        self._waiter: asyncio.Future[None] | None = None
        self._wake_at_count = 0

    def add(self) -> int:
        """Make room for one outcome and return its index."""
        self._outcomes.append(None)
        self._open_count += 1
        return len(self._outcomes) - 1

    def settle(self, index: int, outcome: Reply | PartiError) -> None:
        """Record one outcome."""
        assert self._outcomes[index] is None
        self._outcomes[index] = outcome
        self._open_count -= 1
        waiter = self._waiter
        if waiter is not None and self._open_count <= self._wake_at_count and not waiter.done():
            waiter.set_result(None)

    async def wait_for_room(self) -> None:
        """Return when another message may be added."""
        if self._open_count >= limits.SEND_MANY_WINDOW:
            await self._wait_until(limits.SEND_MANY_WINDOW // 2)

    async def wait(self) -> list[Reply | PartiError]:
        """Return all outcomes when there are all."""
        if self._open_count:
            await self._wait_until(0)
        return [outcome for outcome in self._outcomes if outcome is not None]

    async def _wait_until(self, open_count: int) -> None:
        self._wake_at_count = open_count
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def make_item(
    message: Outgoing, deadline: float, batch: Batch, index: int, payload_bytes_max: int
) -> Item:
    """Check one message of a `send_many` and make its item."""
    return Item(
        partition_of(message.key, message.partition),
        key_bytes(message.key),
        payload_bytes(message.payload, payload_bytes_max),
        header_bytes(message.headers) if message.headers else b"",
        message.idempotent,
        deadline,
        None,
        batch,
        index,
    )


def partition_of(key: bytes | str | None, partition: int | None) -> int:
    """Return the partition to write into a frame; exactly one target must be given."""
    if (key is None) == (partition is None):
        raise NotExecuted("give either key or partition", Reason.BAD_TARGET)
    if partition is None:
        return BY_KEY
    if not 0 <= partition < BY_KEY:
        raise NotExecuted(f"partition {partition} does not exist", Reason.BAD_PARTITION)
    return partition


def key_bytes(key: bytes | str | None) -> bytes:
    """Return the key as bytes, none as no bytes."""
    if key is None:
        return b""
    data = key.encode() if isinstance(key, str) else key
    if not isinstance(data, bytes):
        raise TypeError(f"key must be bytes or str, not {type(key).__name__}")
    if not data:
        raise NotExecuted("the key is empty", Reason.EMPTY_KEY)
    if len(data) > limits.KEY_BYTES_MAX:
        text = f"the key has {len(data)} bytes, the limit is {limits.KEY_BYTES_MAX}"
        raise NotExecuted(text, Reason.PAYLOAD_TOO_LARGE)
    return data


def payload_bytes(payload: bytes | str, payload_bytes_max: int) -> bytes:
    """Return the payload as bytes, within the sidecar's limit."""
    data = payload.encode() if isinstance(payload, str) else payload
    if not isinstance(data, bytes):
        raise TypeError(f"payload must be bytes or str, not {type(payload).__name__}")
    if len(data) > payload_bytes_max:
        text = f"the payload has {len(data)} bytes, the limit is {payload_bytes_max}"
        raise NotExecuted(text, Reason.PAYLOAD_TOO_LARGE)
    return data


def header_bytes(headers: Mapping[str, str]) -> bytes:
    """Serialize headers once, here: they are relayed as they are."""
    data = app_pb2.Headers(values=dict(headers)).SerializeToString()
    if len(data) > limits.HEADERS_BYTES_MAX:
        text = f"the headers have {len(data)} bytes, the limit is {limits.HEADERS_BYTES_MAX}"
        raise NotExecuted(text, Reason.PAYLOAD_TOO_LARGE)
    return data


def timeout_refused() -> NotExecuted:
    """Say what a timeout may be."""
    text = f"the timeout must be above 0 and at most {limits.TIMEOUT_MS_MAX / 1000:.0f} s"
    return NotExecuted(text, Reason.INVALID_ARGUMENT)


def location(state: app_pb2.PartitionState, owner_name: str, table_index: int) -> Location:
    """Make the public value of a partition's state."""
    return Location(
        state.partition,
        state.owner,
        owner_name,
        state.epoch,
        Phase(state.phase),
        state.target,
        table_index,
    )


def table_change(event: app_pb2.TableEvent) -> TableChange:
    """Make the public value of one step of the table."""
    names = dict(event.member_names)
    changed = tuple(
        location(state, names.get(state.owner, ""), event.table_index) for state in event.changed
    )
    return TableChange(event.table_index, event.partitions, event.whole, changed, names)
