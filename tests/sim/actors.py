"""Whatever runs on a machine: alive or not, frozen or not; what comes in meanwhile waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim.clocks import MILLION
from tests.sim.network import End
from tests.sim.timeline import S, Timer

if TYPE_CHECKING:
    from tests.sim.machine import Machine

ROUND_US = 120  # at most so long until a busy loop gets to what was planned
WRITE_STALL_US = 10 * S


class Actor:
    """One run of a program."""

    def __init__(self, machine: Machine, rng: Random) -> None:
        self.machine = machine
        self.world = machine.world
        self.rng = rng
        self.alive = True
        self.paused = False
        self.ends: dict[End, None] = {}
        self._backlog: deque[Callable[[], object]] = deque()

    def enter(self, action: Callable[[], object]) -> None:
        """Something happens to this program: now, or when it runs again."""
        if not self.alive:
            return
        if self.paused:
            self._backlog.append(action)
        else:
            action()

    def after(self, delay_us: int, action: Callable[[], object]) -> Timer:
        """Plan by the clock of its machine."""
        rate_ppm = self.machine.clock.rate_ppm
        real_us = delay_us * MILLION // (MILLION + rate_ppm)
        return self.world.timeline.after(real_us, lambda: self.enter(action))

    def now_ms(self) -> int:
        return self.machine.clock.read_ms(self.world.timeline.now_us)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        """Go on: everything that waited happens now, one after the other."""
        self.paused = False
        while self._backlog and self.alive and not self.paused:
            self._backlog.popleft()()

    def die(self, *, quietly: bool = False) -> None:
        """The end of the run, without any last words of its own."""
        if self.alive:
            self.alive = False
            self._backlog.clear()
            for end in list(self.ends):
                end.close(quietly=quietly)


class ActorLoop:
    """The event loop of a program, as far as the engine uses one."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._ready: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self._ready.append(partial(callback, *args))
        if len(self._ready) == 1:
            actor = self._actor
            delay_us = actor.rng.randrange(ROUND_US)
            actor.world.timeline.after(delay_us, lambda: actor.enter(self._round))

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        return self._actor.after(round(delay * S), partial(callback, *args))

    def is_closed(self) -> bool:
        return not self._actor.alive

    def _round(self) -> None:
        ready, self._ready = self._ready, []
        for callback in ready:
            if self._actor.alive:
                callback()


class Pump:
    """The writer of a stream: takes until nothing is left, waits while the stream is full."""

    def __init__(
        self, actor: Actor, loop: ActorLoop, end: End, take: Callable[[], object | None]
    ) -> None:
        self._actor = actor
        self._loop = loop
        self._end = end
        self._take = take
        self._idle = False
        self._written = 0
        loop.call_soon(self._step)

    def wake(self) -> None:
        if self._idle:
            self._idle = False
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        end = self._end
        if not end.open:
            return
        if end.full:
            end.on_room = self._step
            written = self._written
            self._actor.after(WRITE_STALL_US, lambda: self._stalled(written))
            return
        frame = self._take()
        if frame is None:
            self._idle = True
            return
        self._written += 1
        end.send(frame)
        self._loop.call_soon(self._step)

    def _stalled(self, written: int) -> None:
        if self._written == written and self._end.full and self._end.open:
            self._end.give_up()
