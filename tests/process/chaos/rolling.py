"""A rolling restart under load: no request may fail, and pauses are measured."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.process.chaos.judge import Judge, Window
from tests.process.chaos.load import Demand, Load
from tests.process.chaos.pauses import pauses_ms
from tests.process.chaos.report import Report
from tests.process.chaos.world import ChaosWorld, chaos_world
from tests.process.recorder import boottime_ns

PARTITIONS = 64
TIMEOUT_S = 30.0


async def rolling_restart(folder: Path, members: int, *, per_s: float, seed: int) -> Report:
    """Restart one member after the other, each as soon as the last one serves again."""
    async with chaos_world(folder, members, PARTITIONS) as world:
        load = Load(Demand(per_s, PARTITIONS, timeouts_s=(TIMEOUT_S,)), seed)
        for member in world.cluster.running():
            # As applications do: what certainly did not run is sent again within its timeout.
            await load.join(member, world.cluster.addresses(member).app, retries=(True,))
        load.start()
        begun_ns = boottime_ns()
        for member in world.cluster.running():
            await asyncio.to_thread(world.cluster.restart, member)
            await world.wait_spread(members, PARTITIONS)
        ended_ns = boottime_ns()
        await load.stop()
        report = _judged(world, load, begun_ns, ended_ns)
        report.seeds, report.troubles["restart"] = [seed], members
        await load.close()
    return report


def _judged(world: ChaosWorld, load: Load, begun_ns: int, ended_ns: int) -> Report:
    stays, judge = world.reader.read(), Judge()
    judge.judge(Window(stays, load.take_sent(), boottime_ns()))
    report = Report(seconds=(ended_ns - begun_ns) / 1e9)
    report.add_tally(judge.tally)
    report.add_pauses(pauses_ms(stays, PARTITIONS, begun_ns, ended_ns))
    return report
