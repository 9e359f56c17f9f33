"""Writes to the store whose first answer is lost, every one of them: each counts once.

In rounds. The way of answers is cut and every writer writes once. When the store's revision shows
that all were applied, the connections are reset, in some rounds the leader is killed, and the cut
is healed: the SDK sends all of them again. Then every answer must be that of the first time, and
the revision must not have moved: a write that is applied twice takes a second one.

Half of the writers count by compare-and-set from the revision they got last, so a wrong answer of
one round also breaks the next one. Snapshots are forced often, with the sessions in them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import parti
from parti._transport import open_channel, stream_address_call
from parti.kv import Kv
from parti_cli.devcluster import Part
from tests.process.chaos.network import HOST, VIA, Network
from tests.process.chaos.ways import Condition
from tests.process.chaos.world import ChaosWorld, chaos_world

MEMBERS: Final = 3
WRITERS_MAX: Final = 1_000  # of one client: a session takes no more unacknowledged writes
ROUND_S_MAX: Final = 60.0
TIMEOUT_S: Final = 120.0
KILL_EVERY_ROUNDS: Final = 4
POLL_S: Final = 0.01
CALL_S: Final = 10.0
SNAPSHOT_OFTEN: Final = ("--snapshot-every-entries", "64")
_CLIENT: Final = "client"


@dataclass(slots=True)
class Writer:
    """Writes to a key of its own, once in each round."""

    kv: Kv
    key: str
    counts: bool  # by compare-and-set
    revision: int = 0
    written: int = 0

    async def write(self) -> None:
        """Write the next number; fails if the answer is not that of a write that was applied."""
        value = str(self.written + 1)
        if self.counts:
            result = await self.kv.cas(self.key, value, expect=self.revision, timeout=TIMEOUT_S)
            assert result.ok, f"{self.key}: refused at {result.revision}, not {self.revision}"
            revision = result.revision
        else:
            revision = await self.kv.put(self.key, value, timeout=TIMEOUT_S)
        assert revision > self.revision, f"{self.key}: revision {revision} after {self.revision}"
        self.revision = revision
        self.written += 1


@dataclass(slots=True)
class Figures:
    """What was done."""

    writes: int = 0
    rounds: int = 0
    leaders_killed: int = 0
    seconds: float = 0.0
    connections_reset: int = 0


@dataclass(slots=True)
class Trial:
    """A cluster, writers whose answers can be lost, and clients that see what is stored."""

    world: ChaosWorld
    network: Network
    watchers: dict[str, parti.Client]
    writers: list[Writer]
    figures: Figures = field(default_factory=Figures)
    _relayed: set[int] = field(default_factory=set)  # ports

    async def relay(self, member: str) -> None:
        """Stand for the app API of a member that has just begun, and for its streams, whose port
        is another one every time.
        """
        app = self.world.cluster.addresses(member).app
        ports = {int(app.rpartition(":")[2]), await _stream_port(app)} - self._relayed
        self._relayed |= ports
        await self.network.add(member, ports)

    async def begin(self) -> None:
        """Every writer writes once undisturbed: the clients have their sessions after it."""
        await asyncio.gather(*(writer.write() for writer in self.writers))

    async def round(self, *, kill: bool) -> None:
        """Every writer writes once and loses its answer."""
        expected = await self.revision() + len(self.writers)
        answers = [(member, _CLIENT) for member in self.watchers]
        self.network.change(answers, Condition(cut=True))
        async with asyncio.timeout(ROUND_S_MAX), asyncio.TaskGroup() as group:
            writing = [group.create_task(writer.write()) for writer in self.writers]
            await self._wait_applied(expected)
            assert not any(task.done() for task in writing), "an answer came through"
            self._reset()
            if kill:
                await self._kill_leader()
            self.network.heal()
        assert await self.revision() == expected, f"{await self.revision()}, not {expected}"
        self.figures.rounds += 1
        self.figures.writes += len(self.writers)

    async def check(self) -> None:
        """What is stored is what was answered."""
        kv = next(iter(self.watchers.values())).kv
        for writer in self.writers:
            entry = await kv.get(writer.key)
            assert entry is not None, f"{writer.key} is absent"
            found = (int(entry.value), entry.revision)
            assert found == (writer.written, writer.revision), f"{writer}: {entry}"

    async def revision(self) -> int:
        """The store's, asked from a member that answers."""
        asked = [client.kv.page(limit=1, timeout=TIMEOUT_S) for client in self.watchers.values()]
        tasks = [asyncio.ensure_future(each) for each in asked]
        done, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        return max(task.result().revision for task in done)

    async def _wait_applied(self, expected: int) -> None:
        reached = await self.revision()
        while reached < expected:
            await asyncio.sleep(POLL_S)
            reached = await self.revision()
        assert reached == expected, f"revision {reached}, not {expected}"

    def _reset(self) -> None:
        for member in self.watchers:
            for relay in self.network.between(_CLIENT, member):
                relay.reset()
                self.figures.connections_reset += 1

    async def _kill_leader(self) -> None:
        leader = await self.world.leader(self.world.cluster.running()[0])
        if leader:
            await self.world.kill(leader, part=Part.SIDECAR)
            await asyncio.to_thread(self.world.cluster.start_ended)
            await self.relay(leader)
            self.figures.leaders_killed += 1


async def _stream_port(app: str) -> int:
    async with open_channel(app) as channel:
        reply = await stream_address_call(channel, CALL_S)
    port: int = reply.port
    return port


@asynccontextmanager
async def _trial(folder: Path, writers: int) -> AsyncIterator[Trial]:
    async with (
        chaos_world(folder, MEMBERS, partitions=8, arguments=SNAPSHOT_OFTEN) as world,
        AsyncExitStack() as stack,
    ):
        network = Network(lambda: {os.getpid(): _CLIENT})
        stack.push_async_callback(network.close)
        trial = Trial(world, network, {}, [])
        for member in world.cluster.running():
            app = world.cluster.addresses(member).app
            await trial.relay(member)
            trial.watchers[member] = await stack.enter_async_context(parti.Client(app))
            client = await stack.enter_async_context(parti.Client(app.replace(HOST, VIA)))
            trial.writers += [
                Writer(client.kv, f"{member}/{number}", counts=number % 2 == 0)
                for number in range(writers)
            ]
        yield trial


async def exactly_once(folder: Path, writes: int) -> Figures:
    """Make so many writes, or a few more."""
    writers = min(WRITERS_MAX, max(1, writes // (MEMBERS * KILL_EVERY_ROUNDS)))
    async with _trial(folder, writers) as trial:
        begun = asyncio.get_running_loop().time()
        await trial.begin()
        while trial.figures.writes < writes:
            following = trial.figures.rounds + 1
            await trial.round(kill=following % KILL_EVERY_ROUNDS == 0)
        await trial.check()
        trial.figures.seconds = asyncio.get_running_loop().time() - begun
        return trial.figures
