"""The operator's rights are what it needs and no more."""

from __future__ import annotations

import pytest

from parti_operator.children import children
from parti_operator.kube_api import KINDS, LEASE, NODE, PARTI_CLUSTER
from tests.charts import chart
from tests.charts.rights import ROLE_KINDS, Right, operator_rights, rights_of
from tests.parti_operator.samples import minimal
from tools.render_manifests import Object, objects


@pytest.mark.parametrize("name", list(chart.MATRIX))
def test_no_role_has_a_wildcard_or_reads_secrets(name: str) -> None:
    for role in (one for one in objects(chart.MATRIX[name]) if one["kind"] in ROLE_KINDS):
        for group, resource, verb in rights_of(role["rules"]):
            assert "*" not in group + resource + verb
            assert resource not in {"secrets", "serviceaccounts", "pods/exec", "pods/log"}
            assert group != "rbac.authorization.k8s.io"
            assert verb not in {"escalate", "bind", "impersonate"}


def test_the_operator_does_nothing_to_what_is_not_its_own() -> None:
    rights = operator_rights({"watch": {"all": True}})
    assert {verb for group, resource, verb in rights if resource == "nodes"} == {
        "get",
        "list",
        "watch",
    }
    assert {verb for _, resource, verb in rights if resource == "particlusters"} == {
        "get",
        "list",
        "watch",
        "patch",
    }
    assert ("", "pods", "create") not in rights
    assert ("", "persistentvolumeclaims", "create") not in rights
    assert not any(verb in {"deletecollection", "update"} for verb in _verbs_of_children(rights))


@pytest.mark.parametrize("name", ["defaults", "whole cluster", "two namespaces"])
def test_owner_references_may_block_deletion(name: str) -> None:
    """OpenShift asks for this right of whoever sets `blockOwnerDeletion`, as every child has it."""
    owners = [
        owner
        for child in children(minimal(), replicas=3)
        for owner in child["metadata"]["ownerReferences"]
    ]
    assert all(owner["blockOwnerDeletion"] for owner in owners)
    rights = operator_rights(chart.MATRIX[name])
    assert ("parti.dev", "particlusters/finalizers", "update") in rights


def _verbs_of_children(rights: set[Right]) -> set[str]:
    own = {"particlusters/finalizers", "leases"}
    return {verb for _, resource, verb in rights if resource not in own}


def test_every_kind_that_the_operator_knows_is_covered_and_no_other() -> None:
    rights = operator_rights({"watch": {"all": True}})
    known = {(kind.group, kind.plural) for kind in KINDS.values()}
    covered = {(group, resource.partition("/")[0]) for group, resource, _ in rights}
    assert covered == known


def test_within_namespaces_nothing_of_the_whole_cluster_is_read() -> None:
    rights = operator_rights({"watch": {"namespaces": ["shop", "stock"]}})
    assert not any(resource == NODE.plural for _, resource, _ in rights)
    rendered = objects({"watch": {"namespaces": ["shop", "stock"]}})
    assert not any(one["kind"] == "ClusterRoleBinding" for one in rendered)


def test_each_namespace_has_its_role_and_the_release_that_of_the_lease() -> None:
    rendered = objects({"watch": {"namespaces": ["shop", "stock"]}})
    roles = [one for one in rendered if one["kind"] == "Role"]
    with_pods = {one["metadata"]["namespace"] for one in roles if _mentions(one, "pods")}
    with_leases = {one["metadata"]["namespace"] for one in roles if _mentions(one, LEASE.plural)}
    assert with_pods == {"shop", "stock"}
    assert with_leases == {"parti-system"}


def _mentions(role: Object, resource: str) -> bool:
    return any(resource in rule["resources"] for rule in role["rules"])


def test_only_its_own_lease_is_written() -> None:
    rendered = objects({})
    for role in (one for one in rendered if one["kind"] in ROLE_KINDS):
        for rule in role["rules"]:
            if LEASE.plural in rule["resources"] and rule["verbs"] != ["create"]:
                assert rule["resourceNames"] == ["parti-operator"]


def test_people_with_edit_may_change_clusters_but_not_their_status() -> None:
    rendered = objects({})
    rights: dict[str, set[Right]] = {}
    for role in (one for one in rendered if one["kind"] == "ClusterRole"):
        for label in role["metadata"]["labels"]:
            if label.startswith("rbac.authorization.k8s.io/aggregate-to-"):
                audience = label.rpartition("-")[2]
                rights.setdefault(audience, set()).update(rights_of(role["rules"]))
    assert set(rights) == {"view", "edit", "admin"}
    assert {verb for _, _, verb in rights["view"]} == {"get", "list", "watch"}
    assert rights["edit"] == rights["admin"]
    changed = {resource for _, resource, _ in rights["edit"]}
    assert changed == {PARTI_CLUSTER.plural, f"{PARTI_CLUSTER.plural}/scale"}


def test_tokens_are_mounted_where_they_are_used_only() -> None:
    rendered = objects({})
    assert chart.one(rendered, "ServiceAccount")["automountServiceAccountToken"] is False
    pod = chart.one(rendered, "Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    assert chart.one(rendered, "Pod")["spec"]["automountServiceAccountToken"] is False
