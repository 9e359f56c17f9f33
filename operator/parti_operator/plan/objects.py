"""The children: made where they are missing, written where they differ. Pure.

An idle cluster writes nothing. Only two writes need a live look: the first one of the StatefulSet,
which brings pods to life, and one that lowers its replicas. The latter names the version it was
planned for, so it fails if anybody has changed the StatefulSet meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from parti_operator.actions import ApplyChild, DeleteChild, GrowClaim
from parti_operator.children import amount, children, differs
from parti_operator.names import SPEC_HASH_ANNOTATION, EventReason
from parti_operator.observed import ChildKey, KubeObject
from parti_operator.plan.look import Look
from parti_operator.plan.values import Occurrence

_STATEFUL_SET = "StatefulSet"


def plan_children(
    look: Look, replicas: int
) -> tuple[tuple[ApplyChild | DeleteChild, ...], tuple[Occurrence, ...]]:
    """What to write and to delete, and what to say about it."""
    seen = look.observed.stateful_set
    wanted = children(
        replace(look.spec, cluster_id=look.cluster_id),
        replicas=replicas,
        claim_size=seen.claim_size if seen is not None else "",
        optional_kinds=look.observed.optional_kinds,
    )
    actions: list[ApplyChild | DeleteChild] = []
    events: list[Occurrence | None] = []
    for child in wanted:
        key = ChildKey(child["kind"], child["metadata"]["name"])
        live = look.observed.children.get(key)
        if live is None or differs(child, live):
            actions.append(_apply(look, child, replicas))
            events.append(_event(key, live, child))
    needed = {ChildKey(child["kind"], child["metadata"]["name"]) for child in wanted}
    for key, live in look.observed.children.items():
        if key not in needed:
            uid = str(live["metadata"]["uid"])
            actions.append(DeleteChild(str(live["apiVersion"]), key.kind, key.name, uid))
    return tuple(actions), tuple(event for event in events if event is not None)


def plan_claims(look: Look) -> tuple[GrowClaim, ...]:
    """Disks that are smaller than asked for; they never shrink."""
    wanted = amount(look.spec.storage.size)
    if look.spec.storage.ephemeral or wanted is None:
        return ()
    return tuple(
        GrowClaim(claim.name, claim.uid, look.spec.storage.size)
        for claim in look.observed.claims
        if claim.ordinal < look.want
        and not claim.deleting
        and (size := amount(claim.size)) is not None
        and size < wanted
    )


def _apply(look: Look, child: dict[str, Any], replicas: int) -> ApplyChild:
    if child["kind"] != _STATEFUL_SET:
        return ApplyChild(child)
    seen = look.observed.stateful_set
    if seen is None:
        return ApplyChild(child, guarded=True)
    if replicas >= seen.replicas:
        return ApplyChild(child)
    fence = {"uid": seen.uid, "resourceVersion": seen.resource_version}
    metadata = {**child["metadata"], **fence}
    return ApplyChild({**child, "metadata": metadata}, guarded=True)


def _event(key: ChildKey, live: KubeObject | None, child: Mapping[str, Any]) -> Occurrence | None:
    """Of changes that were not asked for; those that were are told by who asked."""
    if live is None:
        return Occurrence(EventReason.CHILD_CREATED, f"{key.kind} {key.name}")
    if _spec_hash(live) != _spec_hash(child):
        return None
    return Occurrence(EventReason.CHILD_REPAIRED, f"{key.kind} {key.name} was changed by others")


def _spec_hash(child: Mapping[str, Any]) -> Any:
    return (child["metadata"].get("annotations") or {}).get(SPEC_HASH_ANNOTATION)
