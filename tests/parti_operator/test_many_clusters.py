"""Five hundred PartiClusters on one operator: what they cost, and that nothing runs hot.

Prints its figures; run with `-s` to see them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import Counter

from parti_operator.kube_api import PARTI_CLUSTER, POD
from tests.parti_operator.instant_world import InstantSidecars, run_pods
from tests.parti_operator.rig import OperatorRun, Rig

CLUSTERS = 500
IDLE_REQUESTS_MAX = 60  # of one idle cluster in an hour, watches aside
KIB_PER_CLUSTER_MAX = 150
PASS_MS_MAX = 20  # of one core


def _phases(rig: Rig) -> Counter[str]:
    clusters = rig.kube.all(PARTI_CLUSTER)
    return Counter((cluster.get("status") or {}).get("phase", "") for cluster in clusters)


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the figures are what this is for


async def _idle(rig: Rig, run: OperatorRun, seconds: int) -> tuple[int, int]:
    """Requests and passes of some time in which nothing happens."""
    requests, passes = rig.kube.requests(), run.queue.stats.runs
    await asyncio.sleep(seconds)
    return rig.kube.requests() - requests, run.queue.stats.runs - passes


def test_one_idle_cluster_costs_few_requests() -> None:
    rig = Rig(outside=InstantSidecars())
    run_pods(rig.kube)

    async def main() -> None:
        run = await rig.operator()
        rig.create()
        await rig.until(lambda: _phases(rig) == {"Ready": 1}, "ready")
        await asyncio.sleep(600)
        requests, passes = await _idle(rig, run, 3_600)
        _say(f"one idle cluster: {requests} requests and {passes} passes in an hour")
        assert requests <= IDLE_REQUESTS_MAX
        assert passes <= 60
        await run.end()

    rig.play(main)


def test_five_hundred_clusters() -> None:
    rig = Rig(outside=InstantSidecars())
    run_pods(rig.kube)
    for number in range(CLUSTERS):
        rig.create(name=f"c{number}", uid=f"uid-{number}")

    async def main() -> None:
        run = await rig.operator()
        await _make(rig, run)
        await _rest(rig, run)
        await run.end()
        await _take_over(rig)

    rig.play(main)


async def _make(rig: Rig, run: OperatorRun) -> None:
    cpu_s = time.process_time()
    took_s = await rig.until(lambda: _phases(rig) == {"Ready": CLUSTERS}, "all ready")
    cpu_s = time.process_time() - cpu_s
    made = run.queue.stats.runs
    _say(f"{CLUSTERS} made: {took_s:.1f} s (virtual), {made} passes, {cpu_s:.1f} s of a core")
    assert len(list(rig.kube.all(POD))) == 3 * CLUSTERS
    await asyncio.sleep(120)


async def _rest(rig: Rig, run: OperatorRun) -> None:
    cpu_s = time.process_time()
    requests, passes = await _idle(rig, run, 300)
    cpu_s = time.process_time() - cpu_s
    _say(
        f"idle: {12 * requests / CLUSTERS:.2f} requests and {12 * passes / CLUSTERS:.0f} passes a "
        f"cluster and hour, {1_000 * cpu_s / passes:.2f} ms of a core a pass"
    )
    assert 12 * requests / CLUSTERS <= IDLE_REQUESTS_MAX
    assert 12 * passes <= 60 * CLUSTERS
    assert 1_000 * cpu_s / passes < PASS_MS_MAX


async def _take_over(rig: Rig) -> None:
    """Another replica, which finds all as it is: the memory that it keeps."""
    run = await rig.operator()
    for key in run.cache.clusters():
        run.queue.add(key)
    await asyncio.sleep(30)
    await run.end()
    assert run.queue.stats.runs >= CLUSTERS
    kib = (_size(run.cache) + _size(run.reconciler)) / CLUSTERS / 1_024
    _say(f"memory: {kib:.0f} KiB a cluster of three pods")
    assert kib < KIB_PER_CLUSTER_MAX


def _size(root: object) -> int:
    """Bytes of the containers and texts that `root` keeps, each counted once."""
    seen: set[int] = set()
    waiting = list(vars(root).values())
    total = 0
    while waiting:
        found = waiting.pop()
        if id(found) in seen or not isinstance(found, dict | list | set | tuple | str | int):
            continue
        seen.add(id(found))
        total += sys.getsizeof(found)
        waiting += gc.get_referents(found)
    return total
