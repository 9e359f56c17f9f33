"""What the chart lets the operator do, as triples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from tools.render_manifests import objects

ROLE_KINDS = frozenset({"Role", "ClusterRole"})
Right = tuple[str, str, str]  # group, resource, verb


def rights_of(rules: Iterable[Mapping[str, Any]]) -> set[Right]:
    """Every right that the rules of a role give."""
    return {
        right
        for rule in rules
        for right in product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def operator_rights(values: Mapping[str, Any]) -> set[Right]:
    """Everything that is bound to the operator's service account, wherever."""
    rendered = objects(values)
    roles = {
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]): one["rules"]
        for one in rendered
        if one["kind"] in ROLE_KINDS
    }
    found: set[Right] = set()
    for binding in (one for one in rendered if one["kind"].endswith("RoleBinding")):
        [subject] = binding["subjects"]
        assert subject["name"] == "parti-operator"
        place = binding["metadata"].get("namespace")
        role = binding["roleRef"]
        found |= rights_of(roles[role["kind"], place, role["name"]])
    return found
