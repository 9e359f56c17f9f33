"""A whole operator on a world in memory and on virtual time, without kopf and without gRPC.

`Rig.play(script)` runs the world and an operator beside a script. The operator can be crashed
before or after any action and started anew; all it remembers is then gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from parti_operator.act import Actor
from parti_operator.cache import Cache, ClusterKey
from parti_operator.events import Recorder
from parti_operator.failpoints import Failpoints
from parti_operator.kube_api import (
    CLAIM,
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    NODE,
    PARTI_CLUSTER,
    POD,
    SERVICE,
    STATEFUL_SET,
    Object,
)
from parti_operator.metrics import Metrics
from parti_operator.observe import Observer
from parti_operator.plan import plan, refuse
from parti_operator.queue import QueueLimits, WorkQueue
from parti_operator.reconciler import Reconciler
from parti_operator.resync import Resync
from parti_operator.sidecars import Sidecars
from tests.parti_operator.defaults import SIDECAR_IMAGE, particluster, with_defaults
from tests.parti_operator.memory_kube import MemoryKube
from tests.parti_operator.memory_sidecars import Cluster, MemorySidecars
from tests.parti_operator.memory_world import MemoryWorld
from tests.parti_operator.virtual_time import now_ms, run_virtual

STEP_S = 0.2
WALL_MS = 1_790_000_000_000  # of the moment when virtual time is 0
KINDS = (
    PARTI_CLUSTER,
    STATEFUL_SET,
    POD,
    CLAIM,
    SERVICE,
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    NODE,
)


def wall_ms() -> int:
    return WALL_MS + now_ms()


class Crash(BaseException):
    """The operator's process ends here."""


class Forever:
    """The lease is held for ever."""

    remaining_ms = 1_000_000


class OperatorRun:
    """One process of the operator."""

    def __init__(self, rig: Rig, failpoint: str = "") -> None:
        self.crashed = asyncio.Event()
        self.metrics = Metrics()
        self._rig = rig
        kube = rig.kube
        self.cache = Cache(self._changed)
        self.resync = Resync(
            kube,
            self.cache,
            kinds=KINDS,
            optional=(),
            namespaces=(),
            missed=lambda _plural, _number: None,
        )
        self.queue: WorkQueue[ClusterKey] = WorkQueue(
            self._reconcile, limits=QueueLimits(), jitter=rig.chance.random
        )
        observer = Observer(
            kube,
            self.cache,
            rig.asked,
            sidecar_image=SIDECAR_IMAGE,
            reads_nodes=True,
            optional_kinds=frozenset,
        )
        actor = Actor(
            kube,
            rig.asked,
            Forever(),
            failpoints=Failpoints(failpoint, self._crash),
            count=lambda action, outcome: self.metrics.actions.labels(action, outcome).inc(),
        )
        recorder = Recorder(
            kube, instance="op", clock_ms=now_ms, wall_ms=wall_ms, dropped=lambda _why: None
        )
        self.reconciler = Reconciler(
            kube,
            observer,
            actor,
            recorder,
            self.metrics,
            make_plan=plan,
            refuse=refuse,
            wall_ms=wall_ms,
        )
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        self._rig.kube.feed(self.cache)
        await self.resync.first()
        self._tasks = [
            asyncio.create_task(self.queue.run()),
            asyncio.create_task(self.resync.run(600_000)),
        ]

    async def end(self) -> None:
        """At once, as by a kill."""
        self._rig.kube.unfeed(self.cache)
        for task in self._tasks:
            task.cancel()
        await self.queue.drain(0)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _changed(self, key: ClusterKey) -> None:
        if not self.crashed.is_set():
            self.queue.add(key)

    def _crash(self) -> None:
        self.crashed.set()
        raise Crash

    async def _reconcile(self, key: ClusterKey) -> int | None:
        """A process that has crashed does nothing more, also not what follows an exception."""
        if self.crashed.is_set():
            return None
        try:
            return await self.reconciler.reconcile(key)
        except Crash:
            return None


class Rig:
    """The world, the API and whatever operators run."""

    def __init__(self, seed: int = 1, latency_ms: int = 1, outside: Sidecars | None = None) -> None:
        """With sidecars from `outside`, the world stands still but for what they do."""
        self.chance = random.Random(seed)
        self.kube = MemoryKube(latency_ms)
        self.sidecars = MemorySidecars()
        self.asked: Sidecars = outside or self.sidecars
        self.world = MemoryWorld(self.kube, self.sidecars)
        self._stands_still = outside is not None

    def play(self, script: Callable[[], Awaitable[None]]) -> None:
        """Run the script on virtual time, with the world going on around it."""

        async def main() -> None:
            world = asyncio.create_task(self._turn())
            try:
                await script()
            finally:
                world.cancel()
                await asyncio.gather(world, return_exceptions=True)

        run_virtual(main())

    async def operator(self, failpoint: str = "") -> OperatorRun:
        run = OperatorRun(self, failpoint)
        await run.start()
        return run

    def create(self, name: str = "orders", **spec: Any) -> Object:
        """A PartiCluster, with the defaults of the CRD."""
        return self.kube.put(particluster(name=name, **spec))

    def change(self, name: str = "orders", **spec: Any) -> None:
        found = self.cluster(name)
        wanted = with_defaults({**found, "spec": {**found["spec"], **spec}})
        self.kube.edit(PARTI_CLUSTER, "shop", name, {"spec": wanted["spec"]})

    def cluster(self, name: str = "orders") -> Object:
        found = self.kube.find(PARTI_CLUSTER, "shop", name)
        assert found is not None
        return found

    def status(self, name: str = "orders") -> dict[str, Any]:
        return dict(self.cluster(name).get("status") or {})

    def raft(self, name: str = "orders") -> Cluster:
        """The cluster as its sidecars have it."""
        [found] = [c for c in self.sidecars.clusters.values() if c.group == f"shop/{name}"]
        return found

    def pods(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.kube.all(POD)]

    def is_settled(self, replicas: int, name: str = "orders") -> bool:
        """So many pods, all ready, all partitions owned, and the status says so."""
        status = self.status(name)
        partitions = status.get("partitions") or {}
        return (
            status.get("phase") == "Ready"
            and status.get("observedGeneration") == self.cluster(name)["metadata"]["generation"]
            and status.get("ready") == f"{replicas}/{replicas}"
            and len(self.raft(name).members) == replicas
            and partitions.get("owned") == partitions.get("total")
        )

    async def until(
        self, condition: Callable[[], bool], what: str, within_s: float = 300.0
    ) -> float:
        """Wait for it; gives how long it took."""
        began_s = asyncio.get_running_loop().time()
        while not condition():
            waited_s = asyncio.get_running_loop().time() - began_s
            assert waited_s < within_s, f"not {what} within {within_s} s: {self.status()}"
            await asyncio.sleep(0.05)
        return asyncio.get_running_loop().time() - began_s

    async def _turn(self) -> None:
        while not self._stands_still:
            self.world.step()
            await asyncio.sleep(STEP_S)
