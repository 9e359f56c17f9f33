"""What all concerns found in one look, for the status and its conditions. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parti_operator.plan.bootstrap import Bootstrapping
from parti_operator.plan.quorum import Quorum
from parti_operator.plan.records import Asked
from parti_operator.plan.replacing import Replacing
from parti_operator.plan.rolling import Rolling
from parti_operator.plan.scaling import Scaling


@dataclass(frozen=True, slots=True)
class Findings:
    """One of each."""

    conflicts: str  # objects of others that have a child's name; "" without
    bootstrapping: Bootstrapping
    quorum: Quorum
    scaling: Scaling
    rolling: Rolling
    replacing: Replacing
    asked: tuple[Asked, ...]
    writing: bool = False  # children differ from what the spec asks for

    @property
    def refused(self) -> tuple[str, str] | None:
        """Why nothing may be done: a reason and a message."""
        if self.conflicts:
            return "NameConflict", self.conflicts
        if self.bootstrapping.refused:
            return "BootstrapRefused", self.bootstrapping.refused
        return None

    @property
    def progressing(self) -> Mapping[str, Any] | None:
        """The change of members or revisions that is under way."""
        return self.scaling.status or self.rolling.status
