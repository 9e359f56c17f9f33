"""The worker: takes the messages of the partitions this pod owns and runs the handler."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from parti import _limits as limits
from parti import _transport as transport
from parti._assignments import Concurrency, Ownership
from parti._attachment import Attachment
from parti._errors import NotExecuted, PartiError, Reason
from parti._handler import Callback, Handler, async_callback, async_handler
from parti._loop import run_with_best_loop
from parti._sidecar import Sidecar
from parti._values import WorkerCounts

logger = logging.getLogger("parti.worker")


class Worker:
    """Serves the partitions of this pod with one handler.

    `async with Worker(handler):` serves inside the block and hands everything over at its end;
    `await worker.run()` serves until `stop()`; `worker.run_forever()` is for scripts: it makes
    the loop and stops cleanly on SIGTERM and SIGINT.

    The handler gets a `Message` and returns the reply: bytes, str or nothing. What it raises
    reaches the sender as `HandlerFailed`. Plain functions run in threads.

    Messages run one after the other per partition (default), per key, or all at once ("free").
    `on_assigned(partition, epoch)` runs before the first message of an epoch, `on_revoked` after
    its last; when `on_assigned` raises, the partition is given back and the failure is counted.
    Handlers of an epoch that was cut off, and all handlers when the sidecar is lost, are
    cancelled. Nothing starts after the lease, which the sidecar prolongs all the time.

    A worker attaches again whenever the sidecar comes back, but ends with `NotExecuted` when the
    sidecar refuses it for good or lets it go because another process has attached (CONFLICT).
    """

    def __init__(  # noqa: PLR0913 - settings, by keyword
        self,
        handler: Handler,
        address: str | None = None,
        *,
        concurrency: Concurrency = "partition",
        credits: int = 1_024,  # noqa: A002 - the protocol's word
        partition_credits: int = 256,
        on_assigned: Callback | None = None,
        on_revoked: Callback | None = None,
        name: str | None = None,
        drain_timeout: float = 30.0,
    ) -> None:
        """Prepare a worker.

        Args:
            handler: `async def handle(message)` or a plain function.
            address: of the sidecar; default `$PARTI_ADDRESS`, then 127.0.0.1:5100.
            concurrency: what runs one after the other: "partition", "key" or nothing ("free").
            credits: messages taken at once, over all partitions.
            partition_credits: of them at most so many of one partition.
            on_assigned: called before the first message of an epoch.
            on_revoked: called after the last message of an epoch.
            name: shown to people; default host and process id.
            drain_timeout: seconds that `stop` waits for partitions to be handed over.
        """
        if concurrency not in {"partition", "key", "free"}:
            raise ValueError(f"concurrency must be partition, key or free, not {concurrency!r}")
        if not 1 <= partition_credits <= credits:
            raise ValueError("partition_credits must be at least 1 and at most credits")
        self.address = transport.resolve_address(address)
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.concurrency: Concurrency = concurrency
        self.credits = credits
        self.partition_credits = partition_credits
        self._drain_timeout = drain_timeout
        self._threads = ThreadPoolExecutor(limits.HANDLER_THREADS, "parti-handler")
        self._handler = async_handler(handler, self._threads)
        self._ownership = Ownership(
            on_assigned=async_callback(on_assigned, self._threads),
            on_revoked=async_callback(on_revoked, self._threads),
        )
        self._attachment: Attachment | None = None
        self._changed = asyncio.Event()  # attached, or ended
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def partitions(self) -> dict[int, int]:
        """The partitions that take messages here now, with their epochs."""
        if self._attachment is None:
            return {}
        owned = self._attachment.assignments.by_partition.values()
        return {one.partition: one.epoch for one in owned if one.accepting}

    @property
    def counts(self) -> WorkerCounts:
        """What has happened so far."""
        return self._ownership.counts

    async def __aenter__(self) -> Self:
        """Start serving; does not wait for the sidecar (`ready` does)."""
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def run(self) -> None:
        """Serve until `stop()`; raises if the sidecar refuses this worker for good."""
        running = self._start()
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await self.stop()

    def run_forever(self) -> None:
        """Serve until SIGTERM or SIGINT, in a loop of its own."""
        run_with_best_loop(self._run_until_signal())

    async def ready(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - a plain bound
        """Wait until attached to a sidecar; raises `NotExecuted` after `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while self._attachment is None or not self._attachment.welcomed:
            if self._running is None or self._running.done():
                if self._running is not None and not self._running.cancelled():
                    self._running.result()
                raise NotExecuted("the worker is not running", Reason.NOT_READY)
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                text = f"no sidecar answered within {timeout:.3g} s"
                raise NotExecuted(text, Reason.NOT_READY) from None

    async def stop(self) -> None:
        """Hand all partitions over, then detach; after `drain_timeout` what is left is cut off.

        Raises what ended the worker, if it was not this call.
        """
        running = self._running
        if running is None:
            return
        self._stopping.set()
        if self._attachment is not None:
            self._attachment.close()
        await asyncio.wait({running}, timeout=self._drain_timeout)
        if not running.done():
            logger.warning("not everything was handed over within %.3g s", self._drain_timeout)
        running.cancel()
        await asyncio.wait({running})
        await self._ownership.wait_released(limits.CLOSE_MS_MAX / 1000)
        self._running = None
        self._threads.shutdown(wait=False, cancel_futures=True)
        if not running.cancelled():
            running.result()

    def _start(self) -> asyncio.Task[None]:
        if self._running is not None or self._stopping.is_set():
            raise RuntimeError("a worker runs once")
        self._running = asyncio.get_running_loop().create_task(self._serve(), name="parti-worker")
        self._running.add_done_callback(self._ended)
        return self._running

    def _ended(self, running: asyncio.Task[None]) -> None:
        self._changed.set()
        if not running.cancelled() and (error := running.exception()) is not None:
            logger.error("the worker has ended: %r", error)

    async def _serve(self) -> None:
        """Attach, again and again, until stopped or refused for good."""
        sidecar = Sidecar(self.address)
        backoff = transport.Backoff()
        try:
            while not self._stopping.is_set():
                try:
                    await self._attach(sidecar, backoff)
                except PartiError as error:
                    if transport.lasting(error):
                        raise
                    await self._pause(error, backoff)
        finally:
            await sidecar.close()

    async def _attach(self, sidecar: Sidecar, backoff: transport.Backoff) -> None:
        attachment = Attachment(self._handler, self._ownership, self._hello(), self.concurrency)
        self._attachment = attachment

        def welcomed() -> None:
            backoff.reset()
            self.counts.attaches += 1
            self._changed.set()
            if self._stopping.is_set():
                attachment.close()

        try:
            await attachment.serve(sidecar, welcomed)
        finally:
            self._attachment = None

    async def _pause(self, error: PartiError, backoff: transport.Backoff) -> None:
        pause_s = backoff.next_s()
        if backoff.failures == 1:
            logger.warning("detached from the sidecar: %s", error)
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=pause_s)
        stopping.cancel()

    def _hello(self) -> Any:
        return transport.hello(self.name, self.credits, self.partition_credits)

    async def _run_until_signal(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        await self.run()

    def _signalled(self) -> None:
        """Begin to stop; the second time, at once."""
        if self._stopping.is_set() and self._running is not None:
            self._running.cancel()
        self._stopping.set()
