"""A configuration of the search: which operations are taken, and the state they left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tests.lincheck.history import Operation
from tests.lincheck.steps import State, Step


@dataclass(frozen=True, slots=True)
class Twins:
    """Equal optional operations, in the order of invocation; they own consecutive bits."""

    step: Step
    invoked: tuple[int, ...]
    first_bit: int

    def next_bit(self, used: int, horizon: int) -> int:
        """The bit of the next one to use, 0 if none is left that was invoked by `horizon`."""
        count = (used >> self.first_bit & (1 << len(self.invoked)) - 1).bit_count()
        if count == len(self.invoked) or self.invoked[count] > horizon:
            return 0
        return 1 << self.first_bit + count


class _Nothing(Enum):
    """Stands where a state could stand, and is none."""

    NOTHING = 0


_NOTHING: Final = _Nothing.NOTHING


@dataclass(frozen=True, slots=True)
class Place:
    """A configuration, and the state before its last step if that step still needs a reason.

    Of the certain operations all before `base` are taken, and those whose bits (counted from
    `base`) are set in `window`; so a place stays small in a history of any length.
    """

    base: int
    window: int
    used: int
    state: State
    unreasoned: State | _Nothing = _NOTHING

    def taking(self, index: int, state: State) -> Place:
        """The place after a certain operation."""
        window = self.window | 1 << index - self.base
        ones = (~window & window + 1).bit_length() - 1
        return Place(self.base + ones, window >> ones, self.used, state)

    def using(self, bit: int, state: State) -> Place:
        """The place after an optional operation."""
        return Place(self.base, self.window, self.used | bit, state, self.state)

    def misses_the_last_step(self, step: Step, after: State) -> bool:
        """Without the last step, `step` would be impossible or would not lead to `after`."""
        before = self.unreasoned
        return before is _NOTHING or not step.allows(before) or step.after(before) != after


def twins(optional: Iterable[Operation]) -> list[Twins]:
    """Group equal operations; those that only observe are of no use."""
    times: dict[Step, list[int]] = {}
    for operation in optional:
        if not operation.step.observes:
            times.setdefault(operation.step, []).append(operation.invoked)
    groups, first_bit = [], 0
    for step, invoked in times.items():
        groups.append(Twins(step, tuple(invoked), first_bit))
        first_bit += len(invoked)
    return groups
