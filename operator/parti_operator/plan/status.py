"""The status of a PartiCluster, whole, from one look. Pure.

What is not known now (without a leader) is kept as it was known last, except for who leads. An idle
cluster's status does not change: nothing in it counts or ticks by itself.
"""

from __future__ import annotations

from typing import Any

from parti_operator import names
from parti_operator.names import ConditionType
from parti_operator.observed import MemberSeen
from parti_operator.plan.conditions import Judgement, as_conditions, judge
from parti_operator.plan.findings import Findings
from parti_operator.plan.look import Look
from parti_operator.plan.replacing import lost_since
from parti_operator.plan.timestamps import as_text
from parti_operator.spec import warnings

IDLE, REBALANCING, MANUAL = "Idle", "Rebalancing", "Manual"


def status_of(look: Look, found: Findings) -> dict[str, Any]:
    """Everything that the status shall say; fields without a value are left out."""
    judgements = judge(look, found)
    ready = sum(1 for pod in look.desired_pods if pod.ready and not pod.deleting)
    status: dict[str, Any] = {
        "observedGeneration": look.spec.generation,
        "phase": _phase(look, found, judgements),
        "conditions": as_conditions(judgements, look.status, look.spec.generation, look.now_ms),
        "replicas": len(look.observed.pods),
        "readyReplicas": sum(1 for pod in look.observed.pods if pod.ready and not pod.deleting),
        "ready": f"{ready}/{look.want}",
        "selector": names.selector(look.ref.name),
        "clusterID": found.bootstrapping.cluster_id,
        "bootstrap": found.bootstrapping.record,
        "scaling": found.scaling.status,
        "roll": found.rolling.status,
        "intents": [record.as_status() for record in found.asked],
        "forcedQuorum": found.quorum.record,
        "leaderlessSince": found.quorum.leaderless_since,
        "warnings": list(warnings(look.spec)),
        **_of_view(look),
    }
    return {name: value for name, value in status.items() if value not in (None, "", [])}


def _phase(look: Look, found: Findings, judgements: list[Judgement]) -> str:
    states = {judgement.type: judgement.status for judgement in judgements}
    phases = (
        ("Deleting", look.observed.deleting),
        ("Paused", look.spec.paused),
        ("Degraded", found.refused is not None),
        ("Pending", not look.exists and not look.desired_pods),
        ("Bootstrapping", not look.exists),
        ("Degraded", states[ConditionType.QUORUM_HEALTHY] != "True"),
        ("Scaling", found.scaling.active),
        ("RollingUpdate", found.rolling.active),
        ("Degraded", states[ConditionType.DEGRADED] == "True"),
        ("Ready", states[ConditionType.READY] == "True"),
    )
    return next((phase for phase, holds in phases if holds), "Pending")


def _of_view(look: Look) -> dict[str, Any]:
    if look.view is None:
        kept = {name: look.status.get(name) for name in ("partitions", "term", "version")}
        return {**kept, "members": _without_leader(look), "rebalance": look.status.get("rebalance")}
    counts = look.view.partitions
    return {
        "members": _members(look),
        "partitions": {
            "total": counts.total,
            "owned": counts.owned,
            "moving": counts.moving,
            "unowned": counts.free,
        },
        "leader": look.leader.name if look.leader is not None else None,
        "term": look.view.term,
        "version": min((m.version for m in look.staying if m.version), key=_age, default=None),
        "rebalance": _rebalance(look, counts.moving),
    }


def _without_leader(look: Look) -> list[dict[str, Any]]:
    return [{**row, "leader": False} for row in look.status.get("members", ())]


def _members(look: Look) -> list[dict[str, Any]]:
    """One row per name: of a member and its former self the one whose disk is there."""
    ordinals = sorted({look.ordinal(member) for member in look.members.values()} - {-1})
    found = (look.member_at(o) or look.newest_named(o) for o in ordinals)
    return [_member(look, member) for member in found if member is not None]


def _member(look: Look, member: MemberSeen) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": member.name,
        "memberID": f"{member.member_id:016x}",
        "role": member.role.value,
        "leader": member.leader,
        "ready": member.ready and look.is_alive(member),
        "partitions": member.partitions_owned,
        "lag": 0 if member.caught_up else member.lag,
        "version": member.version,
        "zone": member.zone,
    }
    if look.is_lost(member):
        row["lostSince"] = lost_since(look, member) or as_text(look.now_ms)
    return row


def _rebalance(look: Look, moving: int) -> dict[str, Any]:
    """How far the moves that began with the last time of rest are."""
    if not moving:
        return {"state": IDLE if look.view is not None and look.view.policy.rebalance else MANUAL}
    before = look.status.get("rebalance") or {}
    total = moving
    if before.get("state") == REBALANCING:
        total = max(moving, int(before.get("total", 0)))
    return {"state": REBALANCING, "moved": total - moving, "total": total}


def _age(version: str) -> tuple[int, ...]:
    """Orders versions; what is no number counts as the oldest."""
    return tuple(int(part) if part.isdigit() else -1 for part in version.split("."))
