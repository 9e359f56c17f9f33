"""From a PartiCluster as the API gives it to a `ClusterSpec`. Pure.

Defaults are filled in by the API server from the CRD, the one place where they stand. Only the
sidecar's image has none there: it belongs to the operator's release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from parti_operator.spec.problems import InvalidSpecError
from parti_operator.spec.reading import Section
from parti_operator.spec.rules import contradictions
from parti_operator.spec.template_rules import template_problems
from parti_operator.spec.values import (
    VOTERS_ALLOWED,
    ClusterRef,
    ClusterSpec,
    Mode,
    OrdinalWeight,
    Placement,
    Rebalance,
    RebalanceMode,
    Retention,
    Sidecar,
    Storage,
    Strategy,
    Timeouts,
    TopologySpread,
)

REPLICAS_MAX = 200
PARTITIONS_MAX = 65_536
WEIGHT_MAX = 1_000
MOVES_MAX = 4_096
LEASE_TTL_MS_MIN = 200
SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
DAY_MS = 24 * HOUR_MS
_ORDINALS = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def parse(resource: Mapping[str, Any], sidecar_image: str) -> ClusterSpec:
    """The cluster that `resource` asks for; `sidecar_image` is used where it names none."""
    cluster = _read(resource, sidecar_image)
    problems = contradictions(cluster) + template_problems(cluster.template)
    if problems:
        raise InvalidSpecError(problems)
    return cluster


def read_ref(resource: Mapping[str, Any]) -> ClusterRef:
    """The identity of a PartiCluster, which holds even where its spec does not."""
    metadata = Section(resource, "").section("metadata")
    return ClusterRef(metadata.text("namespace"), metadata.text("name"), metadata.text("uid"))


def _read(resource: Mapping[str, Any], sidecar_image: str) -> ClusterSpec:
    root = Section(resource, "")
    spec = root.section("spec")
    mode = spec.choice("mode", Mode)
    ref = read_ref(resource)
    return ClusterSpec(
        ref=ref,
        cluster_id=ref.uid,
        generation=root.section("metadata").number("generation", 1, 1 << 62),
        replicas=spec.number("replicas", 1, REPLICAS_MAX),
        partitions=spec.number("partitions", 1, PARTITIONS_MAX),
        voters=spec.number("voters", VOTERS_ALLOWED[0], VOTERS_ALLOWED[-1]),
        mode=mode,
        available_for_ms=_optional_ms(spec, "availableFor"),
        template=spec.section("template").value,
        placement=_placement(spec.section("placement")),
        rebalance=_rebalance(spec.section("rebalance")),
        lease_ttl_ms=spec.section("lease").duration_ms("ttl", LEASE_TTL_MS_MIN, HOUR_MS),
        timeouts=_timeouts(spec.section("timeouts")),
        sidecar=_sidecar(spec.section("sidecar"), sidecar_image),
        storage=_storage(spec.section("storage")),
        max_unavailable=spec.section("disruption").number("maxUnavailable", 0, REPLICAS_MAX),
        service_annotations=_texts(spec.section("service"), "annotations"),
        network_policy=spec.section("networkPolicy").flag("enabled"),
        pod_monitor=spec.section("monitoring").flag("podMonitor"),
        topology_spread=spec.choice("topologySpread", TopologySpread),
        paused=spec.flag("paused"),
    )


def _placement(section: Section) -> Placement:
    coalescing = section.section("coalescing")
    return Placement(
        strategy=section.choice("strategy", Strategy),
        load_aware=section.flag("loadAware"),
        weights=tuple(_weight(row) for row in section.objects("weights")),
        weight_label=_optional_text(section, "weightLabel"),
        coalesce_quiet_ms=coalescing.duration_ms("quiet", 0, DAY_MS),
        coalesce_max_ms=coalescing.duration_ms("max", 0, DAY_MS),
        cooldown_ms=section.duration_ms("cooldown", 0, DAY_MS),
    )


def _weight(section: Section) -> OrdinalWeight:
    text = section.text("ordinals")
    found = _ORDINALS.fullmatch(text)
    if found is None:
        raise section.refusal("ordinals", f"must be an ordinal or a range as 0-3, not {text!r}")
    first = int(found[1])
    last = first if found[2] is None else int(found[2])
    if first > last:
        raise section.refusal("ordinals", f"must not end before it begins, as {text} does")
    return OrdinalWeight(first, last, section.number("weight", 1, WEIGHT_MAX))


def _rebalance(section: Section) -> Rebalance:
    return Rebalance(
        mode=section.choice("mode", RebalanceMode),
        moves_in_flight_max=section.number("maxConcurrentMoves", 1, MOVES_MAX),
    )


def _timeouts(section: Section) -> Timeouts:
    return Timeouts(
        drain_ms=section.duration_ms("drain", SECOND_MS, HOUR_MS // 2),
        handover_ms=section.duration_ms("handover", 1, HOUR_MS // 2),
        worker_grace_ms=section.duration_ms("workerGrace", 1, HOUR_MS),
        failure_ms=section.duration_ms("failure", SECOND_MS, DAY_MS),
    )


def _sidecar(section: Section, default_image: str) -> Sidecar:
    return Sidecar(
        image=_optional_text(section, "image") or default_image,
        image_pull_policy=section.text("imagePullPolicy"),
        resources=section.mapping("resources"),
        env=tuple(row.value for row in section.objects("env")),
        log_level=section.text("logLevel"),
    )


def _storage(section: Section) -> Storage:
    retention = section.section("retention")
    return Storage(
        size=section.text("size"),
        class_name=section.text("className") if section.has("className") else None,
        when_deleted=retention.choice("whenDeleted", Retention),
        when_scaled=retention.choice("whenScaled", Retention),
        ephemeral=section.flag("ephemeral"),
    )


def _optional_ms(section: Section, name: str) -> int:
    return section.duration_ms(name, 1, HOUR_MS) if section.has(name) else 0


def _optional_text(section: Section, name: str) -> str:
    return section.text(name) if section.has(name) else ""


def _texts(section: Section, name: str) -> Mapping[str, str]:
    values = section.mapping(name)
    if not all(isinstance(value, str) for value in values.values()):
        raise section.refusal(name, "must hold nothing but strings")
    return values
