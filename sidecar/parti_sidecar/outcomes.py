"""Callers that wait for what becomes of their commands, or for a turn that makes something true."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from parti_shard.effects import Effects
from parti_shard.errors import Executed, Failure, PartiError, Reason

OUTCOME_TIMEOUT_S = 10.0


class Caller(ABC):
    """Asked a member for something and is told in the turn that brings the outcome."""

    @abstractmethod
    def answered(self, value: object) -> None:
        """It was done; for a read, the state that may be read has come."""

    @abstractmethod
    def failed(self, failure: Failure) -> None:
        """It was not done, or what became of it is not known."""


class Outcomes:
    """Belongs to one running loop; `deliver` is called after every turn."""

    def __init__(self) -> None:
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def deliver(self, effects: Effects) -> None:
        """Tell everybody whose outcome is known or whose condition holds."""
        for tag, value in (*effects.applied, *effects.reads):
            if isinstance(tag, Caller):
                tag.answered(value)
            elif isinstance(tag, asyncio.Future) and not tag.done():
                tag.set_result(value)
        for tag, failure in effects.failed:
            if isinstance(tag, Caller):
                tag.failed(failure)
            elif isinstance(tag, asyncio.Future) and not tag.done():
                tag.set_exception(PartiError(failure))
        if self._waiters:
            self._check_waiters()

    async def of(self, ask: Callable[[asyncio.Future[object]], None]) -> object:
        """Ask with a future as the tag and wait for what becomes of it."""
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        ask(future)
        try:
            async with asyncio.timeout(OUTCOME_TIMEOUT_S):
                return await future
        except TimeoutError:
            raise not_known(f"not known to be applied within {OUTCOME_TIMEOUT_S:.0f} s") from None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, as long as the caller wants, until a turn makes it true."""
        if condition():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((condition, waiter))
        await waiter

    def _check_waiters(self) -> None:
        waiting = []
        for condition, waiter in self._waiters:
            if waiter.done():
                continue
            if condition():
                waiter.set_result(None)
            else:
                waiting.append((condition, waiter))
        self._waiters = waiting


def not_known(text: str) -> PartiError:
    """The time is over and the outcome is open."""
    return PartiError(Failure(Reason.DEADLINE_EXCEEDED, Executed.UNKNOWN, text))
