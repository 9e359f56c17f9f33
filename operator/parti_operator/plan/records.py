"""What the operator has asked of members, as it stands in `status.intents`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parti_operator.observed import Intent


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator has asked, or is about to ask, of a member."""

    member_id: int
    intent: Intent  # the strongest
    before: Intent  # what a person wanted of it

    def as_status(self) -> dict[str, str]:
        return {
            "memberID": f"{self.member_id:016x}",
            "intent": self.intent.value,
            "before": self.before.value,
        }


def read_records(status: Mapping[str, Any]) -> dict[int, Asked]:
    """What the status says that we have asked, by member."""
    return {record.member_id: record for record in map(_read, status.get("intents", ()))}


def _read(entry: Mapping[str, Any]) -> Asked:
    return Asked(int(entry["memberID"], 16), Intent(entry["intent"]), Intent(entry["before"]))
