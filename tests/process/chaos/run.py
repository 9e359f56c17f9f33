"""One run: episodes of trouble under load, each healed, quiet at its end, and judged.

An episode ends with everything undone. Then, within a bounded time, every partition must be served
through every sidecar, no process may have ended by itself, and every message has its outcome.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import parti
from tests.lincheck.history import History
from tests.lincheck.judge import judge as judge_history
from tests.process.chaos.judge import Judge, Window
from tests.process.chaos.kv_load import KvHistory, KvProcess
from tests.process.chaos.load import Demand, Load
from tests.process.chaos.nemesis import Nemesis
from tests.process.chaos.pauses import pauses_ms
from tests.process.chaos.report import Report
from tests.process.chaos.world import ChaosWorld, chaos_world
from tests.process.recorder import boottime_ns

KV_PROCESSES: Final = 4  # on each member
KV_PAUSE_S: Final = 0.03
KV_STATES_MAX: Final = 200_000  # configurations that are looked at for one key
SERVED_S_MAX: Final = 60.0
CLIENTS: Final = (False, True)  # on each member: one that keeps order, one that retries

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run."""

    seed: int
    seconds: float
    members: int = 3
    partitions: int = 64
    per_s: float = 2_000.0
    episode_s: float = 40.0


class Run:
    """A cluster, its load and its nemesis."""

    def __init__(self, world: ChaosWorld, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._judge = Judge()
        self._report = Report(seeds=[settings.seed])
        self._load = Load(Demand(settings.per_s, settings.partitions), settings.seed)
        self._nemesis = Nemesis(world, self._load, self._joined)

    async def run(self) -> Report:
        """Everything; the report is whole also if there are faults."""
        for member in self._world.cluster.running():
            await self._joined(member)
        count = max(1, round(self._settings.seconds / self._settings.episode_s))
        for episode in range(count):
            await self._episode(episode, self._settings.seconds / count)
        await self._load.close()
        self._report.troubles.update({kind.value: n for kind, n in self._nemesis.done.items()})
        self._report.held_back = self._load.held_back
        self._report.stalls_ms = self._load.stalls_ms
        self._report.add_tally(self._judge.tally)
        return self._report

    async def _joined(self, member: str) -> None:
        address = self._world.cluster.addresses(member).app
        ordered, _ = await self._load.join(member, address, CLIENTS)
        self._judge.ordered.add(ordered)

    async def _episode(self, number: int, seconds: float) -> None:
        seed = self._settings.seed * 1_000 + number
        begun_ns = boottime_ns()
        history = KvHistory(f"{self._settings.seed}.{number}")
        self._load.start()
        async with asyncio.TaskGroup() as group:
            stopping = asyncio.Event()
            group.create_task(self._use_store(history, seed, stopping))
            await self._nemesis.rage(seed, seconds)
            stopping.set()
        ended_ns = boottime_ns()
        self._report.seconds += (ended_ns - begun_ns) / 1e9
        await self._load.stop()
        await self._expect_served()
        self._look(begun_ns, ended_ns)
        await self._judge_history(history)
        log.info("episode %d is over: %s", number, self._judge.tally.outcomes)

    async def _use_store(self, history: KvHistory, seed: int, stopping: asyncio.Event) -> None:
        """Several processes on each member that is there now."""
        async with asyncio.TaskGroup() as group:
            for at, member in enumerate(self._world.cluster.running()):
                group.create_task(self._use_store_at(member, history, seed + at, stopping))

    async def _use_store_at(
        self, member: str, history: KvHistory, seed: int, stopping: asyncio.Event
    ) -> None:
        async with (
            parti.Client(self._world.cluster.addresses(member).app) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(KV_PROCESSES):
                process = KvProcess(f"{member}.{number}", client, history, seed + number)
                group.create_task(
                    process.run(KV_PAUSE_S, lambda: stopping.is_set() or not self._load.has(member))
                )

    async def _expect_served(self) -> None:
        """Every partition answers through every sidecar."""
        ended = self._world.ended_by_themselves()
        assert not ended, f"ended by themselves: {', '.join(ended)}"
        begun = time.monotonic()
        demand = Demand(0, self._settings.partitions, timeouts_s=(SERVED_S_MAX,))
        await self._load.visit_all(demand)
        self._report.recovery_ms.append(round((time.monotonic() - begun) * 1000))

    def _look(self, begun_ns: int, ended_ns: int) -> None:
        stays = self._world.reader.read()
        sent = self._load.take_sent()
        window = Window(
            stays, sent, boottime_ns(), self._world.ended_ns, tuple(self._world.freezes)
        )
        self._judge.judge(window)
        self._report.add_pauses(pauses_ms(stays, self._settings.partitions, begun_ns, ended_ns))

    async def _judge_history(self, history: KvHistory) -> None:
        verdicts, stories = await asyncio.to_thread(judge_keys, history.history())
        self._report.kv_operations.update(history.outcomes)
        self._report.kv_keys.update(verdicts)
        self._report.told += stories


def judge_keys(history: History) -> tuple[Counter[str], list[str]]:
    """The verdict on each key, and why on those that are not linearizable."""
    verdicts: Counter[str] = Counter()
    stories = []
    for operations in history.by_key().values():
        found = judge_history(History(tuple(operations), history.initial), KV_STATES_MAX)
        verdicts[found.verdict.value] += 1
        if found.stuck is not None and found.verdict is found.verdict.NOT_LINEARIZABLE:
            stories.append(found.story())
    return verdicts, stories


async def run(settings: Settings, folder: Path) -> Report:
    """Run once in an empty folder."""
    async with chaos_world(folder, settings.members, settings.partitions) as world:
        return await Run(world, settings).run()
