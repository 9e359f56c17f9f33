"""The application's functions, made uniform: async ones as they are, plain ones in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar, cast

from parti._values import Message

HandlerResult = bytes | str | None
AsyncHandler = Callable[[Message], Awaitable[HandlerResult]]
Handler = AsyncHandler | Callable[[Message], HandlerResult]
AsyncCallback = Callable[[int, int], Awaitable[None]]
Callback = AsyncCallback | Callable[[int, int], None]

T = TypeVar("T")


def is_async(function: Callable[..., object]) -> bool:
    """Tell whether calling it gives something to await."""
    call = getattr(function, "__call__", None)  # noqa: B004 - of an object with async __call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def async_handler(handler: Handler, threads: Executor) -> AsyncHandler:
    """Return a handler to await."""
    if is_async(handler):
        return cast("AsyncHandler", handler)
    plain = cast("Callable[[Message], HandlerResult]", handler)

    async def in_thread(message: Message) -> HandlerResult:
        return await run_in_thread(threads, functools.partial(plain, message))

    return in_thread


def async_callback(callback: Callback | None, threads: Executor) -> AsyncCallback | None:
    """Return a callback to await."""
    if callback is None or is_async(callback):
        return cast("AsyncCallback | None", callback)
    plain = cast("Callable[[int, int], None]", callback)

    async def in_thread(partition: int, epoch: int) -> None:
        await run_in_thread(threads, functools.partial(plain, partition, epoch))

    return in_thread


async def run_in_thread(threads: Executor, function: Callable[[], T]) -> T:
    """Run a function in a thread; a cancelled caller still waits until it has ended.

    A thread cannot be stopped, and a partition is only released when nothing of it runs.
    """
    job = threads.submit(contextvars.copy_context().run, function)
    running = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if not job.cancel():
            await asyncio.wait({running})
        raise
