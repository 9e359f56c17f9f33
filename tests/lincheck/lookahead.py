"""Configurations without a future, told from what later answers need.

A read that returned 3 must come while the state is 3. So once the state has left 3, some operation
that gives 3 and may come before that read's answer must still be there to take. Asking this
whenever a state is left ends most wrong orders at the step that makes them wrong instead of at
the answer that shows it.

A key with appends only grows until it is written anew: the state must be a beginning of what the
read answered next returned, or a write of such a beginning must still be there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from tests.lincheck.configuration import Place, Twins
from tests.lincheck.history import Operation
from tests.lincheck.steps import VARIOUS, Append, Cas, State, Write


class Lookahead:
    """Knows, for each state, the certain operations that need it and all that give it."""

    def __init__(self, certain: Sequence[Operation], twins: Sequence[Twins]) -> None:
        """Index the operations; `certain` in the order of invocation."""
        steps = [operation.step for operation in certain] + [group.step for group in twins]
        self._grows = any(isinstance(step, Append) for step in steps)
        known = (Append, Write, Cas) if self._grows else ()
        # Nothing is told of a key on which an unknown kind of step gives states we cannot name.
        self._blind = any(
            step.gives is VARIOUS and not step.observes and not isinstance(step, known)
            for step in steps
        )
        self._certain = certain
        self._needing: dict[State, list[int]] = {}
        self._giving: dict[State, list[int]] = {}
        self._optional: dict[State, list[Twins]] = {}
        for index, operation in enumerate(certain):
            step = operation.step
            if step.needs is not VARIOUS:
                self._needing.setdefault(self._class(step.needs), []).append(index)
            if step.gives is not VARIOUS and not step.observes:
                self._giving.setdefault(self._class(step.gives), []).append(index)
        for group in twins:
            if group.step.gives is not VARIOUS:
                self._optional.setdefault(self._class(group.step.gives), []).append(group)

    def hopeless(self, left: State, place: Place) -> bool:
        """After a step from the state `left`, an answer that needs it can never be explained."""
        if self._blind:
            return False
        index = self._answered_next(left, place)
        return index is not None and not self._explained(self._certain[index], place)

    def orphan(self, start: Place) -> Operation | None:
        """An operation that needs what is neither there at the start nor given in time."""
        if not self._blind:
            for indices in self._needing.values():
                for index in indices:
                    if not self._explained(self._certain[index], start):
                        return self._certain[index]
        return None

    def _explained(self, needing: Operation, place: Place) -> bool:
        """The state that is needed can be reached, or given before the answer."""
        needed = needing.step.needs
        return self._leads(place.state, needed) or any(
            self._leads(state, needed) for state in self._gifts(needing, place)
        )

    def _class(self, state: State) -> State:
        """What must be looked at together: one state, or all states if they grow."""
        return None if self._grows else state

    def _leads(self, state: State, needed: State) -> bool:
        """From `state`, `needed` can be reached without being written anew."""
        if state == needed or not self._grows:
            return state == needed
        assert state is None or isinstance(state, str), f"append to {state!r}"
        return isinstance(needed, str) and needed.startswith(state or "")

    def _answered_next(self, state: State, place: Place) -> int | None:
        """Of the operations left that need the state, the one whose answer comes first."""
        found, earliest = None, 0
        for index in _left(self._needing.get(self._class(state), []), place):
            operation = self._certain[index]
            if found is not None and operation.invoked > earliest:
                break
            assert operation.returned is not None
            if found is None or operation.returned < earliest:
                found, earliest = index, operation.returned
        return found

    def _gifts(self, needing: Operation, place: Place) -> Iterator[State]:
        """States that operations still left may give before the answer of `needing`."""
        horizon = needing.returned
        assert horizon is not None
        kind = self._class(needing.step.needs)
        for index in _left(self._giving.get(kind, []), place):
            giving = self._certain[index]
            if giving.invoked > horizon:
                break
            yield giving.step.gives
        for group in self._optional.get(kind, []):
            if group.next_bit(place.used, horizon):
                yield group.step.gives


def _left(indices: Sequence[int], place: Place) -> Iterator[int]:
    """Those of the ascending operations that are not taken yet."""
    for at in range(bisect_left(indices, place.base), len(indices)):
        if not place.window >> indices[at] - place.base & 1:
            yield indices[at]
