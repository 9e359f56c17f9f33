"""What is wrong with a spec, in words for the person who wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One field that cannot be as it is."""

    path: str  # spec.timeouts.handover
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


class InvalidSpecError(Exception):
    """The spec cannot be carried out; `problems` names every field that is wrong."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)
