"""Contradictions between fields, one by one, and what is only warned of."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from parti_operator import names
from parti_operator.children import config_map
from parti_operator.spec import InvalidSpecError, parse, warnings
from parti_operator.spec.rules import RESERVED_VARIABLES
from parti_sidecar.config import SETTINGS
from tests.parti_operator.defaults import SIDECAR_IMAGE, TEMPLATE, cluster_spec, particluster


def problems(name: str = "orders", **spec: Any) -> list[str]:
    try:
        parse(particluster(name=name, **spec), SIDECAR_IMAGE)
    except InvalidSpecError as error:
        return [problem.path for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "name", ["a" * 53, "Orders", "1orders", "orders-", "or.ders", "or_ders"], ids=str
)
def test_names_that_no_service_can_have(name: str) -> None:
    assert problems(name) == ["metadata.name"]


@pytest.mark.parametrize("name", ["a" * 52, "o", "orders-2"])
def test_names_that_fit(name: str) -> None:
    assert problems(name) == []


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"voters": 2}, "voters"),
        ({"mode": "Available"}, "availableFor"),
        ({"availableFor": "5s"}, "availableFor"),
        ({"timeouts": {"drain": "10s", "handover": "10s"}}, "timeouts.handover"),
        ({"timeouts": {"drain": "30m", "handover": "1799s"}}, "timeouts.drain"),
        ({"timeouts": {"failure": "2s"}}, "timeouts.failure"),
        ({"placement": {"coalescing": {"quiet": "3s"}}}, "placement.coalescing.quiet"),
        ({"placement": {"loadAware": True, "strategy": "round-robin"}}, "placement.loadAware"),
        (
            {
                "placement": {
                    "weights": [{"ordinals": "2-4", "weight": 1}, {"ordinals": "0-2", "weight": 2}]
                }
            },
            "placement.weights",
        ),
        ({"storage": {"size": "much"}}, "storage.size"),
        ({"storage": {"size": "0"}}, "storage.size"),
        ({"storage": {"size": "-1Gi"}}, "storage.size"),
        ({"sidecar": {"env": [{"name": "PARTI_BOOTSTRAP"}]}}, "sidecar.env[0].name"),
        ({"sidecar": {"env": [{"name": "A"}, {"name": "A"}]}}, "sidecar.env[1].name"),
    ],
)
def test_contradictions(spec: dict[str, Any], path: str) -> None:
    assert problems(**spec) == [f"spec.{path}"]


@pytest.mark.parametrize(
    "spec",
    [
        {"mode": "Available", "availableFor": "5s"},
        {"timeouts": {"drain": "10s", "handover": "9999ms"}},
        {"timeouts": {"drain": "30m", "handover": "29m"}},
        {"timeouts": {"failure": "10s"}, "lease": {"ttl": "9s"}},
        {"placement": {"coalescing": {"quiet": "2s", "max": "2s"}}},
        {"placement": {"loadAware": True}},
        {
            "placement": {
                "weights": [{"ordinals": "2", "weight": 1}, {"ordinals": "0-1", "weight": 2}]
            }
        },
        {"storage": {"size": "1.5Gi"}},
        {"sidecar": {"env": [{"name": "PARTI_PARKED_MESSAGES_MAX", "value": "9"}]}},
        {"voters": 7, "replicas": 2},
    ],
    ids=str,
)
def test_what_is_just_allowed(spec: dict[str, Any]) -> None:
    assert problems(**spec) == []


def test_reserved_variables_are_settings_of_the_sidecar() -> None:
    known = {row.env_name for row in SETTINGS} | {"PARTI_CONFIG"}
    assert sorted(RESERVED_VARIABLES - known) == []


def test_what_the_operator_sets_cannot_be_set_otherwise() -> None:
    settings = yaml.safe_load(config_map(cluster_spec())["data"][names.CONFIG_FILE])
    assert {f"PARTI_{name.upper()}" for name in settings} - RESERVED_VARIABLES == set()


def with_pod(**fields: Any) -> dict[str, Any]:
    return {"spec": {**TEMPLATE["spec"], **fields}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"template": with_pod(hostNetwork=True)}, "hostNetwork"),
        ({"template": with_pod(dnsPolicy="Default")}, "dnsPolicy Default"),
        ({"storage": {"ephemeral": True}}, "storage.ephemeral"),
        ({"disruption": {"maxUnavailable": 2}}, "disruption.maxUnavailable 2"),
        ({"disruption": {"maxUnavailable": 2}, "voters": 5}, "disruption.maxUnavailable 2"),
    ],
)
def test_warnings(spec: dict[str, Any], words: str) -> None:
    (text,) = warnings(cluster_spec(**spec))
    assert text.startswith(words)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"template": with_pod(hostNetwork=True), "replicas": 1},
        {"template": with_pod(dnsPolicy="ClusterFirst")},
        {"disruption": {"maxUnavailable": 1}, "replicas": 1},
        {"disruption": {"maxUnavailable": 2}, "voters": 5, "replicas": 5},
    ],
    ids=str,
)
def test_no_warnings(spec: dict[str, Any]) -> None:
    assert warnings(cluster_spec(**spec)) == ()
