"""The client for programs without asyncio: the same calls, blocking.

One background thread runs the loop and the real client; callers from any threads share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from parti._client import Client
from parti._errors import PartiError
from parti._kv import Kv
from parti._locks import Election, Lock
from parti._sync_kv import SyncElection, SyncKv, SyncLock
from parti._sync_loop import LoopThread
from parti._values import Location, Outgoing, Reply, TableChange


class SyncClient:
    """`with SyncClient() as client: client.send(key="user-42", payload=b"hello")`.

    Safe to use from several threads. See `Client` for the meaning of everything.
    """

    def __init__(self, address: str | None = None, *, retry: bool = True) -> None:
        """Prepare a client; arguments as of `Client`."""
        self._client = Client(address, retry=retry)
        self._loop: LoopThread | None = None

    def __enter__(self) -> Self:
        """Start the background thread and begin to connect."""
        if self._loop is not None:
            raise RuntimeError("this client is already open")
        self._loop = LoopThread()
        self._loop.call(self._client.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; whoever still waits gets a RuntimeError."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call(self._client.close())
            loop.stop()

    def ready(self, timeout: float = 30.0) -> None:
        """Wait until the sidecar takes messages."""
        self._running().call(self._client.ready(timeout))

    def send(
        self,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        payload: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        idempotent: bool = False,
    ) -> Reply:
        """Send one message and wait for its reply."""
        return self._running().call(
            self._client.send(
                key=key,
                partition=partition,
                payload=payload,
                headers=headers,
                timeout=timeout,
                idempotent=idempotent,
            )
        )

    def send_many(
        self, messages: Iterable[Outgoing], *, timeout: float = 30.0
    ) -> list[Reply | PartiError]:
        """Send many messages and return their outcomes in the same order."""
        return self._running().call(self._client.send_many(messages, timeout=timeout))

    def locate(
        self,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        timeout: float = 5.0,
    ) -> Location:
        """Say where a key or partition lives now."""
        return self._running().call(
            self._client.locate(key=key, partition=partition, timeout=timeout)
        )

    def watch_table(self) -> Iterator[TableChange]:
        """Yield the whole table, then every change."""
        return self._running().iterate(self._client.watch_table())

    @property
    def kv(self) -> SyncKv:
        """The replicated key-value store."""
        return SyncKv(self._running(), self._store())

    def lock(
        self, name: bytes | str, *, value: bytes | str = b"", ttl: float | None = None
    ) -> SyncLock:
        """Make a named lock of the whole cluster: `with client.lock("reports") as lock`."""
        return SyncLock(self._running(), Lock(self._store(), name, value=value, ttl=ttl))

    def elect(
        self, name: bytes | str, value: bytes | str = b"", *, ttl: float | None = None
    ) -> SyncElection:
        """Stand for an election: `with client.elect("main", "pod-1") as leading`."""
        return SyncElection(self._running(), Election(self._store(), name, value=value, ttl=ttl))

    def _running(self) -> LoopThread:
        if self._loop is None:
            raise RuntimeError("the client is not open: use `with SyncClient() as client`")
        return self._loop

    def _store(self) -> Kv:
        async def find() -> Kv:
            return self._client.kv  # it belongs to the loop

        return self._running().call(find())
