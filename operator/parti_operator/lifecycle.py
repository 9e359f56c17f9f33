"""The life of the operator's process, from its first listing to the end it is asked for.

Order at the start: health (so that the kubelet sees a slow start), a full cache, watches, then the
election; only the elected replica works on the queue. Order at the end: no new pass, running ones
get their time, the lease is given up, the watches end. If the lease is lost or a task fails, the
process ends at once with an error: a new one starts from what is written down, which is all there
is.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
from dataclasses import dataclass

from parti_operator.act import Actor
from parti_operator.cache import Cache, ClusterKey
from parti_operator.config import OperatorConfig
from parti_operator.election import Election
from parti_operator.events import Recorder
from parti_operator.failpoints import Failpoints
from parti_operator.health import HealthServer, Vitals
from parti_operator.kube_api import (
    CLAIM,
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    NODE,
    PARTI_CLUSTER,
    POD,
    POD_MONITOR,
    SERVICE,
    STATEFUL_SET,
    KubeApi,
)
from parti_operator.metrics import Metrics
from parti_operator.observe import Observer
from parti_operator.queue import QueueLimits, WorkQueue
from parti_operator.reconciler import PlanMaker, Reconciler, Refuser
from parti_operator.resync import Resync
from parti_operator.sidecars import Sidecars
from parti_operator.watching import Watches
from parti_sidecar.clocks import lease_clock_ms, wall_clock_unix_ms
from parti_sidecar.logs import event

DRAIN_MS = 20_000

_CLUSTER_KINDS = (
    PARTI_CLUSTER,
    STATEFUL_SET,
    POD,
    CLAIM,
    SERVICE,
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
)

_log = logging.getLogger(__name__)


class AddressTakenError(Exception):
    """The HTTP address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Everything the process talks to, and the plan it follows."""

    kube: KubeApi
    sidecars: Sidecars
    metrics: Metrics
    failpoints: Failpoints
    make_plan: PlanMaker
    refuse: Refuser


class Operator:
    """One process; belongs to one running loop."""

    def __init__(self, config: OperatorConfig, outside: Outside) -> None:
        self._config = config
        self._metrics = outside.metrics
        self._started_s = asyncio.get_running_loop().time()
        self._stop = asyncio.Event()
        self._kinds = (*_CLUSTER_KINDS, *(() if config.namespaces else (NODE,)))
        self._cache = Cache(self._changed)
        self._resync = Resync(
            outside.kube,
            self._cache,
            kinds=self._kinds,
            optional=(POD_MONITOR,),
            namespaces=config.namespaces,
            missed=lambda plural, number: self._metrics.missed.labels(plural).inc(number),
        )
        self._election = Election(
            outside.kube,
            namespace=config.namespace,
            name=config.lease_name,
            identity=f"{config.pod_name}_{secrets.token_hex(4)}",
            clock_ms=lease_clock_ms,
            wall_ms=wall_clock_unix_ms,
            api_returned=self._resync.api_returned,
        )
        self._queue: WorkQueue[ClusterKey] = WorkQueue(
            self._reconciler(outside).reconcile,
            limits=QueueLimits(concurrency=config.concurrency),
            jitter=random.random,
        )
        self._watches: Watches | None = None
        self._health = HealthServer(self._vitals, self._metrics.text)
        self._metrics.read_queue(
            lambda: self._queue.depth, lambda: self._queue.longest_running_ms() / 1000
        )

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises whatever makes going on impossible."""
        self._take_signals()
        config = self._config
        try:
            port = await self._health.start(config.http_host, config.http_port)
        except OSError as error:
            address = f"{config.http_host}:{config.http_port}"
            raise AddressTakenError(f"cannot listen on {address}: {error.strerror}") from error
        self._metrics.last_sync.set_function(
            lambda: wall_clock_unix_ms() / 1000 - self._since_resync_s()
        )
        event(_log, "operator started", http_port=port, namespaces=config.namespaces or "all")
        work = asyncio.create_task(self._work(), name="work")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
            await self._queue.drain(0 if work.done() else DRAIN_MS)
        finally:
            await self._end(work, stop)

    async def _end(self, *tasks: asyncio.Task[object]) -> None:
        failed = [task for task in tasks if task.done() and task.exception() is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._election.resign()
        await self._health.stop()
        if self._watches is not None:
            await self._watches.stop()
        for task in failed:
            task.result()
        event(_log, "operator ended")

    async def _work(self) -> None:
        await self._resync.first()
        watched = [*self._kinds]
        if POD_MONITOR.name in self._resync.known_optional:
            watched.append(POD_MONITOR)
        self._watches = Watches(
            self._cache,
            kinds=watched,
            namespaces=self._config.namespaces,
            heard=self._metrics.heard,
        )
        watching = await self._watches.start(self._take_signals)
        async with asyncio.TaskGroup() as group:
            group.create_task(_join(watching), name="watches")
            group.create_task(self._resync.run(self._config.resync_ms), name="resync")
            group.create_task(self._lead(), name="leader")

    async def _lead(self) -> None:
        """Stand by, then act until the end of the process."""
        await self._election.win()
        self._metrics.leader.set(1)
        for key in self._cache.clusters():
            self._queue.add(key)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._election.keep(), name="election")
            group.create_task(self._queue.run(), name="queue")

    def _reconciler(self, outside: Outside) -> Reconciler:
        metrics = self._metrics
        observer = Observer(
            outside.kube,
            self._cache,
            outside.sidecars,
            sidecar_image=self._config.sidecar_image,
            reads_nodes=NODE in self._kinds,
            optional_kinds=lambda: self._resync.known_optional,
        )
        actor = Actor(
            outside.kube,
            outside.sidecars,
            self._election,
            failpoints=outside.failpoints,
            count=lambda action, outcome: metrics.actions.labels(action, outcome).inc(),
        )
        recorder = Recorder(
            outside.kube,
            instance=self._config.pod_name,
            clock_ms=lease_clock_ms,
            wall_ms=wall_clock_unix_ms,
            dropped=lambda why: metrics.events_dropped.labels(why).inc(),
        )
        return Reconciler(
            outside.kube,
            observer,
            actor,
            recorder,
            metrics,
            make_plan=outside.make_plan,
            refuse=outside.refuse,
            wall_ms=wall_clock_unix_ms,
        )

    def _changed(self, key: ClusterKey) -> None:
        """The cache has news of a cluster. While this replica stands by, keys only gather."""
        self._queue.add(key)

    def _vitals(self) -> Vitals:
        watches = self._watches
        return Vitals(
            longest_pass_ms=self._queue.longest_running_ms(),
            since_resync_ms=round(self._since_resync_s() * 1000),
            resync_ms=self._config.resync_ms,
            dead_watches=watches.dead_watches() if watches is not None else 0,
            cache_filled=self._resync.last_s is not None,
        )

    def _since_resync_s(self) -> float:
        last_s = self._resync.last_s or self._started_s
        return asyncio.get_running_loop().time() - last_s

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)


async def _join(task: asyncio.Task[None]) -> None:
    """Wait for a task that others end."""
    await asyncio.shield(task)
