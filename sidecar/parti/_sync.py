"""The client for programs without asyncio: the same calls, blocking.

One background thread runs the loop and the real client; callers from any threads share it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from parti._client import Client
from parti._errors import PartiError
from parti._loop import loop_factory
from parti._values import Location, Outgoing, Reply, TableChange

T = TypeVar("T")


class SyncClient:
    """`with SyncClient() as client: client.send(key="user-42", payload=b"hello")`.

    Safe to use from several threads. See `Client` for the meaning of everything.
    """

    def __init__(self, address: str | None = None, *, retry: bool = True) -> None:
        """Prepare a client; arguments as of `Client`."""
        self._client = Client(address, retry=retry)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start the background thread and begin to connect."""
        if self._loop is not None:
            raise RuntimeError("this client is already open")
        self._loop = loop_factory()()
        self._thread = threading.Thread(target=self._loop.run_forever, name="parti-client")
        self._thread.daemon = True  # a script that forgets to close can still end
        self._thread.start()
        self._call(self._client.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._call(self._client.close())
        self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def ready(self, timeout: float = 30.0) -> None:
        """Wait until the sidecar takes messages."""
        self._call(self._client.ready(timeout))

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
        return self._call(
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
        return self._call(self._client.send_many(messages, timeout=timeout))

    def locate(
        self,
        *,
        key: bytes | str | None = None,
        partition: int | None = None,
        timeout: float = 5.0,
    ) -> Location:
        """Say where a key or partition lives now."""
        return self._call(self._client.locate(key=key, partition=partition, timeout=timeout))

    def watch_table(self) -> Iterator[TableChange]:
        """Yield the whole table, then every change."""
        changes = self._client.watch_table()
        try:
            while True:
                yield self._call(anext(changes))
        except StopAsyncIteration:
            return
        finally:
            if self._loop is not None:
                self._call(changes.aclose())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the client is not open: use `with SyncClient() as client`")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except (KeyboardInterrupt, concurrent.futures.CancelledError):
            future.cancel()
            raise
