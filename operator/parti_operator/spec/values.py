"""A PartiCluster as values: its identity and every field of its spec. Pure.

Times are whole milliseconds, enumerations closed. A `ClusterSpec` that exists holds no
contradiction: `parse` makes it and refuses the others. The pod template stays what the user wrote:
only `children.pod_template` reads and merges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

VOTERS_ALLOWED = (1, 3, 5, 7)
CAPACITY_DEFAULT = 100
VOTER_REPLACE_AFTER_MS = 30_000
# The leader ends the session of an owner that has not let go by then: later than the owner's own
# limit for its worker.
MOVE_DEADLINE_MS_MIN = 15_000
MOVE_DEADLINE_MARGIN_MS = 5_000


class Mode(StrEnum):
    """What a member does when its lease runs out: refuse, or go on for a bounded time."""

    STRICT = "Strict"
    AVAILABLE = "Available"


class Strategy(StrEnum):
    """How the leader chooses owners."""

    BALANCED = "balanced"
    CONSISTENT_HASH = "consistent-hash"
    WEIGHTED_CONSISTENT_HASH = "weighted-consistent-hash"
    ROUND_ROBIN = "round-robin"


class RebalanceMode(StrEnum):
    """Whether partitions move by themselves for a better balance."""

    AUTO = "Auto"
    MANUAL = "Manual"


class Retention(StrEnum):
    """What becomes of a claim that is not needed any more."""

    RETAIN = "Retain"
    DELETE = "Delete"


class TopologySpread(StrEnum):
    """Whether the operator asks the scheduler to spread pods over zones and nodes."""

    DEFAULT = "default"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class ClusterRef:
    """Which PartiCluster; the uid tells it from an earlier one of the same name."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class OrdinalWeight:
    """The weight of the members `first` to `last`, both included."""

    first: int
    last: int
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What the leader's placement is told."""

    strategy: Strategy
    load_aware: bool
    weights: tuple[OrdinalWeight, ...]
    weight_label: str  # of the node or the pod; empty: none
    coalesce_quiet_ms: int
    coalesce_max_ms: int
    cooldown_ms: int

    def weight_of(self, ordinal: int) -> int:
        """The weight of a member by its ordinal."""
        for row in self.weights:
            if row.first <= ordinal <= row.last:
                return row.weight
        return CAPACITY_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalance:
    """Moves for a better balance."""

    mode: RebalanceMode
    moves_in_flight_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long the operator and the sidecars wait for each other and for the application."""

    drain_ms: int
    handover_ms: int
    worker_grace_ms: int
    failure_ms: int  # a dead member is replaced after it


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The sidecar's container."""

    image: str
    image_pull_policy: str
    resources: Mapping[str, Any]
    env: tuple[Mapping[str, Any], ...]
    log_level: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where a member keeps its state."""

    size: str
    class_name: str | None  # None: the default class; empty: no class
    when_deleted: Retention
    when_scaled: Retention
    ephemeral: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The replicated policy of the cluster, as `Admin.SetPolicy` takes it."""

    strategy: Strategy
    rebalance: bool
    moves_in_flight_max: int
    partition_cooldown_ms: int
    coalesce_quiet_ms: int
    coalesce_max_ms: int
    voters_max: int
    voter_replace_after_ms: int
    move_deadline_ms: int
    load_aware: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """What one PartiCluster asks for."""

    ref: ClusterRef
    cluster_id: str  # the uid, unless disks of an earlier PartiCluster of this name were kept
    generation: int
    replicas: int
    partitions: int
    voters: int
    mode: Mode
    available_for_ms: int  # 0 in mode Strict
    template: Mapping[str, Any]
    placement: Placement
    rebalance: Rebalance
    lease_ttl_ms: int
    timeouts: Timeouts
    sidecar: Sidecar
    storage: Storage
    max_unavailable: int
    service_annotations: Mapping[str, str]
    network_policy: bool
    pod_monitor: bool
    topology_spread: TopologySpread
    paused: bool

    def voters_for(self, replicas: int) -> int:
        """Voters of a cluster of so many members: as asked, or the most that they allow."""
        assert replicas > 0, "a cluster has members"
        return max(count for count in VOTERS_ALLOWED if count <= min(self.voters, replicas))

    def policy(self, replicas: int) -> Policy:
        """The policy of a cluster of so many members."""
        deadline_ms = self.timeouts.handover_ms + MOVE_DEADLINE_MARGIN_MS
        return Policy(
            strategy=self.placement.strategy,
            rebalance=self.rebalance.mode is RebalanceMode.AUTO,
            moves_in_flight_max=self.rebalance.moves_in_flight_max,
            partition_cooldown_ms=self.placement.cooldown_ms,
            coalesce_quiet_ms=self.placement.coalesce_quiet_ms,
            coalesce_max_ms=self.placement.coalesce_max_ms,
            voters_max=self.voters_for(replicas),
            voter_replace_after_ms=VOTER_REPLACE_AFTER_MS,
            move_deadline_ms=max(MOVE_DEADLINE_MS_MIN, deadline_ms),
            load_aware=self.placement.load_aware,
        )
