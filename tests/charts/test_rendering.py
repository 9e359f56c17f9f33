from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from parti_operator.config import load_config
from parti_operator.names import NAME_LABEL, OPERATOR
from tests.charts import chart
from tools import chart_values
from tools.render_manifests import CHART, Object, is_hook, objects

KUBERNETES = "1.34"
# Kinds of the Prometheus operator, which the schemas of Kubernetes do not hold.
_FOREIGN = {"PodMonitor", "PrometheusRule"}
_RESTRICTED_VOLUMES = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}

matrix = pytest.mark.parametrize(
    "values", [pytest.param(values, id=name) for name, values in chart.MATRIX.items()]
)


@matrix
def test_what_is_rendered_is_valid_for_kubernetes(values: Mapping[str, Any]) -> None:
    rendered = objects(values)
    assert rendered
    for document in rendered:
        if document["kind"] not in _FOREIGN:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


@matrix
def test_the_chart_has_nothing_that_helm_would_warn_of(values: Mapping[str, Any]) -> None:
    report = helm_python.lint(CHART, dict(values), strict=True, kube_version=f"v{KUBERNETES}.0")
    assert report["messages"] == []
    assert report["errors"] == []


@matrix
def test_every_object_is_labelled_and_named_once(values: Mapping[str, Any]) -> None:
    rendered = objects(values)
    places = [
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in rendered
    ]
    assert len(set(places)) == len(places)
    for document in rendered:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "parti"
        assert labels["app.kubernetes.io/part-of"] == "parti"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert is_hook(document) or labels["helm.sh/chart"] == "parti-0.1.0"


@matrix
def test_pods_fit_the_restricted_profile(values: Mapping[str, Any]) -> None:
    rendered = objects(values)
    pods = [one["spec"] for one in rendered if one["kind"] == "Pod"]
    pods.append(chart.one(rendered, "Deployment")["spec"]["template"]["spec"])
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in pod.get("volumes", []):
            assert set(volume) - {"name"} <= _RESTRICTED_VOLUMES
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]


@matrix
def test_selectors_find_the_operators_pods_only(values: Mapping[str, Any]) -> None:
    rendered = objects(values)
    deployment = chart.one(rendered, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [deployment["selector"]["matchLabels"]]
    selectors.append(chart.one(rendered, "Service")["spec"]["selector"])
    selectors += [
        one["spec"]["selector"]["matchLabels"]
        for one in rendered
        if one["kind"] in {"PodDisruptionBudget", "PodMonitor"}
    ]
    selectors += [
        one["spec"]["podSelector"]["matchLabels"]
        for one in rendered
        if one["kind"] == "NetworkPolicy"
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    for pod in (one for one in rendered if one["kind"] == "Pod"):
        assert not selectors[0].items() <= pod["metadata"]["labels"].items()
    # NetworkPolicies of PartiClusters let the operator in by this label.
    assert labels[NAME_LABEL] == OPERATOR


def _environment(rendered: list[Object]) -> dict[str, str]:
    """The operator's variables as the kubelet would set them."""
    fields = {"metadata.name": "parti-operator-0", "metadata.namespace": "parti-system"}
    return {
        row["name"]: row["value"]
        if "value" in row
        else fields[row["valueFrom"]["fieldRef"]["fieldPath"]]
        for row in chart.container(rendered)["env"]
    }


@pytest.mark.parametrize(
    ("values", "namespaces"),
    [
        ({}, ("parti-system",)),
        ({"watch": {"namespaces": ["shop", "stock"]}}, ("shop", "stock")),
        ({"watch": {"all": True}}, ()),
    ],
)
def test_the_operator_understands_its_settings(
    values: Mapping[str, Any], namespaces: tuple[str, ...]
) -> None:
    # None of these is what the operator would take by itself.
    unusual = {
        "log": {"level": "warning", "format": "human"},
        "sidecarImage": {"tag": "9.9.9"},
        "fullnameOverride": "sharding",
    }
    rendered = objects({**values, **unusual})
    environment = _environment(rendered)
    config = load_config([], environment)
    assert config.namespaces == namespaces
    assert (config.namespace, config.pod_name) == ("parti-system", "parti-operator-0")
    assert config.sidecar_image == "ghcr.io/parti-dev/parti-sidecar:9.9.9"
    assert config.lease_name == chart.one(rendered, "Deployment")["metadata"]["name"]
    assert (config.log_level, config.log_format) == ("warning", "human")
    [port] = chart.container(rendered)["ports"]
    assert (config.http_host, config.http_port) == ("0.0.0.0", port["containerPort"])
    for name, value in environment.items():
        assert load_config([], {name: value}) != load_config([], {}), f"nobody reads {name}"


def test_values_reach_their_places() -> None:
    rendered = objects(chart.EVERYTHING)
    deployment = chart.one(rendered, "Deployment")["spec"]
    pod = deployment["template"]["spec"]
    container = chart.container(rendered)
    assert deployment["replicas"] == 3
    assert container["image"] == "ghcr.io/parti-dev/parti-operator:1.2.3"
    assert container["imagePullPolicy"] == "Always"
    assert _environment_value(container, "PARTI_OPERATOR_SIDECAR_IMAGE") == (
        "example/sidecar@sha256:" + "0" * 64
    )
    assert {row["name"] for row in container["env"]} >= {"HTTPS_PROXY", "ZONE"}
    for field in ("affinity", "nodeSelector", "tolerations", "topologySpreadConstraints"):
        assert pod[field] == chart.EVERYTHING[field]
    assert pod["priorityClassName"] == "high"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert container["resources"]["limits"] == {"cpu": 2, "memory": "1Gi"}
    assert deployment["template"]["metadata"]["labels"]["team"] == "orders"
    assert chart.one(rendered, "PodMonitor")["metadata"]["labels"]["release"] == "prometheus"
    ingress = chart.one(rendered, "NetworkPolicy")["spec"]["ingress"][0]["from"]
    assert len(ingress) == 2


def _environment_value(container: Object, name: str) -> str:
    [value] = [row["value"] for row in container["env"] if row["name"] == name]
    return str(value)


def test_two_releases_share_no_object_without_a_namespace() -> None:
    def places(namespace: str) -> set[tuple[str, str]]:
        values = {"crds": {"install": False}, "watch": {"all": True}}
        rendered = objects(values, namespace=namespace)
        return {
            (one["kind"], one["metadata"]["name"])
            for one in rendered
            if "namespace" not in one["metadata"]
        }

    assert places("a")
    assert places("a") & places("b") == set()


def test_only_the_crd_is_kept_on_uninstall() -> None:
    kept = [one["kind"] for one in objects({}) if "helm.sh/resource-policy" in _annotations(one)]
    assert kept == ["CustomResourceDefinition"]
    freed = objects({"crds": {"keep": False}})
    assert not any("helm.sh/resource-policy" in _annotations(one) for one in freed)
    without = objects({"crds": {"install": False}})
    assert not any(one["kind"] == "CustomResourceDefinition" for one in without)


def _annotations(document: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = document["metadata"].get("annotations", {})
    return found


def test_a_single_replica_has_no_budget() -> None:
    kinds = [one["kind"] for one in objects({"replicas": 1})]
    assert "PodDisruptionBudget" not in kinds


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": 0}, "minimum"),
        ({"replicas": "two"}, "replicas"),
        ({"image": {"digest": "abc"}}, "digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"image": {"name": "x"}}, "name"),
        ({"watch": {"all": True, "namespaces": ["shop"]}}, "namespaces"),
        ({"watch": {"namespaces": ["Not A Name"]}}, "namespaces"),
        ({"log": {"level": "loud"}}, "level"),
        ({"extraEnv": [{"value": "x"}]}, "name"),
        ({"serviceAccount": {"create": False}}, "serviceAccount"),
        ({"monitoring": {"podMonitor": {"interval": "soon"}}}, "interval"),
        ({"monitoring": {"dashboard": {}}}, "dashboard"),
        ({"podLabels": {"a": 1}}, "podLabels"),
        ({"fullnameOverride": "UPPER"}, "fullnameOverride"),
    ],
)
def test_wrong_values_are_refused_with_their_name(
    values: Mapping[str, Any], complaint: str
) -> None:
    with pytest.raises(helm_python.HelmError, match=complaint):
        objects(values)


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"replicas": 1}, "replicas is 1"),
        ({"crds": {"keep": False}}, "crds.keep is false"),
        ({"crds": {"install": False}}, "crds.install is false"),
        ({"rbac": {"create": False}}, "rbac.create is false"),
        ({}, "without watch.all"),
        ({"monitoring": {"prometheusRule": {"enabled": True}}}, "podMonitor.enabled is false"),
    ],
)
def test_notes_warn_of_what_is_risky(values: Mapping[str, Any], warning: str) -> None:
    assert warning in _notes(values)


