"""The operator's metrics: counters that the modules write to, and the text for Prometheus.

Names begin with `parti_operator_` and end with their unit; counters end with `_total`. Labels are
closed sets (verbs, kinds, actions, outcomes). Only what stands per cluster is open: it is read
from `clusters` at scrape time, so a cluster that is gone takes its series along.

Each process makes one `Metrics` with a registry of its own; tests make many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


@dataclass(frozen=True, slots=True)
class Described:
    """A metric for people."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


class Metrics:
    """All metrics of one operator process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.clusters: dict[ClusterKey, ClusterReading] = {}
        self.catalog: list[Described] = []  # for the page on metrics
        self._define_work()
        self._define_kubernetes()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Clusters(self.clusters))
        self.catalog += _PER_CLUSTER

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

    def heard(self, plural: str) -> None:
        """A watch has told something."""
        self.last_event.labels(plural).set_to_current_time()

    def _define_work(self) -> None:
        self.leader = self._gauge(
            "parti_operator_leader", "1 while this replica acts, 0 while it stands by"
        )
        self.passes = self._counter(
            "parti_operator_reconciles_total",
            "Passes over a cluster, by how they ended: done, failed",
            ["outcome"],
        )
        self.pass_seconds = self._histogram(
            "parti_operator_reconcile_duration_seconds",
            "How long a pass over a cluster took",
            _PASS_SECONDS,
        )
        self.actions = self._counter(
            "parti_operator_actions_total",
            "Actions of plans, by kind and by how they ended: done, failed",
            ["action", "outcome"],
        )
        self.queue_depth = self._gauge(
            "parti_operator_queue_depth_keys",
            "Clusters that are due for a pass and wait for room",
        )
        self.longest_run = self._gauge(
            "parti_operator_longest_running_reconcile_seconds",
            "Age of the oldest pass that has not ended",
        )

    def _define_kubernetes(self) -> None:
        self.requests = self._counter(
            "parti_operator_api_requests_total",
            "Requests to the Kubernetes API, watches aside; status 0: no answer",
            ["verb", "resource", "status"],
        )
        self.sidecar_calls_failed = self._counter(
            "parti_operator_sidecar_calls_failed_total",
            "Calls of the sidecars' admin API that failed, by method and gRPC status",
            ["method", "status"],
        )
        self.events_dropped = self._counter(
            "parti_operator_events_dropped_total",
            "Kubernetes Events not written: repeated, over the limit of a cluster, refused",
            ["why"],
        )
        self.last_sync = self._gauge(
            "parti_operator_last_sync_timestamp_seconds",
            "When the cache was last compared with the API server as a whole",
        )
        self.last_event = self._gauge(
            "parti_operator_watch_last_event_timestamp_seconds",
            "When the watch of a kind last told anything; absent until it does",
            ["resource"],
        )
        self.missed = self._counter(
            "parti_operator_missed_changes_total",
            "Changes that a comparison found and no watch had told",
            ["resource"],
        )

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        self.catalog.append(Described(name, "counter", tuple(labels), text))
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        self.catalog.append(Described(name, "gauge", tuple(labels), text))
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        self.catalog.append(Described(name, "histogram", (), text))
        return Histogram(name, text, buckets=buckets, registry=self.registry)


class _Clusters(Collector):
    """Gauges per cluster, made from the readings at scrape time."""

    def __init__(self, clusters: dict[ClusterKey, ClusterReading]) -> None:
        self._clusters = clusters

    def collect(self) -> Iterator[Metric]:
        yield self._phases()
        for name, text, value in _CLUSTER_GAUGES:
            family = GaugeMetricFamily(name, text, labels=_CLUSTER_LABELS)
            for key, reading in self._clusters.items():
                family.add_metric(list(key), value(reading))
            yield family

    def _phases(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(_PHASE, _PHASE_TEXT, labels=[*_CLUSTER_LABELS, "phase"])
        for key, reading in self._clusters.items():
            family.add_metric([*key, reading.phase], 1)
        return family


_CLUSTER_LABELS = ("namespace", "cluster")
_PHASE = "parti_operator_cluster_phase"
_PHASE_TEXT = "1 for the phase that a cluster is in"
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
_PER_CLUSTER = (
    Described(_PHASE, "gauge", (*_CLUSTER_LABELS, "phase"), _PHASE_TEXT),
    *(Described(name, "gauge", _CLUSTER_LABELS, text) for name, text, _ in _CLUSTER_GAUGES),
)
