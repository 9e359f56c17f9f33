"""Looks for tables: a healthy cluster of three, of which each case changes what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from parti_operator import names
from parti_operator.children import children
from parti_operator.observed import (
    ChildKey,
    ClaimSeen,
    ClusterView,
    Intent,
    MemberSeen,
    NodeSeen,
    NodeState,
    Observed,
    PartitionCounts,
    PodSeen,
    Role,
    SidecarSeen,
    SidecarState,
    StatefulSetSeen,
)
from parti_operator.plan.look import Look
from parti_operator.plan.timestamps import as_text
from tests.parti_operator.defaults import cluster_spec

NOW_MS = 1_795_000_000_000
UID = "5ba1b1e2-3c1f-4c5e-9d59-0a3f1c2d4e5f"
NEWEST = "revision-2"


def ago(time_ms: int) -> str:
    return as_text(NOW_MS - time_ms)


def pod(ordinal: int, **changes: Any) -> PodSeen:
    whole = PodSeen(
        name=f"orders-{ordinal}",
        uid=f"pod-{ordinal}",
        ordinal=ordinal,
        revision=NEWEST,
        node=f"node-{ordinal}",
        ready=True,
    )
    return replace(whole, **changes)


def claim(ordinal: int, **changes: Any) -> ClaimSeen:
    whole = ClaimSeen(
        name=names.data_claim("orders", ordinal),
        uid=f"claim-{ordinal}",
        ordinal=ordinal,
        cluster_id=UID,
        size="1Gi",
        node=f"node-{ordinal}",
    )
    return replace(whole, **changes)


def member(ordinal: int, **changes: Any) -> MemberSeen:
    """The member of a pod: id 100 + ordinal; the first leads, the first three vote."""
    whole = MemberSeen(
        member_id=100 + ordinal,
        name=f"orders-{ordinal}",
        role=Role.VOTER if ordinal < 3 else Role.LEARNER,
        leader=ordinal == 0,
        session=ordinal + 1,
        intent=Intent.NONE,
        ready=True,
        draining=False,
        caught_up=True,
        partitions_owned=20,
        capacity=100,
        zone=f"zone-{ordinal}",
        last_heard_ms=100,
        version="1.0.0",
        address="",
        lag=0,
    )
    return replace(whole, **changes)


def dead(ordinal: int, **changes: Any) -> MemberSeen:
    return member(ordinal, **{"session": 0, "last_heard_ms": -1, "partitions_owned": 0, **changes})


def sidecar(ordinal: int, **changes: Any) -> SidecarSeen:
    whole = SidecarSeen(
        member_id=100 + ordinal,
        state=SidecarState.READY,
        cluster_id=UID,
        incarnation=0,
        leader=100,
        term=3,
        commit_index=50,
        apply_lag=0,
        partitions_owned=20,
        version="1.0.0",
    )
    return replace(whole, **changes)


def blank(ordinal: int, **changes: Any) -> SidecarSeen:
    """A sidecar without state."""
    nothing: dict[str, Any] = {
        "member_id": 0,
        "state": SidecarState.JOINING,
        "cluster_id": "",
        "leader": 0,
        "commit_index": 0,
    }
    return sidecar(ordinal, **{**nothing, **changes})


def observed(
    *,
    members: list[MemberSeen] | None = None,
    count: int = 3,
    spec: dict[str, Any] | None = None,
    view: bool = True,
    have: int | None = None,
    **changes: Any,
) -> Observed:
    """`count` pods with healthy members, or with these `members`."""
    fields = spec or {}
    cluster = cluster_spec(**{"replicas": count, **fields})
    present = [member(ordinal) for ordinal in range(count)] if members is None else members
    leader = next((m.member_id for m in present if m.leader), 0)
    seen = ClusterView(
        cluster_id=UID,
        incarnation=0,
        term=3,
        leader=leader,
        config_index=7,
        policy=cluster.policy(max(cluster.replicas, len(present))),
        members=tuple(present),
        partitions=PartitionCounts(64, 64, 0, 0),
    )
    whole = Observed(
        cluster=cluster,
        status={"clusterID": UID},
        annotations={},
        deleting=False,
        live=True,
        stateful_set=StatefulSetSeen(
            "set-uid", "9", count if have is None else have, NEWEST, "1Gi"
        ),
        pods=tuple(pod(ordinal) for ordinal in range(count)),
        claims=tuple(claim(ordinal) for ordinal in range(count)),
        children={},
        foreign=(),
        optional_kinds=frozenset(),
        nodes={f"node-{i}": NodeSeen(f"node-{i}", NodeState.READY, f"zone-{i}") for i in range(9)},
        sidecars={m.name: sidecar(m.member_id - 100) for m in present if m.session},
        view=seen if view else None,
    )
    return replace(whole, **changes)


def look(**changes: Any) -> Look:
    return Look(observed(**changes), NOW_MS)


def record(member_id: int, intent: str, before: str = "none") -> dict[str, str]:
    """A row of `status.intents`."""
    return {"memberID": f"{member_id:016x}", "intent": intent, "before": before}


def live_children(seen: Look, replicas: int = 3) -> dict[ChildKey, dict[str, Any]]:
    """The children as they are wanted."""
    made = children(seen.spec, replicas=replicas, claim_size="1Gi")
    return {ChildKey(child["kind"], child["metadata"]["name"]): child for child in made}


def quiet(**changes: Any) -> Observed:
    """A look in which nothing is to be done."""
    seen = observed(**changes)
    return replace(seen, children=live_children(Look(seen, NOW_MS), len(seen.pods)))


def counts(seen: Observed, *, moving: int = 0, free: int = 0) -> Observed:
    assert seen.view is not None
    owned = 64 - moving - free
    return replace(
        seen, view=replace(seen.view, partitions=PartitionCounts(64, owned, moving, free))
    )