def test_notes_name_the_next_commands_and_warn_of_nothing_without_reason() -> None:
    notes = _notes({"watch": {"all": True}})
    assert "WARNING" not in notes
    assert "kubectl --namespace parti-system rollout status deployment/parti-operator" in notes
    [example] = re.findall(r"<<EOF\n(.*?)  EOF", notes, re.DOTALL)
    assert yaml.safe_load(example)["kind"] == "PartiCluster"
    assert "runAsNonRoot: false" in notes


def _notes(values: Mapping[str, Any]) -> str:
    with helm_python.Chart.load(CHART) as loaded:
        rendered = loaded.render(dict(values), name="parti", namespace="parti-system")
    notes: str = rendered["parti/templates/NOTES.txt"]
    return notes


def test_every_value_is_described_and_bounded() -> None:
    values = chart_values.described((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert len(values) > 40
    for value in values:
        assert value.about.endswith("."), value.path
        place = schema
        for name in value.path.split("."):
            assert place["additionalProperties"] is False, value.path
            place = place["properties"][name]


def test_values_are_read_with_the_comments_above_them() -> None:
    text = "# -- How many.\nreplicas: 2\nimage:\n  # -- Which.\n  tag: ''\n  digest: x\n"
    assert chart_values.described(text) == [
        chart_values.Value("replicas", 2, "How many."),
        chart_values.Value("image.tag", "", "Which."),
        chart_values.Value("image.digest", "x", ""),
    ]


def test_the_table_replaces_the_former_one_only() -> None:
    page = f"before\n{chart_values.BEGIN}old\n{chart_values.END}after\n"
    made = chart_values.with_table(page, [chart_values.Value("a.b", {"x": 1}, "Why.")])
    assert "old" not in made
    assert '| `a.b` | `{"x": 1}` | Why. |\n' in made
    assert made.startswith("before\n")
    assert made.endswith("after\n")
    assert chart_values.with_table(made, [chart_values.Value("a.b", {"x": 1}, "Why.")]) == made


def test_the_chart_can_be_packaged(tmp_path: Path) -> None:
    copy = tmp_path / "parti"
    shutil.copytree(CHART, copy)
    archive = helm_python.package(copy, destination=tmp_path)
    with helm_python.Chart.load(archive) as loaded:
        assert (loaded.name, loaded.version) == ("parti", "0.1.0")
        assert len(loaded.templates) > 10
