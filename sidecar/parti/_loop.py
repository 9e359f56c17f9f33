"""The event loop of programs that leave it to the SDK: uvloop where installed, it is quicker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the best loop there is."""
    try:
        import uvloop  # noqa: PLC0415 - optional: the client installs without it
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run_with_best_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a program, like `asyncio.run`."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)
