"""StatefulSet, Services, budget, NetworkPolicy and PodMonitor: what each must say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from parti_operator import names
from parti_operator.children import (
    client_service,
    config_map,
    disruption_budget,
    headless_service,
    network_policy,
    pod_monitor,
    stateful_set,
)
from tests.parti_operator import samples
from tests.parti_operator.defaults import cluster_spec

MINIMAL = samples.minimal()
SELECTOR = {names.CLUSTER_LABEL: "orders"}


def test_pods_start_together_and_are_replaced_by_the_operator_alone() -> None:
    spec = stateful_set(MINIMAL, 3)["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["updateStrategy"] == {"type": "OnDelete"}
    assert spec["serviceName"] == headless_service(MINIMAL)["metadata"]["name"]


def test_the_pods_are_those_that_everything_selects() -> None:
    spec = stateful_set(MINIMAL, 3)["spec"]
    assert SELECTOR.items() <= spec["template"]["metadata"]["labels"].items()
    assert spec["selector"] == {"matchLabels": SELECTOR}
    assert headless_service(MINIMAL)["spec"]["selector"] == SELECTOR
    assert client_service(MINIMAL)["spec"]["selector"] == SELECTOR
    assert disruption_budget(MINIMAL)["spec"]["selector"] == {"matchLabels": SELECTOR}
    assert network_policy(MINIMAL)["spec"]["podSelector"] == {"matchLabels": SELECTOR}
    assert pod_monitor(MINIMAL)["spec"]["selector"] == {"matchLabels": SELECTOR}


def test_claims_are_marked_with_the_cluster_and_kept_by_policy() -> None:
    spec = stateful_set(samples.full(), 3)["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == names.DATA_VOLUME
    assert claim["metadata"]["labels"][names.CLUSTER_ID_LABEL] == samples.full().ref.uid
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    assert spec["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Delete",
        "whenScaled": "Retain",
    }


def test_a_cluster_whose_disks_were_kept_goes_on_under_its_id() -> None:
    adopted = replace(MINIMAL, cluster_id="an-earlier-uid")
    made = stateful_set(adopted, 3)
    (claim,) = made["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["labels"][names.CLUSTER_ID_LABEL] == "an-earlier-uid"
    settings = yaml.safe_load(config_map(adopted)["data"][names.CONFIG_FILE])
    assert settings["cluster_id"] == "an-earlier-uid"
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner["uid"] == MINIMAL.ref.uid


@pytest.mark.parametrize(("given", "expected"), [({}, None), ({"className": ""}, "")])
def test_no_class_and_the_empty_class_are_different(
    given: dict[str, Any], expected: str | None
) -> None:
    (claim,) = stateful_set(cluster_spec(storage=given), 3)["spec"]["volumeClaimTemplates"]
    assert claim["spec"].get("storageClassName") == expected


def test_a_claim_template_keeps_its_size_for_ever() -> None:
    grown = stateful_set(cluster_spec(storage={"size": "9Gi"}), 3, claim_size="1Gi")
    (claim,) = grown["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"


def test_without_disks_there_are_no_claims() -> None:
    spec = stateful_set(samples.ephemeral(), 3)["spec"]
    assert "volumeClaimTemplates" not in spec
    assert "persistentVolumeClaimRetentionPolicy" not in spec


def test_members_find_each_other_before_they_are_ready() -> None:
    spec = headless_service(MINIMAL)["spec"]
    assert spec["clusterIP"] == "None"
    assert spec["publishNotReadyAddresses"] is True
    assert [port["port"] for port in spec["ports"]] == [5101, 5104]


def ports_of(cluster: Any) -> list[tuple[str, int, str]]:
    return [
        (port["name"], port["port"], port["protocol"])
        for port in client_service(cluster)["spec"]["ports"]
    ]


def test_clients_reach_the_ports_of_the_application_and_two_of_the_sidecar() -> None:
    assert ports_of(MINIMAL) == [("parti-admin", 5102, "TCP"), ("parti-http", 5103, "TCP")]
    assert ports_of(samples.full()) == [
        ("http", 8080, "TCP"),
        ("port-8081-tcp", 8081, "TCP"),
        ("port-8080-udp", 8080, "UDP"),
        ("port-9000-tcp", 9000, "TCP"),
        ("parti-admin", 5102, "TCP"),
        ("parti-http", 5103, "TCP"),
    ]


def test_every_port_of_a_service_has_a_name_of_its_own() -> None:
    twins = [
        {"name": "a", "image": "a", "ports": [{"containerPort": 1, "name": "http"}]},
        {"name": "b", "image": "b", "ports": [{"containerPort": 2, "name": "http"}]},
        {"name": "c", "image": "c", "ports": [{"containerPort": 1, "name": "other"}]},
    ]
    ports = ports_of(cluster_spec(template={"spec": {"containers": twins}}))
    assert ports[:-2] == [("http", 1, "TCP"), ("port-2-tcp", 2, "TCP")]


def test_the_application_api_is_in_no_service() -> None:
    for service in (client_service(samples.full()), headless_service(samples.full())):
        assert names.APP_PORT not in {port["port"] for port in service["spec"]["ports"]}


def test_annotations_go_to_the_clients_service_alone() -> None:
    cluster = samples.full()
    assert client_service(cluster)["metadata"]["annotations"]["example.com/exposed"] == "yes"
    assert "example.com/exposed" not in headless_service(cluster)["metadata"]["annotations"]


def test_evictions_are_limited_but_a_broken_pod_holds_up_nobody() -> None:
    spec = disruption_budget(samples.full())["spec"]
    assert spec["maxUnavailable"] == 2
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def allowed(port: int, protocol: str, source: str) -> bool:
    """Whether the NetworkPolicy lets a pod in: of the same cluster, the operator or another."""
    peers = {
        "member": {names.CLUSTER_LABEL: "orders"},
        "operator": {names.NAME_LABEL: names.OPERATOR},
        "other": {},
    }[source]
    for rule in network_policy(MINIMAL)["spec"]["ingress"]:
        selectors = [row["podSelector"]["matchLabels"] for row in rule.get("from", [])]
        from_there = not selectors or any(row.items() <= peers.items() for row in selectors)
        to_there = any(
            row["protocol"] == protocol and row["port"] <= port <= row.get("endPort", row["port"])
            for row in rule["ports"]
        )
        if from_there and to_there:
            return True
    return False


@pytest.mark.parametrize(
    ("port", "protocol", "sources"),
    [
        (5100, "TCP", []),
        (5101, "TCP", ["member"]),
        (5102, "TCP", ["member", "operator"]),
        (5103, "TCP", ["member", "operator", "other"]),
        (5104, "TCP", ["member"]),
        (5099, "TCP", ["member", "operator", "other"]),
        (5105, "TCP", ["member", "operator", "other"]),
        (1, "TCP", ["member", "operator", "other"]),
        (65_535, "TCP", ["member", "operator", "other"]),
        (5101, "UDP", ["member", "operator", "other"]),
        (65_535, "SCTP", ["member", "operator", "other"]),
    ],
)
def test_who_may_reach_what(port: int, protocol: str, sources: list[str]) -> None:
    found = [who for who in ("member", "operator", "other") if allowed(port, protocol, who)]
    assert found == sources


def test_the_operator_may_be_in_any_namespace() -> None:
    _, admin, _ = network_policy(MINIMAL)["spec"]["ingress"]
    members, operator = admin["from"]
    assert operator["namespaceSelector"] == {}
    assert "namespaceSelector" not in members


def test_metrics_are_found_by_the_name_of_a_port() -> None:
    (endpoint,) = pod_monitor(MINIMAL)["spec"]["podMetricsEndpoints"]
    container = stateful_set(MINIMAL, 3)["spec"]["template"]["spec"]["initContainers"][0]
    assert endpoint["port"] in {port["name"] for port in container["ports"]}
