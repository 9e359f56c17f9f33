"""All children: valid for Kubernetes, owned, marked, and as the checked-in YAML says."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from parti_operator import names
from parti_operator.children import children, differs
from parti_operator.spec import ClusterSpec
from tests.parti_operator import samples
from tests.parti_operator.children import golden
from tests.parti_operator.defaults import cluster_spec

KUBERNETES = "1.34"
FOREIGN_KINDS = {"PodMonitor"}  # of another project: Kubernetes has no schema of it


def all_children(cluster: ClusterSpec, replicas: int = 3) -> dict[str, dict[str, Any]]:
    made = children(cluster, replicas=replicas, optional_kinds=FOREIGN_KINDS)
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in made}


@pytest.mark.parametrize("sample", golden.SAMPLES)
def test_children_are_as_checked_in(sample: str) -> None:
    expected = golden.path(sample).read_text(encoding="utf-8")
    assert golden.rendered(golden.SAMPLES[sample]()) == expected, golden.__doc__


@pytest.mark.parametrize("sample", golden.SAMPLES)
def test_children_are_valid_objects_of_kubernetes(sample: str) -> None:
    for wanted in all_children(golden.SAMPLES[sample]()).values():
        if wanted["kind"] not in FOREIGN_KINDS:
            kubernetes_validate.validate(wanted, KUBERNETES, strict=True)


@pytest.mark.parametrize("sample", golden.SAMPLES)
def test_children_are_plain_data(sample: str) -> None:
    for wanted in all_children(golden.SAMPLES[sample]()).values():
        # Enumerations and tuples would not come back as they were.
        assert yaml.safe_load(yaml.safe_dump(wanted)) == wanted


@pytest.mark.parametrize("sample", golden.SAMPLES)
def test_children_are_owned_and_labelled(sample: str) -> None:
    cluster = golden.SAMPLES[sample]()
    for wanted in all_children(cluster).values():
        metadata = wanted["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("PartiCluster", cluster.ref.name)
        assert owner["uid"] == cluster.ref.uid
        assert owner["controller"] is True
        assert metadata["namespace"] == cluster.ref.namespace
        assert metadata["labels"][names.CLUSTER_LABEL] == cluster.ref.name
        assert metadata["labels"][names.MANAGED_BY_LABEL] == "parti-operator"
        assert len(metadata["annotations"][names.SPEC_HASH_ANNOTATION]) == 16


def test_which_children_there_are() -> None:
    assert list(all_children(samples.minimal())) == [
        "ConfigMap/orders-sidecar",
        "Service/orders-peers",
        "Service/orders",
        "PodDisruptionBudget/orders",
        "PodMonitor/orders",
        "StatefulSet/orders",
    ]
    assert "NetworkPolicy/orders" in all_children(samples.full())
    assert "PodMonitor/orders" not in all_children(samples.ephemeral())


def test_a_pod_monitor_needs_its_kind() -> None:
    kinds = {one["kind"] for one in children(samples.minimal(), replicas=3)}
    assert "PodMonitor" not in kinds


def test_rendering_twice_gives_the_same() -> None:
    assert all_children(samples.full()) == all_children(samples.full())


def test_a_field_that_is_not_wanted_any_more_is_noticed() -> None:
    before = all_children(cluster_spec(service={"annotations": {"a": "b"}}))["Service/orders"]
    after = all_children(cluster_spec())["Service/orders"]
    assert differs(after, before)
    unmarked = {**after, "metadata": {**after["metadata"], "annotations": {}}}
    assert not differs(unmarked, before), "only the hash tells"


def test_scaling_changes_the_stateful_set_alone() -> None:
    before, after = all_children(samples.full(), 3), all_children(samples.full(), 5)
    changed = [key for key in before if before[key] != after[key]]
    assert changed == ["StatefulSet/orders"]
    one, other = before["StatefulSet/orders"]["spec"], after["StatefulSet/orders"]["spec"]
    assert one["template"] == other["template"]
    assert (one["replicas"], other["replicas"]) == (3, 5)


@pytest.mark.parametrize(
    "spec",
    [
        {"timeouts": {"drain": "30s"}},
        {"mode": "Available", "availableFor": "5s"},
        {"sidecar": {"logLevel": "debug"}},
        {"sidecar": {"image": "other"}},
    ],
    ids=str,
)
def test_what_the_sidecar_reads_at_its_start_rolls_the_pods(spec: dict[str, Any]) -> None:
    assert template(cluster_spec(**spec)) != template(cluster_spec())


@pytest.mark.parametrize(
    "spec",
    [
        {"placement": {"strategy": "round-robin"}},
        {"rebalance": {"mode": "Manual"}},
        {"voters": 5},
        {"timeouts": {"failure": "1h"}},
        {"service": {"annotations": {"a": "b"}}},
        {"networkPolicy": {"enabled": True}},
        {"disruption": {"maxUnavailable": 2}},
        {"paused": True},
    ],
    ids=str,
)
def test_what_may_change_under_way_rolls_nothing(spec: dict[str, Any]) -> None:
    assert template(cluster_spec(**spec)) == template(cluster_spec())


def template(cluster: ClusterSpec) -> Any:
    return all_children(cluster)["StatefulSet/orders"]["spec"]["template"]
