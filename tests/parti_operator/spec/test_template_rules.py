"""What a pod template must not contain."""

from __future__ import annotations

from typing import Any

import pytest

from parti_operator import names
from parti_operator.spec.template_rules import template_problems
from tests.parti_operator.samples import FULL_TEMPLATE

APP = {"name": "app", "image": "a"}


def paths(template: dict[str, Any]) -> list[str]:
    return [problem.path.removeprefix("spec.template.") for problem in template_problems(template)]


def pod(**fields: Any) -> list[str]:
    return paths({"spec": {"containers": [APP], **fields}})


def test_a_template_with_everything_is_taken() -> None:
    assert paths(FULL_TEMPLATE) == []


@pytest.mark.parametrize("template", [{}, {"spec": None}, {"spec": []}])
def test_a_pod_must_be_given(template: dict[str, Any]) -> None:
    assert paths(template) == ["spec"]


@pytest.mark.parametrize("containers", [None, []])
def test_a_container_must_be_given(containers: object) -> None:
    assert paths({"spec": {"containers": containers}}) == ["spec.containers"]


def test_the_name_of_the_sidecar_is_taken() -> None:
    double = {"name": names.SIDECAR_CONTAINER, "image": "a"}
    assert pod(containers=[APP, double]) == ["spec.containers[1].name"]
    assert pod(initContainers=[double]) == ["spec.initContainers[0].name"]


@pytest.mark.parametrize("number", names.SIDECAR_PORTS)
@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_the_ports_of_the_sidecar_are_taken(kind: str, number: int) -> None:
    ports = [{"containerPort": 8080}, {"containerPort": number}]
    assert pod(**{kind: [{**APP, "ports": ports}]}) == [f"spec.{kind}[0].ports[1].containerPort"]


@pytest.mark.parametrize("number", [5099, 5105])
def test_ports_beside_them_are_free(number: int) -> None:
    assert pod(containers=[{**APP, "ports": [{"containerPort": number}]}]) == []


def test_the_same_number_of_another_protocol_is_free() -> None:
    assert pod(containers=[{**APP, "ports": [{"containerPort": 5101, "protocol": "UDP"}]}]) == []


def test_volumes_of_the_operator_are_neither_declared_nor_mounted() -> None:
    assert pod(volumes=[{"name": names.DATA_VOLUME, "emptyDir": {}}]) == ["spec.volumes[0].name"]
    mounted = {**APP, "volumeMounts": [{"name": names.CONFIG_VOLUME, "mountPath": "/x"}]}
    assert pod(containers=[mounted]) == ["spec.containers[0].volumeMounts[0].name"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hostname", "a"),
        ("subdomain", "a"),
        ("activeDeadlineSeconds", 5),
        ("ephemeralContainers", [APP]),
        ("restartPolicy", "OnFailure"),
    ],
)
def test_fields_that_no_statefulset_can_have(field: str, value: object) -> None:
    assert pod(**{field: value}) == [f"spec.{field}"]


@pytest.mark.parametrize("value", ["Always", "", None])
def test_restart_policy_always_is_fine(value: object) -> None:
    assert pod(restartPolicy=value) == []


@pytest.mark.parametrize(
    ("kind", "key"),
    [("labels", names.CLUSTER_LABEL), ("annotations", names.CONFIG_HASH_ANNOTATION)],
)
def test_marks_of_the_operator_cannot_be_set(kind: str, key: str) -> None:
    template = {"metadata": {kind: {key: "x"}}, "spec": {"containers": [APP]}}
    assert paths(template) == [f"metadata.{kind}"]


def test_lists_that_are_none_are_left_to_the_api_server() -> None:
    assert pod(volumes="x", initContainers=[3]) == []
