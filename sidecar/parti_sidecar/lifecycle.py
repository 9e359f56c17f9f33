"""The life of the process on the event loop: start, serve, drain, stop; signals and failures.

- A first SIGTERM or SIGINT drains: partitions are handed over, leadership is transferred, the
  session is closed. A member that cannot finish in `drain_ms` stops all the same; its session
  then ends by its lease.
- A second signal leaves at once with 128 + its number. Nothing is lost that was acknowledged:
  the disk is as after a crash.
- The failure of any supervised task stops the process and is raised to the caller.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from parti_sidecar.addresses import BoundAddresses, forget_addresses, publish_addresses
from parti_sidecar.config import SidecarConfig
from parti_sidecar.logs import event
from parti_sidecar.runtime import Supervisor, settle_memory

Result = TypeVar("Result")

STOP_TIMEOUT_S = 10.0  # after it the process leaves with what hangs
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger(__name__)


class Process(Protocol):
    """What is started, drained and stopped as a whole."""

    async def start(self) -> BoundAddresses:
        """Start everything; gives the address of each API once it listens."""
        ...

    async def drain(self) -> str:
        """Hand over everything that others depend on; gives what it could not."""
        ...

    async def stop(self) -> None:
        """Release everything, also after a start that failed half way."""
        ...


async def live(config: SidecarConfig, make: Callable[[Supervisor], Process]) -> None:
    """Live until a signal asks to leave; raises the reason if the process failed."""
    supervisor = Supervisor()
    asked = _leave_on_signals()
    process = make(supervisor)
    forget_addresses(config.data_dir)
    try:
        addresses = await _unless(supervisor.failed, asked, process.start())
        if addresses is not None:
            _announce(config, addresses)
            settle_memory()
            await _unless(supervisor.failed, asked, _for_ever())
            await _drain(config, supervisor, process)
    finally:
        forget_addresses(config.data_dir)
        await _stop(supervisor, process)


def _leave_on_signals() -> asyncio.Event:
    """The event is set by the first signal; the second ends the process."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def received(number: signal.Signals) -> None:
        if asked.is_set():
            event(_log, "second signal, leaving at once", signal=number.name)
            logging.shutdown()
            os._exit(128 + number)
        event(_log, "asked to leave", signal=number.name)
        asked.set()

    for each in _SIGNALS:
        loop.add_signal_handler(each, received, each)
    return asked


async def _unless(
    failed: asyncio.Future[None], asked: asyncio.Event, work: Coroutine[Any, Any, Result]
) -> Result | None:
    """The result of `work`; None if the process was asked to leave first; raises a failure."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(asked.wait())
    try:
        ends: set[asyncio.Future[Any]] = {failed, working, waiting}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
        return working.result() if working.done() else None
    finally:
        await _cancel({working, waiting})


async def _cancel(works: set[asyncio.Future[Any]]) -> None:
    """End what still runs; what became of it was either read before or does not matter now."""
    for work in works:
        work.cancel()
    done, _ = await asyncio.wait(works, timeout=STOP_TIMEOUT_S)
    for work in done:
        if not work.cancelled():
            work.exception()


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def _announce(config: SidecarConfig, bound: BoundAddresses) -> None:
    publish_addresses(config.data_dir, bound)
    event(_log, "listening", app=bound.app, peer=bound.peer, admin=bound.admin, http=bound.http)


async def _drain(config: SidecarConfig, supervisor: Supervisor, process: Process) -> None:
    draining = asyncio.ensure_future(process.drain())
    timeout_s = config.drain_ms / 1000
    try:
        waited_for: set[asyncio.Future[Any]] = {draining, supervisor.failed}
        await asyncio.wait(
            waited_for,
            timeout=timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if supervisor.failed.done():
            supervisor.failed.result()
        if draining.done():
            left = draining.result()
            if left:
                event(_log, "not everything was handed over", level=logging.WARNING, left=left)
            else:
                event(_log, "drained")
        else:
            event(_log, "drain ran out of time", level=logging.WARNING, drain_ms=config.drain_ms)
    finally:
        await _cancel({draining})


async def _stop(supervisor: Supervisor, process: Process) -> None:
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.stop()
            await supervisor.cancel_all()
    except TimeoutError:
        event(_log, "stop ran out of time", level=logging.WARNING)
