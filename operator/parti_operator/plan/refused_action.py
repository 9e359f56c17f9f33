"""What the status says of an action that the API server refuses for good. Pure.

The plan was made before anybody knew. Such a refusal (rights, quotas, fields of the pod template
that are not valid) lasts until a person does something, so it stands in the status and not only in
an Event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parti_operator.names import ConditionType
from parti_operator.plan.conditions import Judgement, as_conditions

_REASON = "ActionFailed"
_TEXT_CHARS_MAX = 2_000


def with_refused_action(
    status: Mapping[str, Any], before: Mapping[str, Any], text: str, now_ms: int
) -> dict[str, Any]:
    """The status that a plan wanted, with `Degraded` for the refusal; `before`: the one it
    follows.
    """
    rows: list[Mapping[str, Any]] = list(status.get("conditions", ()))
    degraded = [_degraded(row, before, text, now_ms) for row in rows]
    phase = status.get("phase")
    return {
        **status,
        "phase": "Degraded" if phase == "Ready" else phase,
        "conditions": degraded,
    }


def _degraded(
    row: Mapping[str, Any], before: Mapping[str, Any], text: str, now_ms: int
) -> Mapping[str, Any]:
    if row.get("type") != ConditionType.DEGRADED:
        return row
    said = [text[:_TEXT_CHARS_MAX], *([row["message"]] if row.get("message") else ())]
    judgement = Judgement(ConditionType.DEGRADED, "True", _REASON, "; ".join(said))
    (made,) = as_conditions([judgement], before, int(row["observedGeneration"]), now_ms)
    return made
