"""The verdict on a history: each key is searched alone, within one common limit.

A history is linearizable exactly if its operations on each key are (Herlihy and Wing's locality).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

from tests.lincheck.history import History
from tests.lincheck.search import Outcome, Search, Stuck

# Configurations looked at for one history. Bounds the time (seconds) and the memory: each of them
# may have to be remembered, in some 300 bytes.
STATES_MAX = 2_000_000


class Verdict(Enum):
    """What is known of a history."""

    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not-linearizable"
    UNDECIDED = "undecided"


_VERDICTS = {
    Outcome.FOUND: Verdict.LINEARIZABLE,
    Outcome.NONE: Verdict.NOT_LINEARIZABLE,
    Outcome.LIMIT: Verdict.UNDECIDED,
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, the configurations it took, and the key that decided it if it is not good."""

    verdict: Verdict
    states: int
    key: Hashable = None
    stuck: Stuck | None = None

    def story(self) -> str:
        """Why the verdict is not good, for a failing test to print."""
        if self.stuck is None:
            return f"{self.verdict.value} after {self.states} configurations"
        at = self.stuck
        return (
            f"{self.verdict.value}, key {self.key!r}: no place for {at.blocking} "
            f"(the longest order without it has {at.taken} operations and leaves {at.state!r})"
        )


def judge(history: History, states_max: int = STATES_MAX) -> Judgement:
    """Search key by key, short ones first, until one is not linearizable or the limit is hit."""
    states = 0
    keys = sorted(history.by_key().items(), key=lambda item: len(item[1]))
    for key, operations in keys:
        found = Search(operations, history.initial, states_max - states).run()
        states += found.states
        if found.outcome is not Outcome.FOUND:
            return Judgement(_VERDICTS[found.outcome], states, key, found.stuck)
    return Judgement(Verdict.LINEARIZABLE, states)
