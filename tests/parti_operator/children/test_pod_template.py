"""The user's pod template comes out whole, with the sidecar and what it needs beside it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from parti_operator import names
from parti_operator.children.pod_template import pod_template
from parti_operator.spec import ClusterSpec
from tests.parti_operator import samples
from tests.parti_operator.defaults import TEMPLATE, cluster_spec
from tests.parti_operator.samples import FULL_TEMPLATE


def with_pod(**fields: Any) -> ClusterSpec:
    return cluster_spec(template={"spec": {**TEMPLATE["spec"], **fields}})


def pod_of(cluster: ClusterSpec) -> dict[str, Any]:
    pod: dict[str, Any] = pod_template(cluster)["spec"]
    return pod


def sidecar_of(cluster: ClusterSpec) -> dict[str, Any]:
    container: dict[str, Any] = pod_of(cluster)["initContainers"][0]
    return container


def test_everything_of_the_user_is_kept() -> None:
    given = FULL_TEMPLATE["spec"]
    pod = pod_of(samples.full())
    untouched = set(given) - {"containers", "initContainers", "volumes", "securityContext"}
    assert {field: pod[field] for field in untouched} == {
        field: given[field] for field in untouched
    }
    assert pod["initContainers"][1:] == given["initContainers"]
    assert pod["volumes"][:1] == given["volumes"]
    for container, original in zip(pod["containers"], given["containers"], strict=True):
        assert {**container, "env": original.get("env")} == {**original, "env": original.get("env")}


def test_building_leaves_the_spec_alone() -> None:
    cluster = samples.full()
    before = deepcopy(cluster.template)
    pod_template(cluster)
    assert cluster.template == before


def test_the_users_labels_win_but_for_the_selector() -> None:
    metadata = pod_template(samples.full())["metadata"]
    assert metadata["labels"]["app.kubernetes.io/name"] == "orders"
    assert metadata["labels"]["tier"] == "back"
    assert metadata["labels"][names.CLUSTER_LABEL] == "orders"
    assert metadata["labels"][names.MANAGED_BY_LABEL] == "parti-operator"
    assert metadata["annotations"]["example.com/team"] == "orders"


def test_the_sidecar_is_a_native_one_and_comes_first() -> None:
    container = sidecar_of(samples.full())
    assert container["name"] == names.SIDECAR_CONTAINER
    assert container["restartPolicy"] == "Always"
    assert container["image"] == "example/own-sidecar:3"
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "256Mi"},
        "limits": {"memory": "512Mi"},
    }


@pytest.mark.parametrize(
    ("drain", "wait"), [("20s", "20s"), ("1500ms", "2s"), ("1m", "60s")], ids=str
)
def test_the_sidecar_drains_when_the_pod_begins_to_end(drain: str, wait: str) -> None:
    cluster = cluster_spec(timeouts={"drain": drain, "handover": "500ms"})
    hook = sidecar_of(cluster)["lifecycle"]["preStop"]["exec"]["command"]
    assert hook == ["parti", "prepare-to-stop", "--wait", wait]


def test_probes_ask_the_sidecar() -> None:
    container = sidecar_of(samples.minimal())
    paths = {
        kind: container[kind]["httpGet"]["path"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": "/startupz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    for kind in paths:
        assert container[kind]["httpGet"]["port"] == names.HTTP_PORT


@pytest.mark.parametrize("cluster", [samples.minimal(), samples.full()])
def test_the_sidecar_meets_the_restricted_profile(cluster: ClusterSpec) -> None:
    security = sidecar_of(cluster)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 65_532
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["readOnlyRootFilesystem"] is True


def test_rights_of_the_pod_are_filled_in_where_the_user_is_silent() -> None:
    assert pod_of(samples.minimal())["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroup": 65_532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    given = pod_of(samples.full())["securityContext"]
    assert (given["fsGroup"], given["runAsUser"], given["runAsNonRoot"]) == (2_000, 1_000, True)
    rootful = pod_of(with_pod(securityContext={"runAsNonRoot": False}))
    assert rootful["securityContext"]["runAsNonRoot"] is False


def test_no_rights_are_taken_from_the_users_containers() -> None:
    for container in pod_of(samples.minimal())["containers"]:
        assert "securityContext" not in container


def test_no_token_of_the_api_unless_asked_for() -> None:
    assert pod_of(samples.minimal())["automountServiceAccountToken"] is False
    assert pod_of(samples.full())["automountServiceAccountToken"] is True
    assert (
        pod_of(with_pod(automountServiceAccountToken=False))["automountServiceAccountToken"]
        is False
    )


@pytest.mark.parametrize(("given", "expected"), [(None, 40), (5, 40), (40, 40), (41, 41)])
def test_the_time_to_end_is_raised_to_what_draining_takes(given: int | None, expected: int) -> None:
    cluster = with_pod(terminationGracePeriodSeconds=given)
    assert pod_of(cluster)["terminationGracePeriodSeconds"] == expected


def test_the_application_learns_where_its_sidecar_is() -> None:
    (container,) = pod_of(samples.minimal())["containers"]
    assert container["env"] == [
        {"name": "PARTI_ADDRESS", "value": "127.0.0.1:5100"},
        {"name": "PARTI_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]


def test_variables_of_the_user_win_and_may_refer_to_ours() -> None:
    app, proxy = pod_of(samples.full())["containers"]
    assert [row["name"] for row in app["env"]] == ["PARTI_POD_NAME", "PARTI_ADDRESS", "WHO"]
    assert app["env"][1]["value"] == "localhost:5100"
    assert [row["name"] for row in proxy["env"]] == ["PARTI_ADDRESS", "PARTI_POD_NAME"]


def test_only_the_sidecar_mounts_its_volumes() -> None:
    pod = pod_of(samples.full())
    mounts = [
        (container["name"], mount["name"])
        for container in (*pod["initContainers"], *pod["containers"])
        for mount in container.get("volumeMounts", [])
        if mount["name"].startswith(names.VOLUME_PREFIX)
    ]
    assert mounts == [
        (names.SIDECAR_CONTAINER, names.DATA_VOLUME),
        (names.SIDECAR_CONTAINER, names.CONFIG_VOLUME),
    ]


def test_state_without_a_disk_is_in_the_pod() -> None:
    assert {"name": names.DATA_VOLUME, "emptyDir": {}} in pod_of(samples.ephemeral())["volumes"]
    on_disk = [volume["name"] for volume in pod_of(samples.minimal())["volumes"]]
    assert on_disk == [names.CONFIG_VOLUME]


def test_pods_are_spread_unless_the_user_says_how() -> None:
    keys = [row["topologyKey"] for row in pod_of(samples.minimal())["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert "topologySpreadConstraints" not in pod_of(cluster_spec(topologySpread="disabled"))
    own = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
    kept = pod_of(with_pod(topologySpreadConstraints=own))["topologySpreadConstraints"]
    assert kept == own


def test_pods_in_the_nodes_network_use_the_clusters_dns() -> None:
    assert pod_of(with_pod(hostNetwork=True))["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert pod_of(with_pod(hostNetwork=True, dnsPolicy="None"))["dnsPolicy"] == "None"
    assert "dnsPolicy" not in pod_of(samples.minimal())


def test_fields_that_are_null_are_as_absent() -> None:
    nothing = with_pod(
        initContainers=None,
        volumes=None,
        securityContext=None,
        automountServiceAccountToken=None,
        topologySpreadConstraints=None,
        containers=[{"name": "app", "image": "example/orders:1", "env": None, "ports": None}],
    )
    pod = pod_of(nothing)
    assert len(pod["initContainers"]) == 1
    assert pod["containers"][0]["env"][0]["name"] == names.ADDRESS_VARIABLE
    assert pod["topologySpreadConstraints"]
    assert None not in pod.values()
    assert None not in pod["containers"][0].values()


def test_metadata_as_tools_write_it() -> None:
    given = {"metadata": {"creationTimestamp": None, "labels": None}, "spec": TEMPLATE["spec"]}
    metadata = pod_template(cluster_spec(template=given))["metadata"]
    assert set(metadata) == {"labels", "annotations"}
