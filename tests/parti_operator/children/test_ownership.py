"""What others have added to a child is seen by who owns it, and taken away; the rest is theirs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from parti_operator.children import (
    client_service,
    differs,
    entries_of_others,
    repaired,
    stateful_set,
)
from parti_operator.names import FIELD_MANAGER
from tests.parti_operator import samples
from tests.parti_operator.children.stored import stored

WANTED = stateful_set(samples.minimal(), 3)
APP = 'k:{"name":"app"}'


def entry(fields: dict[str, Any], manager: str = "kubectl-edit", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "fieldsV1": fields, **more}


def in_pod(**fields: Any) -> dict[str, Any]:
    return {"f:spec": {"f:template": {"f:spec": {f"f:{key}": v for key, v in fields.items()}}}}


def in_app(**fields: Any) -> dict[str, Any]:
    return in_pod(containers={APP: {".": {}, **{f"f:{key}": v for key, v in fields.items()}}})


def live(*entries: dict[str, Any]) -> dict[str, Any]:
    """The object as it was stored, with what the API server knows of its managers."""
    made: dict[str, Any] = deepcopy(stored(WANTED))
    ours = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:x": {}}}}
    made["metadata"]["managedFields"] = [ours, *entries]
    return made


def without(value: Any, *path: str) -> Any:
    for step in path:
        value = value[step]
    return value


ADDITIONS = {
    "a field of the pod": (in_pod(nodeSelector={}), ("nodeSelector",)),
    "a part of an object that is not wanted": (
        in_pod(affinity={"f:nodeAffinity": {}}),
        ("affinity",),
    ),
    "a part of an object that is": (
        in_pod(securityContext={"f:runAsUser": {}}),
        ("securityContext", "runAsUser"),
    ),
}


@pytest.mark.parametrize("case", ADDITIONS.values(), ids=ADDITIONS.keys())
def test_an_addition_is_an_edit_and_is_taken_away(case: tuple[Any, tuple[str, ...]]) -> None:
    fields, place = case
    found = live(entry(fields))
    assert differs(WANTED, found)
    pod = repaired(WANTED, found)["spec"]["template"]["spec"]
    assert without(pod, *place) is None
    assert pod["containers"] == WANTED["spec"]["template"]["spec"]["containers"]


LISTS = {
    "a field of a container": in_app(args={}),
    "a variable": in_app(env={'k:{"name":"DEBUG"}': {".": {}, "f:value": {}}}),
    "a container": in_pod(containers={'k:{"name":"debug"}': {".": {}, "f:image": {}}}),
    "a list as a whole": in_pod(containers={}),
}


@pytest.mark.parametrize("fields", LISTS.values(), ids=LISTS.keys())
def test_an_addition_inside_a_list_brings_the_wanted_list_back(fields: dict[str, Any]) -> None:
    found = live(entry(fields))
    assert differs(WANTED, found)
    assert repaired(WANTED, found)["spec"] == WANTED["spec"]


NOBODYS = {
    "a default": {},
    "a value that is wanted": in_app(image={}, env={'k:{"name":"PARTI_ADDRESS"}': {".": {}}}),
    "the object's own metadata": {"f:metadata": {"f:labels": {"f:team": {}}}},
    "the mark of kubectl rollout restart": {
        "f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.x": {}}}}}
    },
    "a status": {"f:status": {"f:replicas": {}}},
}


@pytest.mark.parametrize("fields", NOBODYS.values(), ids=NOBODYS.keys())
def test_what_others_may_write_stays(fields: dict[str, Any]) -> None:
    found = live(entry(fields))
    assert not differs(WANTED, found)
    assert repaired(WANTED, found) == WANTED


@pytest.mark.parametrize(
    "theirs",
    [
        entry(in_pod(nodeSelector={}), manager=FIELD_MANAGER),
        entry({"f:spec": {"f:replicas": {}}}, subresource="scale"),
    ],
    ids=["admission at our own write", "a subresource"],
)
def test_whose_entry_does_not_count(theirs: dict[str, Any]) -> None:
    assert entries_of_others(live(theirs)["metadata"]) == []
    assert not differs(WANTED, live(theirs))


def test_ports_are_known_by_the_keys_that_are_written() -> None:
    wanted = client_service(samples.full())
    key = 'k:{"port":8080,"protocol":"TCP"}'
    port: dict[str, Any] = {".": {}, "f:port": {}, "f:targetPort": {}}
    fields = {"f:spec": {"f:ports": {key: port}}}
    found: dict[str, Any] = deepcopy(stored(wanted))
    found["metadata"]["managedFields"] = [entry(fields)]
    assert not differs(wanted, found)
    port["f:nodePort"] = {}
    assert differs(wanted, found)


def test_several_editors_are_repaired_at_once_and_none_is_left() -> None:
    status = entry({"f:status": {}}, manager="kube-controller-manager", subresource="status")
    found = live(
        entry(in_pod(nodeSelector={})), entry(in_pod(hostNetwork={}), manager="somebody"), status
    )
    patch = repaired(WANTED, found)
    pod = patch["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], pod["hostNetwork"]) == (None, None)
    left = patch["metadata"]["managedFields"]
    assert left == [found["metadata"]["managedFields"][0], status]
    assert "managedFields" not in WANTED["metadata"]
    assert "nodeSelector" not in WANTED["spec"]["template"]["spec"]


def test_of_others_only_what_counts_is_kept() -> None:
    mixed = entry({"f:metadata": {"f:labels": {}}, **in_pod(nodeSelector={})}, time="12:00")
    assert entries_of_others(live(mixed)["metadata"]) == [
        {"manager": "kubectl-edit", "fieldsV1": in_pod(nodeSelector={})}
    ]
