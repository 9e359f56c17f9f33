"""The event loop of a simulated program: enough of asyncio's that engines, tasks, futures, timeouts
and locks run on it unchanged, under virtual time and in an order that the seed alone decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from tests.sim.timeline import S, Timer

if TYPE_CHECKING:
    from tests.sim.actors import Actor

Result = TypeVar("Result")

ROUND_US: Final = 120  # at most so long until a busy loop gets to what was planned


class ActorLoop:
    """See the module's docstring. What it runs waits while its actor is frozen."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self._timeline = actor.world.timeline
        self._random = actor.rng.random
        self._ready: list[Callable[[], object]] = []
        self._has_tasks = False  # who asks which loop runs
        self._tasks: dict[asyncio.Task[Any], Coroutine[Any, Any, Any]] = {}
        actor.world.loops.append(self)

    # -- what the engine uses

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> None:
        step = partial(callback, *args) if args else callback
        if context is not None:
            step = partial(context.run, step)
            self._has_tasks = True
        ready = self._ready
        ready.append(step)
        if len(ready) == 1:
            self._timeline.after(self.round_us(), self._due)

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Timer:
        step = partial(callback, *args)
        timer = Timer(step if context is None else partial(context.run, step))
        self.actor.after(max(0, round(delay * S)), timer)
        return timer

    def is_closed(self) -> bool:
        return not self.actor.alive

    def round_us(self) -> int:
        """How long the present round of the loop takes."""
        return 1 + int(self._random() * ROUND_US)

    def _due(self) -> None:
        self.actor.enter(self._round)

    def _round(self) -> None:
        ready, self._ready = self._ready, []
        tasks, self._has_tasks = self._has_tasks, False
        if tasks:
            asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", self))
        try:
            for callback in ready:
                if self.actor.alive:
                    callback()
        finally:
            if tasks:
                asyncio._set_running_loop(None)

    # -- what tasks and futures use

    def create_task(
        self, coro: Coroutine[Any, Any, Result], *, name: str | None = None
    ) -> asyncio.Task[Result]:
        loop = cast("asyncio.AbstractEventLoop", self)
        task = asyncio.Task(coro, loop=loop, name=name)
        self._tasks[task] = coro
        task.add_done_callback(self._tasks.pop)
        return task

    def close(self) -> None:
        """The run is over: end what still waits here, in its loop, and not wherever its memory is
        collected.
        """
        asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", self))
        try:
            for coro in list(self._tasks.values()):
                with suppress(RuntimeError):  # it wants to wait for others before it ends
                    coro.close()
        finally:
            asyncio._set_running_loop(None)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast("asyncio.AbstractEventLoop", self))

    def time(self) -> float:
        return self._timeline.now_us / S

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Timer:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tasks of a program that was killed are told of here; their failures are seen before."""
