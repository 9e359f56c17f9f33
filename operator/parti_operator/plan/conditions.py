"""The six conditions of a PartiCluster. Pure.

Each has the generation it was judged by, and keeps the moment of its last flip: a new reason or
message alone is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parti_operator.names import ConditionType
from parti_operator.plan.findings import Findings
from parti_operator.plan.look import Look
from parti_operator.plan.pod_troubles import failing_pods, listed
from parti_operator.plan.timestamps import as_text

_TRUE, _FALSE, _UNKNOWN = "True", "False", "Unknown"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A condition without its moments."""

    type: ConditionType
    status: str
    reason: str
    message: str = ""


def judge(look: Look, found: Findings) -> list[Judgement]:
    """All six, in the order of their names' importance."""
    return [
        _ready(look, found),
        _progressing(look, found),
        _degraded(look, found),
        Judgement(
            ConditionType.QUORUM_HEALTHY,
            found.quorum.status,
            found.quorum.reason,
            found.quorum.message,
        ),
        _rebalancing(look),
        _paused(look),
    ]


def as_conditions(
    judgements: list[Judgement], before: Mapping[str, Any], generation: int, now_ms: int
) -> list[dict[str, Any]]:
    """As they stand in the status; `before` is the status they follow."""
    known = {row.get("type"): row for row in before.get("conditions", ())}
    return [_as_condition(each, known.get(each.type), generation, now_ms) for each in judgements]


def _as_condition(
    judgement: Judgement, before: Mapping[str, Any] | None, generation: int, now_ms: int
) -> dict[str, Any]:
    flipped = before is None or before.get("status") != judgement.status
    since = None if flipped or before is None else before.get("lastTransitionTime")
    return {
        "type": judgement.type.value,
        "status": judgement.status,
        "reason": judgement.reason,
        "message": judgement.message,
        "observedGeneration": generation,
        "lastTransitionTime": since or as_text(now_ms),
    }


def message_of(status: Mapping[str, Any], kind: ConditionType) -> str:
    """What a status says under a condition; "" without it."""
    rows = (row for row in status.get("conditions", ()) if row.get("type") == kind)
    return next((str(row.get("message", "")) for row in rows), "")


def was_paused(status: Mapping[str, Any]) -> bool:
    """Whether the status was written by a pass that kept its hands off."""
    rows = (row for row in status.get("conditions", ()) if row.get("type") == ConditionType.PAUSED)
    return any(row.get("status") == _TRUE for row in rows)


# --- each of them


def _ready(look: Look, found: Findings) -> Judgement:
    """The cluster serves: it is led, its pods are ready, every partition has an owner."""
    reason, message = _why_not_ready(look, found)
    if reason:
        return Judgement(ConditionType.READY, _FALSE, reason, message)
    return Judgement(ConditionType.READY, _TRUE, "Serving", "every partition has an owner")


def _why_not_ready(look: Look, found: Findings) -> tuple[str, str]:
    if found.refused is not None:
        return found.refused
    if look.observed.deleting:
        return "Deleting", "the cluster is being deleted"
    failing = failing_pods(look)
    if not look.exists:
        reason = failing[0].trouble.reason if failing else "NotBootstrapped"
        return reason, found.bootstrapping.waits_for
    if look.view is None:
        return found.quorum.reason, found.quorum.message
    unready = [name for name in map(look.pod_name, range(look.want)) if not _is_ready(look, name)]
    spared = 1 if found.rolling.active else 0
    if len(unready) > spared:
        reason = failing[0].trouble.reason if failing else "PodsNotReady"
        said = f"not ready: {', '.join(unready)}"
        return reason, f"{said}; {listed(failing)}" if failing else said
    if look.view.partitions.free:
        return "PartitionsUnowned", f"{look.view.partitions.free} partitions have no owner"
    return "", ""


def _is_ready(look: Look, name: str) -> bool:
    return any(pod.name == name and pod.ready and not pod.deleting for pod in look.desired_pods)


def _progressing(look: Look, found: Findings) -> Judgement:
    kind = ConditionType.PROGRESSING
    if look.spec.paused or found.refused is not None:
        return Judgement(kind, _FALSE, "Held", "nothing is changed")
    if look.observed.deleting:
        return Judgement(kind, _TRUE, "Deleting", "what belongs to the cluster is being deleted")
    if not look.exists:
        return Judgement(kind, _TRUE, "Bootstrapping", found.bootstrapping.waits_for)
    if found.scaling.status is not None:
        return Judgement(kind, _TRUE, "Scaling", str(found.scaling.status["reason"]))
    if found.rolling.status is not None:
        return Judgement(kind, _TRUE, "RollingUpdate", str(found.rolling.status["reason"]))
    if found.writing or _is_unread(look):
        text = "the children follow the spec; what the pods have to do is not known yet"
        return Judgement(kind, _TRUE, "Applying", text)
    missing = [look.pod_name(o) for o in range(look.want) if not look.has_joined(o)]
    if missing:
        return Judgement(kind, _TRUE, "MembersMissing", f"waits for {', '.join(missing)}")
    return Judgement(kind, _FALSE, "Stable", "nothing is to be done")


def _is_unread(look: Look) -> bool:
    """Its controller has not looked at the newest template: a roll may be due."""
    stateful_set = look.observed.stateful_set
    return stateful_set is not None and not stateful_set.update_revision


def _degraded(look: Look, found: Findings) -> Judgement:
    kind = ConditionType.DEGRADED
    reasons = _degradations(look, found)
    if not reasons:
        return Judgement(kind, _FALSE, "AsExpected")
    message = "; ".join(message for _, message in reasons)
    return Judgement(kind, _TRUE, reasons[0][0], message)


def _degradations(look: Look, found: Findings) -> list[tuple[str, str]]:
    """Everything that a person may have to look at, the gravest first."""
    reasons: list[tuple[str, str]] = []
    if found.refused is not None:
        reasons.append(found.refused)
    if found.quorum.status == _FALSE:
        reasons.append((found.quorum.reason, found.quorum.message))
    view = look.view
    if view is not None and view.partitions.total != look.spec.partitions:
        text = f"the cluster has {view.partitions.total} partitions, which can never change"
        reasons.append(("PartitionsDiffer", text))
    reasons.extend(("MemberLost", text) for text in found.replacing.lost)
    failing = failing_pods(look)
    if failing:
        reasons.append((failing[0].trouble.reason, listed(failing)))
    if found.scaling.stalled:
        reasons.append(("DrainStalled", found.scaling.stalled))
    if found.rolling.stalled:
        reasons.append(("RollStalled", found.rolling.stalled))
    return reasons


def _rebalancing(look: Look) -> Judgement:
    kind = ConditionType.REBALANCING
    if look.view is None:
        return Judgement(kind, _UNKNOWN, "NoLeader", "only a leader knows")
    moving = look.view.partitions.moving
    if moving:
        return Judgement(kind, _TRUE, "PartitionsMove", f"{moving} partitions are moving")
    return Judgement(kind, _FALSE, "Balanced", "no partition is moving")


def _paused(look: Look) -> Judgement:
    if look.spec.paused:
        text = "spec.paused: only the status is written"
        return Judgement(ConditionType.PAUSED, _TRUE, "Paused", text)
    return Judgement(ConditionType.PAUSED, _FALSE, "NotPaused")
