"""What is said of a PartiCluster whose spec cannot be carried out. Pure.

Nothing is done about it: the cluster, if there is one, goes on as it is, and so does everything
that was known of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parti_operator.names import ConditionType, EventReason
from parti_operator.plan.conditions import Judgement, as_conditions
from parti_operator.plan.planner import IDLE_MS
from parti_operator.plan.values import Occurrence, Plan
from parti_operator.spec import InvalidSpecError


def refuse(resource: Mapping[str, Any], error: InvalidSpecError, now_ms: int) -> Plan:
    """Tell the person who wrote the spec."""
    before: Mapping[str, Any] = resource.get("status") or {}
    generation = int(resource["metadata"].get("generation", 1))
    status = {
        **before,
        "observedGeneration": generation,
        "phase": "Degraded",
        "conditions": as_conditions(_judgements(before, str(error)), before, generation, now_ms),
    }
    event = Occurrence(EventReason.INVALID_SPEC, str(error), warning=True)
    return Plan((), status, (event,), IDLE_MS)


def _judgements(before: Mapping[str, Any], message: str) -> list[Judgement]:
    """All conditions as they were, but for the two that this is about."""
    known = {row.get("type"): row for row in before.get("conditions", ())}
    now = {
        ConditionType.PROGRESSING: Judgement(
            ConditionType.PROGRESSING, "False", "Held", "nothing is changed"
        ),
        ConditionType.DEGRADED: Judgement(ConditionType.DEGRADED, "True", "InvalidSpec", message),
    }
    return [now.get(kind) or _as_it_was(kind, known.get(kind)) for kind in ConditionType]


def _as_it_was(kind: ConditionType, row: Mapping[str, Any] | None) -> Judgement:
    if row is None:
        return Judgement(kind, "Unknown", "InvalidSpec", "never looked at")
    return Judgement(kind, str(row["status"]), str(row["reason"]), str(row.get("message", "")))
