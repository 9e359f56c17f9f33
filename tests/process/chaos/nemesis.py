"""Does to a running cluster what the plan says, and undoes it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import permutations
from typing import Final

from parti_cli.devcluster import Part
from parti_cli.errors import CliError
from parti_proto import admin_pb2
from tests.process.chaos.load import Load
from tests.process.chaos.network import Pair
from tests.process.chaos.plan import Kind, Lane, Trouble, troubles
from tests.process.chaos.ways import CLEAR, Condition
from tests.process.chaos.world import ChaosWorld

MEMBERS_MIN: Final = 3
MEMBERS_MAX: Final = 5
CUT: Final = Condition(cut=True)
AGAIN_S: Final = 0.5
PATIENCE_S: Final = 90.0  # an order may fail behind a cut, and is given again for so long

OnJoined = Callable[[str], Awaitable[None]]

log = logging.getLogger(__name__)

_PARTS: Final = {
    Kind.KILL_SIDECAR: Part.SIDECAR,
    Kind.KILL_WORKER: Part.WORKER,
    Kind.FREEZE_SIDECAR: Part.SIDECAR,
    Kind.FREEZE_WORKER: Part.WORKER,
}


class Nemesis:
    """All trouble of one run. `done` counts it by kind."""

    def __init__(self, world: ChaosWorld, load: Load, on_joined: OnJoined) -> None:
        self.done: Counter[Kind] = Counter()
        self._world = world
        self._load = load
        self._on_joined = on_joined
        self._members = world.cluster.running()
        self._leader = self._members[0]  # as last known
        self._stopping = asyncio.Event()
        self._acts: dict[Kind, Callable[[Trouble], Awaitable[None]]] = {
            Kind.JOIN: self._join,
            Kind.DRAIN: self._drain,
            Kind.REMOVE: self._remove,
            Kind.RESTART: self._restart,
            Kind.FULL_RESTART: self._full_restart,
            Kind.RESET: self._reset,
            Kind.HALF_OPEN: self._half_open,
            Kind.SLOW_DISK: self._slow_disk,
            Kind.SLOW_DISK_OF_LEADER: self._slow_disk,
        }

    async def rage(self, seed: int, seconds: float) -> None:
        """Do what the seed says for so long; everything is undone at the end."""
        self._stopping.clear()
        async with asyncio.TaskGroup() as lanes:
            for lane in Lane:
                lanes.create_task(self._run(lane, seed))
            await asyncio.sleep(seconds)
            self._stopping.set()
            self._world.network.heal()

    # --- lanes ---

    async def _run(self, lane: Lane, seed: int) -> None:
        for trouble in troubles(lane, seed):
            await self._pause(trouble.rest_ms)
            if self._stopping.is_set():
                return
            await self._find_leader()
            log.info("%s", trouble)
            await self._act(trouble)
            self.done[trouble.kind] += 1

    async def _act(self, trouble: Trouble) -> None:
        kind = trouble.kind
        if kind in self._acts:
            await self._acts[kind](trouble)
        elif kind.startswith("kill"):
            await self._kill(trouble)
        elif kind.startswith("freeze"):
            await self._freeze(trouble)
        else:
            await self._worsen(trouble)

    async def _pause(self, ms: int) -> None:
        """Wait so long, or until it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ms / 1000):
                await self._stopping.wait()

    async def _find_leader(self) -> None:
        """Ask everybody who leads; perhaps nobody knows."""
        asked = (self._world.leader(name) for name in self._members)
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, str) and answer:
                self._leader = answer
            elif isinstance(answer, Exception) and not isinstance(answer, CliError):
                raise answer

    def _victim(self, trouble: Trouble) -> str:
        if "leader" in trouble.kind and self._leader in self._members:
            return self._leader
        return self._members[trouble.victim % len(self._members)]

    def _others(self, member: str) -> list[str]:
        return [name for name in self._members if name != member]

    # --- processes ---

    async def _kill(self, trouble: Trouble) -> None:
        await self._world.kill(self._victim(trouble), part=_PARTS.get(trouble.kind, Part.ALL))
        await self._pause(trouble.for_ms)
        await asyncio.to_thread(self._world.cluster.start_ended)

    async def _freeze(self, trouble: Trouble) -> None:
        victim, part = self._victim(trouble), _PARTS.get(trouble.kind, Part.ALL)
        self._world.pause(victim, part)
        try:
            await self._pause(trouble.for_ms)
        finally:
            self._world.resume(victim, part)

    async def _full_restart(self, trouble: Trouble) -> None:
        await self._world.kill(*self._members)
        await self._pause(trouble.for_ms)
        await asyncio.to_thread(self._world.cluster.start_ended)

    async def _restart(self, trouble: Trouble) -> None:
        await asyncio.to_thread(self._world.cluster.restart, self._victim(trouble))

    # --- membership ---

    async def _join(self, trouble: Trouble) -> None:
        if len(self._members) >= MEMBERS_MAX:
            await self._remove(trouble)
        name = await asyncio.to_thread(self._world.cluster.add)
        self._members.append(name)
        await self._on_joined(name)

    async def _remove(self, trouble: Trouble) -> None:
        if len(self._members) <= MEMBERS_MIN:
            await self._join(trouble)
        victim = self._victim(trouble)
        self._members.remove(victim)
        await self._load.leave(victim)
        await self._insist(lambda: asyncio.to_thread(self._world.cluster.remove, victim))

    async def _drain(self, trouble: Trouble) -> None:
        victim = self._victim(trouble)
        await self._insist(lambda: self._intend(victim, admin_pb2.INTENT_DRAIN))
        await self._pause(trouble.for_ms)
        await self._insist(lambda: self._intend(victim, admin_pb2.INTENT_NONE))

    async def _intend(self, member: str, intent: admin_pb2.Intent) -> None:
        await self._world.set_intent(member, intent, asked=self._others(member)[0])

    async def _insist(self, order: Callable[[], Awaitable[None]]) -> None:
        """Give an order until it is taken; behind a cut it may not be."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await order()
                except CliError as error:
                    log.info("again, because: %s", error)
                else:
                    return
                await asyncio.sleep(AGAIN_S)

    # --- network ---

    async def _worsen(self, trouble: Trouble) -> None:
        pairs, condition = self.pairs(trouble), condition_of(trouble)
        self._world.network.change(pairs, condition)
        await self._pause(trouble.for_ms)
        self._world.network.change(pairs, CLEAR)

    def pairs(self, trouble: Trouble) -> list[Pair]:
        """The ways that a trouble of the network touches."""
        victim = self._victim(trouble)
        others = self._others(victim)
        other = others[trouble.other % len(others)]
        there, back = [(victim, each) for each in others], [(each, victim) for each in others]
        match trouble.kind:
            case Kind.CUT_ONE_WAY:
                return [(victim, other)]
            case Kind.CUT_PAIR:
                return [(victim, other), (other, victim)]
            case Kind.DEAF:
                return back
            case Kind.MUTE:
                return there
            case Kind.CUT_OFF | Kind.CUT_OFF_LEADER:
                return there + back
            case _:
                return list(permutations(self._members, 2))

    async def _reset(self, trouble: Trouble) -> None:
        victim = self._victim(trouble)
        for other in self._others(victim):
            for relay in self._world.network.between(victim, other):
                relay.reset()

    async def _half_open(self, trouble: Trouble) -> None:
        victim = self._victim(trouble)
        others = self._others(victim)
        for relay in self._world.network.between(victim, others[trouble.other % len(others)]):
            relay.half_open()

    # --- disks ---

    async def _slow_disk(self, trouble: Trouble) -> None:
        victim = self._victim(trouble)
        self._world.set_disk(victim, trouble.strength)
        await self._pause(trouble.for_ms)
        self._world.set_disk(victim, 0)


def condition_of(trouble: Trouble) -> Condition:
    """How it treats them."""
    match trouble.kind:
        case Kind.DELAY:
            return Condition(delay_ms=trouble.strength)
        case Kind.THROTTLE:
            return Condition(bytes_per_s=trouble.strength)
        case _:
            return CUT
