"""From a PartiCluster with the CRD's defaults to values."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from parti_operator.spec import (
    ClusterRef,
    InvalidSpecError,
    Mode,
    OrdinalWeight,
    RebalanceMode,
    Retention,
    Strategy,
    TopologySpread,
    parse,
    read_ref,
)
from tests.parti_operator.defaults import SIDECAR_IMAGE, TEMPLATE, cluster_spec, particluster
from tests.parti_operator.samples import FULL, full, full_resource, minimal


def test_six_lines_get_the_defaults_of_the_crd() -> None:
    cluster = minimal()
    assert cluster.ref == ClusterRef("shop", "orders", "5ba1b1e2-3c1f-4c5e-9d59-0a3f1c2d4e5f")
    assert (cluster.replicas, cluster.partitions, cluster.voters) == (3, 64, 3)
    assert (cluster.mode, cluster.available_for_ms) == (Mode.STRICT, 0)
    assert cluster.template == TEMPLATE
    assert cluster.placement.strategy is Strategy.BALANCED
    assert cluster.placement.weights == ()
    assert cluster.placement.weight_label == ""
    assert cluster.rebalance.mode is RebalanceMode.AUTO
    assert cluster.lease_ttl_ms == 2_000
    assert cluster.timeouts.drain_ms == 20_000
    assert cluster.timeouts.failure_ms == 300_000
    assert cluster.sidecar.image == SIDECAR_IMAGE
    assert cluster.sidecar.image_pull_policy == "IfNotPresent"
    assert cluster.storage.class_name is None
    assert cluster.storage.when_deleted is Retention.RETAIN
    assert cluster.storage.when_scaled is Retention.DELETE
    assert not cluster.storage.ephemeral
    assert cluster.max_unavailable == 1
    assert not cluster.network_policy
    assert cluster.pod_monitor
    assert not cluster.paused


def test_every_field_is_read() -> None:
    cluster = full()
    assert (cluster.replicas, cluster.partitions, cluster.voters) == (7, 256, 5)
    assert (cluster.mode, cluster.available_for_ms) == (Mode.AVAILABLE, 90_000)
    assert cluster.template == FULL["template"]
    assert cluster.placement.load_aware
    assert cluster.placement.weights == (OrdinalWeight(0, 1, 200), OrdinalWeight(4, 4, 50))
    assert (cluster.placement.coalesce_quiet_ms, cluster.placement.coalesce_max_ms) == (300, 3_000)
    assert cluster.placement.cooldown_ms == 20_000
    assert cluster.rebalance.mode is RebalanceMode.MANUAL
    assert cluster.rebalance.moves_in_flight_max == 4
    assert cluster.lease_ttl_ms == 3_000
    assert cluster.timeouts.handover_ms == 15_000
    assert cluster.timeouts.worker_grace_ms == 8_000
    assert cluster.sidecar.image == "example/own-sidecar:3"
    assert cluster.sidecar.image_pull_policy == "Always"
    assert cluster.sidecar.log_level == "debug"
    assert [row["name"] for row in cluster.sidecar.env] == ["PARTI_PARKED_MESSAGES_MAX"]
    assert (cluster.storage.size, cluster.storage.class_name) == ("5Gi", "fast")
    assert cluster.storage.when_deleted is Retention.DELETE
    assert cluster.storage.when_scaled is Retention.RETAIN
    assert cluster.max_unavailable == 2
    assert cluster.service_annotations == {"example.com/exposed": "yes"}
    assert cluster.network_policy
    assert cluster.topology_spread is TopologySpread.DISABLED
    assert cluster.paused


def test_a_label_can_give_the_weight() -> None:
    cluster = cluster_spec(placement={"weightLabel": "example.com/weight"})
    assert cluster.placement.weight_label == "example.com/weight"


def test_parsing_leaves_the_resource_alone() -> None:
    resource = full_resource()
    before = deepcopy(resource)
    parse(resource, SIDECAR_IMAGE)
    assert resource == before


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "1-2-3", "1,2", "12345"])
def test_ordinals_that_are_none(text: str) -> None:
    resource = particluster(placement={"weights": [{"ordinals": text, "weight": 10}]})
    with pytest.raises(InvalidSpecError, match=r"spec\.placement\.weights\[0\]\.ordinals"):
        parse(resource, SIDECAR_IMAGE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("replicas", 0),
        ("replicas", 201),
        ("partitions", 65_537),
        ("mode", "strict"),
        ("lease.ttl", "199ms"),
        ("lease.ttl", "soon"),
        ("timeouts.failure", "25h"),
        ("storage.ephemeral", "no"),
        ("service.annotations", {"a": 1}),
        ("placement", None),
        ("template", "x"),
    ],
)
def test_values_out_of_bounds_are_refused_by_their_path(path: str, value: Any) -> None:
    resource = particluster()
    *parents, last = path.split(".")
    section = resource["spec"]
    for name in parents:
        section = section[name]
    section[last] = value
    with pytest.raises(InvalidSpecError) as caught:
        parse(resource, SIDECAR_IMAGE)
    assert [problem.path for problem in caught.value.problems] == [f"spec.{path}"]


def test_the_identity_can_be_read_from_a_spec_that_is_wrong() -> None:
    resource = particluster(name="orders", uid="u1")
    resource["spec"] = {}
    assert read_ref(resource) == ClusterRef("shop", "orders", "u1")


def test_all_contradictions_are_told_at_once() -> None:
    resource = particluster(
        voters=3,
        mode="Available",
        timeouts={"drain": "5s", "handover": "5s"},
        template={"spec": {"containers": [{"name": "parti-sidecar"}]}},
    )
    with pytest.raises(InvalidSpecError) as caught:
        parse(resource, SIDECAR_IMAGE)
    assert [problem.path for problem in caught.value.problems] == [
        "spec.availableFor",
        "spec.timeouts.handover",
        "spec.template.spec.containers[0].name",
    ]
