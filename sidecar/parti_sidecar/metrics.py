"""Metrics for Prometheus: read from plain counters at scrape time, never written per message.

A metric is one row of a table (`metrics_catalog`): name, kind, help, labels and a function that
reads its samples from the sources. The same table makes the exposition and the documentation.

Names begin with `parti_` and end with their unit; counters end with `_total`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from parti_shard.router import RouterStats
from parti_sidecar.http import Handler, HttpRequest, HttpResponse
from parti_sidecar.meters import DiskMeter, TableMeter
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.runtime import LoopLagProbe


class MetricKind(StrEnum):
    """The types of Prometheus that are used."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Buckets(Protocol):
    """A histogram as it is counted: one number per bound and one for what is over them."""

    @property
    def buckets(self) -> Sequence[int]: ...

    @property
    def sum_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """A histogram sample."""

    bounds: Sequence[float]
    counts: Buckets


Value = int | float | HistogramValue
# Values of the labels, in the order of the definition, and the sample.
Sample = tuple[tuple[str, ...], Value]


@dataclass(frozen=True, slots=True)
class StoreReading:
    """The key-value store as this member has it, and what was asked of it here."""

    keys: int
    bytes_used: int
    bytes_max: int
    revision: int
    sessions: int
    sessions_expired: int  # on this member's decision, as the leader
    locks: int
    watchers: int
    operations: Mapping[tuple[str, str], int]  # by kind and outcome
    refused: Mapping[str, int]  # by reason
    batches_repeated: int
    batches_handed_over: int


@dataclass(frozen=True, slots=True)
class MemberReading:
    """The member's state at the moment of a scrape; only in a cluster there is one."""

    router: RouterStats
    table: TableMeter
    store: StoreReading
    now_ms: int  # of the lease clock
    raft_role: str
    term: int
    is_leader: bool
    leader_changes: int
    commit_index: int
    applied_index: int
    last_index: int
    lease_margin_ms: int  # until the lease ends; 0 without one
    partitions: int
    partitions_owned: int
    partitions_free: int
    partitions_revoking: int
    members: int
    member_loads: Sequence[float] = ()  # of members that may own partitions; on the leader
    commands_rejected: Mapping[str, int] = field(default_factory=dict)  # by reason


class HttpCounts(Protocol):
    """What the HTTP port counts."""

    @property
    def answers(self) -> Mapping[tuple[str, int], int]: ...

    @property
    def connections_refused(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the numbers come from; `member` is asked once per scrape."""

    member: Callable[[], MemberReading | None]
    rpc: RpcMeter
    disk: DiskMeter
    loop: LoopLagProbe
    http: HttpCounts


@dataclass(frozen=True, slots=True)
class Readings:
    """One scrape's view of the sources."""

    sources: Sources
    member: MemberReading | None


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One row of the catalog."""

    name: str
    kind: MetricKind
    help_text: str
    read: Callable[[Readings], Iterable[Sample]]
    labels: tuple[str, ...] = ()

    def family(self, readings: Readings) -> Metric:
        """The metric with its present samples."""
        if self.kind is MetricKind.COUNTER:
            counter = CounterMetricFamily(self.name, self.help_text, labels=self.labels)
            for values, sample in self.read(readings):
                counter.add_metric(values, _number(sample))
            return counter
        if self.kind is MetricKind.GAUGE:
            gauge = GaugeMetricFamily(self.name, self.help_text, labels=self.labels)
            for values, sample in self.read(readings):
                gauge.add_metric(values, _number(sample))
            return gauge
        histogram = HistogramMetricFamily(self.name, self.help_text, labels=self.labels)
        for values, sample in self.read(readings):
            assert isinstance(sample, HistogramValue), self.name
            histogram.add_metric(values, _cumulated(sample), sample.counts.sum_seconds)
        return histogram


class SidecarCollector(Collector):
    """Makes all metrics of a catalog from one view of the sources."""

    def __init__(self, catalog: Sequence[MetricDefinition], sources: Sources) -> None:
        self._catalog = catalog
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        readings = Readings(self._sources, self._sources.member())
        for definition in self._catalog:
            yield definition.family(readings)

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking the registry for names must not read a sidecar that is not started."""
        return ()


def make_registry(catalog: Sequence[MetricDefinition], sources: Sources) -> CollectorRegistry:
    """A registry of our own, with the process's memory, CPU and descriptors."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SidecarCollector(catalog, sources))
    ProcessCollector(namespace="parti", registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> Handler:
    """The page that Prometheus reads, in the format it asks for."""

    async def answer(request: HttpRequest) -> HttpResponse:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return HttpResponse(HTTPStatus.OK, encode(registry), content_type)

    return answer


def _number(value: Value) -> float:
    assert not isinstance(value, HistogramValue)
    return value


def _cumulated(value: HistogramValue) -> list[tuple[str, float]]:
    bounds = [*(repr(bound) for bound in value.bounds), "+Inf"]
    return list(zip(bounds, accumulate(value.counts.buckets), strict=True))
