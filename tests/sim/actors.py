"""Whatever runs on a machine: alive or not, frozen or not; what comes in meanwhile waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tests.sim.clocks import MILLION
from tests.sim.loops import ActorLoop
from tests.sim.network import End
from tests.sim.timeline import S

if TYPE_CHECKING:
    from tests.sim.machine import Machine

WRITE_STALL_US = 10 * S
INTERRUPTED = 0.3  # how often something comes between two writes of a task


class Actor:
    """One run of a program."""

    def __init__(self, machine: Machine, rng: Random) -> None:
        self.machine = machine
        self.world = machine.world
        self._timeline = machine.world.timeline
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

    def after(self, delay_us: int, action: Callable[[], object]) -> None:
        """Plan by the clock of its machine."""
        real_us = delay_us * MILLION // (MILLION + self.machine.clock.rate_ppm)
        self._timeline.after(real_us, partial(self.enter, action))

    def now_ms(self) -> int:
        return self.machine.clock.read_ms(self._timeline.now_us)

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


class Pump:
    """The writer of a stream: takes until nothing is left, waits while the stream is full.

    It takes at once when it is woken, but once in a round of the loop, as `FrameStream` does. One
    that is not `prompt` takes in the next round, and others may come between any two frames: it is
    a task that waits for each write.
    """

    def __init__(
        self, loop: ActorLoop, end: End, take: Callable[[], object | None], *, prompt: bool
    ) -> None:
        self._actor = end.process
        self._timeline = end.process.world.timeline
        self._loop = loop
        self._end = end
        self._take = take
        self._prompt = prompt
        self._planned = False
        self._free_us = 0  # when it may take again
        self._written = 0
        self._plan()

    def wake(self) -> None:
        if self._planned:
            return
        if self._prompt and self._timeline.now_us >= self._free_us:
            self._pump()
        else:
            self._plan()

    def _plan(self) -> None:
        self._planned = True
        at_us = max(self._free_us, self._timeline.now_us + self._loop.round_us())
        self._timeline.at(at_us, self._due)

    def _due(self) -> None:
        self._actor.enter(self._step)

    def _step(self) -> None:
        self._planned = False
        self._pump()

    def _pump(self) -> None:
        end = self._end
        self._free_us = self._timeline.now_us + self._loop.round_us()
        while end.open:
            if end.full:
                self._wait_for_room()
                return
            frame = self._take()
            if frame is None:
                return
            self._written += 1
            end.send(frame)
            if not self._prompt and self._actor.rng.random() < INTERRUPTED:
                self._plan()
                return

    def _wait_for_room(self) -> None:
        self._planned = True
        self._end.on_room = self._step
        written = self._written
        self._actor.after(WRITE_STALL_US, lambda: self._stalled(written))

    def _stalled(self, written: int) -> None:
        if self._written == written and self._end.full and self._end.open:
            self._end.give_up()
