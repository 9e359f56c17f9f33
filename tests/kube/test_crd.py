"""The CRD on a real API server: what it takes, what it refuses and with which words, what it tells.

A copy of the CRD under a group and a plural of its own is tried: a chart on the same cluster is not
disturbed, and `kubectl get particlusters`, which knows groups from a cache, never means the copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts import crd, crd_cases
from tests.kube.scratch import scratch_namespace
from tests.kube.testbed.commands import TestbedError, wait_for
from tests.kube.testbed.kubectl import Kubectl

GROUP = "crd-test.parti.dev"
SAMPLES = sorted((crd.ROOT / "manifests" / "samples").glob("*.yaml"))
NAMES = {
    "kind": "PartiCluster",
    "listKind": "PartiClusterList",
    "plural": "particlustercopies",
    "singular": "particlustercopy",
}
RESOURCE = f"{NAMES['plural']}.{GROUP}"
ESTABLISHED_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def crd_copy(kubectl: Kubectl) -> Iterator[None]:
    """The CRD under another group; it goes with everything that was made of it."""
    copy: dict[str, Any] = deepcopy(dict(crd.definition()))
    copy["metadata"] = {"name": RESOURCE}
    copy["spec"] |= {"group": GROUP, "names": NAMES}
    kubectl("apply", "--server-side", "--filename=-", given=json.dumps(copy))
    try:
        wait_for(lambda: _is_served(kubectl), ESTABLISHED_S, "the CRD to be served")
        yield
    finally:
        kubectl("delete", "crd", RESOURCE)


@pytest.fixture(scope="module")
def place(kubectl: Kubectl, crd_copy: None) -> Iterator[Kubectl]:
    """One namespace for all tests here: most of them only ask."""
    with scratch_namespace(kubectl) as scoped:
        yield scoped


def _is_served(kubectl: Kubectl) -> bool:
    try:
        return kubectl.items(RESOURCE) == []
    except TestbedError:
        return False


def _document(changes: crd_cases.Changes, name: str = "orders") -> str:
    resource = crd_cases.resource(changes, name) | {"apiVersion": f"{GROUP}/v1alpha1"}
    return json.dumps(resource)


def _title(case: crd_cases.Creation | crd_cases.Update) -> str:
    return case.title


@pytest.mark.parametrize("case", crd_cases.CREATIONS, ids=_title)
def test_a_resource_is_taken_or_refused(place: Kubectl, case: crd_cases.Creation) -> None:
    document = _document(case.changes, case.name)
    create = ("create", "--dry-run=server", "--validate=strict", "--filename=-")
    if case.refusal:
        assert case.refusal in place.refused(*create, given=document)
    else:
        place(*create, given=document)


@pytest.mark.parametrize("case", crd_cases.UPDATES, ids=_title)
def test_a_change_is_taken_or_refused(place: Kubectl, case: crd_cases.Update) -> None:
    name = case.title.replace(" ", "-")
    place("create", "--filename=-", given=_document(case.before, name))
    replace = ("replace", "--filename=-")
    if case.refusal:
        assert case.refusal in place.refused(*replace, given=_document(case.changes, name))
    else:
        place(*replace, given=_document(case.changes, name))


def test_defaults_are_filled_in_and_unknown_fields_are_told(place: Kubectl) -> None:
    place("create", "--filename=-", given=_document({}, "defaults"))
    spec = place.json(RESOURCE, "defaults")["spec"]
    assert (spec["replicas"], spec["partitions"], spec["voters"]) == (3, 64, 3)
    assert spec["timeouts"]["failure"] == "5m"
    assert spec["storage"]["retention"] == {"whenDeleted": "Retain", "whenScaled": "Delete"}
    misspelt = _document({"replica": 3}, "other")
    strict = ("create", "--validate=strict", "--filename=-")
    assert 'unknown field "spec.replica"' in place.refused(*strict, given=misspelt)


def test_it_is_scaled_by_its_subresource_within_its_bounds(place: Kubectl) -> None:
    place("create", "--filename=-", given=_document({}, "scaled"))
    place("scale", RESOURCE, "scaled", "--replicas=5")
    assert place.json(RESOURCE, "scaled")["spec"]["replicas"] == 5
    refusal = place.refused("scale", RESOURCE, "scaled", "--replicas=0")
    assert "greater than or equal to 1" in refusal


def test_a_table_has_the_columns_of_the_status(place: Kubectl) -> None:
    place("create", "--filename=-", given=_document({}, "shown"))
    status = {"ready": "3/3", "phase": "Ready", "leader": "orders-1", "term": 7}
    status |= {"partitions": {"total": 64, "moving": 2}}
    patch = json.dumps({"status": status})
    place("patch", RESOURCE, "shown", "--subresource=status", "--type=merge", "-p", patch)
    header, row = place("get", RESOURCE, "shown", "--output=wide").splitlines()
    assert header.split() == [
        *("NAME", "READY", "PHASE", "LEADER", "PARTITIONS", "MOVING", "AGE", "VERSION", "TERM")
    ]
    assert row.split()[:6] == ["shown", "3/3", "Ready", "orders-1", "64", "2"]
    assert row.split()[-1] == "7"


def test_every_field_of_the_spec_is_explained(kubectl: Kubectl) -> None:
    recursive = kubectl("explain", f"{RESOURCE}.spec", "--recursive")
    names = {line.split("\t")[0].strip() for line in recursive.splitlines() if "\t<" in line}
    spec = crd.schema()["properties"]["spec"]
    paths = [path for path, _ in crd.nodes(spec) if path and not path.endswith(("[]", ".*"))]
    assert {path.rpartition(".")[2] for path in paths} == names
    said = kubectl("explain", f"{RESOURCE}.spec.timeouts.failure")
    assert "replaces it by a new one" in said


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_taken(place: Kubectl, path: Path) -> None:
    sample = yaml.safe_load(path.read_text(encoding="utf-8"))
    sample["apiVersion"] = f"{GROUP}/v1alpha1"
    create = ("create", "--dry-run=server", "--validate=strict", "--filename=-")
    place(*create, given=json.dumps(sample))
