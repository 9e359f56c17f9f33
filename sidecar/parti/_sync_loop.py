"""A loop in a background thread, for callers that block: one call, or one step of a stream."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

from parti._loop import loop_factory

T = TypeVar("T")

STOP_S = 5.0  # what other threads still wait for has so long to end


class LoopThread:
    """Runs coroutines for any threads, until `stop`: whoever still waits then is told so."""

    def __init__(self) -> None:
        self._loop = loop_factory()()
        self._stopped = False
        self._entering = threading.Lock()  # nothing is begun behind what `stop` ends
        self._thread = threading.Thread(target=self._loop.run_forever, name="parti-client")
        self._thread.daemon = True  # a script that forgets to close can still end
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and wait for what comes of it. RuntimeError: stopped meanwhile."""
        with self._entering:
            if self._stopped:
                work.close()
                raise RuntimeError("the client is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
        except concurrent.futures.CancelledError:
            raise RuntimeError("the client was closed meanwhile") from None

    def iterate(self, stream: AsyncGenerator[T, None]) -> Iterator[T]:
        """Yield what the stream yields; ending the iteration ends the stream."""
        try:
            while True:
                yield self.call(_step(stream))
        except StopAsyncIteration:
            return
        finally:
            with contextlib.suppress(RuntimeError):  # stopped: the stream has ended with it
                self.call(_close(stream))

    def stop(self) -> None:
        """End the thread."""
        with self._entering:
            self._stopped = True
            ending = asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop)
        ending.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


async def _step(stream: AsyncGenerator[T, None]) -> T:
    return await anext(stream)


async def _close(stream: AsyncGenerator[Any, None]) -> None:
    await stream.aclose()


async def _cancel_others() -> None:
    """End what other threads still wait for."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=STOP_S)
