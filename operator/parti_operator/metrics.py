"""The operator's metrics: counters that the modules write to, and the text for Prometheus.

Names begin with `parti_operator_` and end with their unit; counters end with `_total`. Labels are
closed sets (verbs, kinds, actions, outcomes). Only what stands per cluster is open: it is read
from `clusters` at scrape time, so a cluster that is gone takes its series along.

Each process makes one `Metrics` with a registry of its own; tests make many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from parti_operator.cache import ClusterKey

_PASS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class ClusterReading:
    """What dashboards and alerts want to know of one cluster, as its status says."""

    phase: str
    ready: bool
    degraded: bool
    quorum_healthy: bool
    replicas: int
    ready_replicas: int
    partitions_unowned: int
    partitions_moving: int
    last_success_s: float  # wall clock


class Metrics:
    """All metrics of one operator process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.clusters: dict[ClusterKey, ClusterReading] = {}
        self._define_work()
        self._define_kubernetes()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Clusters(self.clusters))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)

    def read_queue(self, depth: Callable[[], float], longest_run_s: Callable[[], float]) -> None:
        """Ask these at every scrape."""
        self.queue_depth.set_function(depth)
        self.longest_run.set_function(longest_run_s)

    def count_request(self, verb: str, plural: str, status: int) -> None:
        """A request to the Kubernetes API has ended."""
        self.requests.labels(verb, plural, str(status)).inc()

    def _define_work(self) -> None:
        self.leader = Gauge(
            "parti_operator_leader",
            "1 while this replica acts, 0 while it stands by",
            registry=self.registry,
        )
        self.passes = Counter(
            "parti_operator_reconciles_total",
            "Passes over a cluster, by how they ended: done, failed",
            ["outcome"],
            registry=self.registry,
        )
        self.pass_seconds = Histogram(
            "parti_operator_reconcile_duration_seconds",
            "How long a pass over a cluster took",
            buckets=_PASS_SECONDS,
            registry=self.registry,
        )
        self.actions = Counter(
            "parti_operator_actions_total",
            "Actions of plans, by kind and by how they ended: done, failed",
            ["action", "outcome"],
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "parti_operator_queue_depth_keys",
            "Clusters that are due for a pass and wait for room",
            registry=self.registry,
        )
        self.longest_run = Gauge(
            "parti_operator_longest_running_reconcile_seconds",
            "Age of the oldest pass that has not ended",
            registry=self.registry,
        )

    def _define_kubernetes(self) -> None:
        self.requests = Counter(
            "parti_operator_api_requests_total",
            "Requests to the Kubernetes API, watches aside; status 0: no answer",
            ["verb", "resource", "status"],
            registry=self.registry,
        )
        self.sidecar_calls_failed = Counter(
            "parti_operator_sidecar_calls_failed_total",
            "Calls of the sidecars' admin API that failed, by method and gRPC status",
            ["method", "status"],
            registry=self.registry,
        )
        self.events_dropped = Counter(
            "parti_operator_events_dropped_total",
            "Kubernetes Events not written: repeated, over the limit of a cluster, refused",
            ["why"],
            registry=self.registry,
        )
        self.last_sync = Gauge(
            "parti_operator_last_sync_timestamp_seconds",
            "When the cache was last compared with the API server as a whole",
            registry=self.registry,
        )
        self.missed = Counter(
            "parti_operator_missed_changes_total",
            "Changes that a comparison found and no watch had told",
            ["resource"],
            registry=self.registry,
        )


class _Clusters(Collector):
    """Gauges per cluster, made from the readings at scrape time."""

    def __init__(self, clusters: dict[ClusterKey, ClusterReading]) -> None:
        self._clusters = clusters

    def collect(self) -> Iterator[Metric]:
        yield self._phases()
        for name, text, value in _CLUSTER_GAUGES:
            family = GaugeMetricFamily(name, text, labels=["namespace", "cluster"])
            for key, reading in self._clusters.items():
                family.add_metric(list(key), value(reading))
            yield family

    def _phases(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "parti_operator_cluster_phase",
            "1 for the phase that a cluster is in",
            labels=["namespace", "cluster", "phase"],
        )
        for key, reading in self._clusters.items():
            family.add_metric([*key, reading.phase], 1)
        return family


_CLUSTER_GAUGES: tuple[tuple[str, str, Callable[[ClusterReading], float]], ...] = (
    (
        "parti_operator_cluster_ready",
        "1 if the condition Ready of a cluster is True",
        lambda reading: reading.ready,
    ),
    (
        "parti_operator_cluster_degraded",
        "1 if the condition Degraded of a cluster is True",
        lambda reading: reading.degraded,
    ),
    (
        "parti_operator_cluster_quorum_healthy",
        "1 if the condition QuorumHealthy of a cluster is True",
        lambda reading: reading.quorum_healthy,
    ),
    (
        "parti_operator_cluster_replicas",
        "Pods that the spec of a cluster asks for",
        lambda reading: reading.replicas,
    ),
    (
        "parti_operator_cluster_ready_replicas",
        "Pods of a cluster that are ready",
        lambda reading: reading.ready_replicas,
    ),
    (
        "parti_operator_cluster_unowned_partitions",
        "Partitions of a cluster that nobody owns",
        lambda reading: reading.partitions_unowned,
    ),
    (
        "parti_operator_cluster_moving_partitions",
        "Partitions of a cluster that are between two owners",
        lambda reading: reading.partitions_moving,
    ),
    (
        "parti_operator_cluster_last_success_timestamp_seconds",
        "When a pass over a cluster last ended without an error",
        lambda reading: reading.last_success_s,
    ),
)
