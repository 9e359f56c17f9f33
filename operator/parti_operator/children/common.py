"""What all children share: labels, the owner, the mark of what was asked for. Pure.

`parti.dev/spec-hash` is a hash of the whole object as the operator wants it. A field that is not
wanted any more is missing in the wanted object and would be overlooked when the two are compared;
the hash differs, the object is applied again, and server-side apply takes the field away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from parti_operator import names
from parti_operator.spec import ClusterRef

_HASH_DIGITS = 16


def labels(ref: ClusterRef, component: str) -> dict[str, str]:
    """The labels of a child; `component` says what it is for."""
    return {
        names.CLUSTER_LABEL: ref.name,
        names.NAME_LABEL: names.APPLICATION,
        names.INSTANCE_LABEL: ref.name,
        names.COMPONENT_LABEL: component,
        names.MANAGED_BY_LABEL: names.OPERATOR,
    }


def child(
    ref: ClusterRef,
    *,
    kind: tuple[str, str],
    name: str,
    component: str,
    body: Mapping[str, Any],
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A whole object of a (version, kind), owned by the PartiCluster and marked with its hash."""
    version, kind_name = kind
    wanted: dict[str, Any] = {
        "apiVersion": version,
        "kind": kind_name,
        "metadata": {
            "name": name,
            "namespace": ref.namespace,
            "labels": labels(ref, component),
            "annotations": dict(annotations or {}),
            "ownerReferences": [_owner(ref)],
        },
        **body,
    }
    wanted["metadata"]["annotations"][names.SPEC_HASH_ANNOTATION] = digest(wanted)
    return wanted


def digest(value: object) -> str:
    """A short hash that does not depend on the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def _owner(ref: ClusterRef) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": ref.name,
        "uid": ref.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
