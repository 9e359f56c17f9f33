"""The search for a linearization of the operations on one key.

After Wing and Gong, with Lowe's list of events and memory of configurations: from the operations
that may come next (those invoked before the first answer among the ones left) take one, lift its
two events out of the list, go on, and put them back when this leads nowhere. A configuration is
(operations taken, state, optional operations used); one met before is not searched again.

*Certain* operations were answered and must all be taken. *Optional* ones have an unknown outcome:
taking one is a choice that is never forced. What keeps the search small loses no linearization:

- Observations (reads, refused compares) that fit the present state are taken at once: one that
  comes later can be moved here, since it changes nothing for the others.
- Having used fewer optional operations is never worse. So a configuration is dropped if one with
  the same certain operations and state, but a subset of the optional ones, was met before.
- Of equal optional operations the one invoked first is used first.
- An optional operation without which the step that directly follows would do the same is not used.
- `Lookahead` tells some of the configurations that have no future.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tests.lincheck.configuration import Place, twins
from tests.lincheck.events import EventList
from tests.lincheck.history import Operation
from tests.lincheck.lookahead import Lookahead
from tests.lincheck.steps import State


class Outcome(Enum):
    """How a search ended."""

    FOUND = "a linearization exists"
    NONE = "no linearization exists"
    LIMIT = "too many configurations"


@dataclass(frozen=True, slots=True)
class Stuck:
    """Where the search that came furthest could not go on."""

    taken: int
    state: State
    blocking: Operation


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a search."""

    outcome: Outcome
    states: int
    stuck: Stuck | None


@dataclass(frozen=True, slots=True)
class _Choice:
    """A way on: to `place`, by taking the certain operation `index` unless it is `None`."""

    index: int | None
    place: Place


@dataclass(frozen=True, slots=True)
class _Frame:
    """Ways not yet tried from a configuration in which `lifted` operations are out of the list."""

    lifted: int
    choices: list[_Choice]


class Search:
    """One search over the operations of one key."""

    def __init__(self, operations: Iterable[Operation], initial: State, states_max: int) -> None:
        """Prepare a search that gives up after looking at `states_max` configurations."""
        known = sorted(operations, key=lambda operation: operation.invoked)
        self._certain = [operation for operation in known if operation.returned is not None]
        self._twins = twins(operation for operation in known if operation.returned is None)
        self._observes = [operation.step.observes for operation in self._certain]
        self._lookahead = Lookahead(self._certain, self._twins)
        self._initial = initial
        self._states_max = states_max
        self._events = EventList(self._certain)
        self._lifted: list[int] = []
        self._frames: list[_Frame] = []
        self._met: dict[tuple[int, int, State], list[int]] = {}
        self._states = 0
        self._stuck: Stuck | None = None

    def run(self) -> Found:
        """Search depth first, with a stack of our own."""
        start = Place(0, 0, 0, self._initial)
        orphan = self._lookahead.orphan(start)
        if orphan is not None:
            return Found(Outcome.NONE, 0, Stuck(0, self._initial, orphan))
        if self._arrive(start):
            return Found(Outcome.FOUND, self._states, None)
        while self._frames:
            if self._states > self._states_max:
                return Found(Outcome.LIMIT, self._states, self._stuck)
            frame = self._frames[-1]
            self._put_back(frame.lifted)
            if not frame.choices:
                self._frames.pop()
                continue
            choice = frame.choices.pop()
            if choice.index is not None:
                self._lift(choice.index)
            if self._arrive(choice.place):
                return Found(Outcome.FOUND, self._states, None)
        return Found(Outcome.NONE, self._states, self._stuck)

    def _arrive(self, place: Place) -> bool:
        """Take what fits; then it is the end (true), or known already, or a new frame."""
        place = self._observe(place)
        blocking = self._events.first_answered()
        if blocking is None:
            return True
        if self._is_new(place):
            self._note_progress(place, blocking)
            choices = [*self._optional(place, blocking), *self._following(place)]
            self._frames.append(_Frame(len(self._lifted), choices))
        return False

    def _observe(self, place: Place) -> Place:
        """Take all observations that fit the state."""
        state = place.state
        for index in self._events.candidates():
            if self._observes[index] and self._certain[index].step.allows(state):
                self._lift(index)
                place = place.taking(index, state)
        return place

    def _is_new(self, place: Place) -> bool:
        """Remember a place, unless one at least as good was met."""
        met = self._met.setdefault((place.base, place.window, place.state), [])
        if any(used & ~place.used == 0 for used in met):
            return False
        worse = [used for used in met if place.used & ~used == 0]
        for used in worse:
            met.remove(used)
        met.append(place.used)
        return True

    def _following(self, place: Place) -> list[_Choice]:
        """Certain operations that may come next; those invoked first are tried first.

        No observation is among them: those the state allows were taken on arrival.
        """
        found: list[_Choice] = []
        for index in self._events.candidates():
            step = self._certain[index].step
            if step.allows(place.state):
                after = step.after(place.state)
                if place.misses_the_last_step(step, after):
                    self._offer(found, place.state, _Choice(index, place.taking(index, after)))
        found.reverse()
        return found

    def _optional(self, place: Place, blocking: int) -> list[_Choice]:
        """Optional operations that may come next."""
        horizon = self._certain[blocking].returned
        assert horizon is not None
        found: list[_Choice] = []
        for group in self._twins:
            bit, step = group.next_bit(place.used, horizon), group.step
            if not bit or not step.allows(place.state):
                continue
            after = step.after(place.state)
            if place.misses_the_last_step(step, after):
                self._offer(found, place.state, _Choice(None, place.using(bit, after)))
        return found

    def _offer(self, found: list[_Choice], left: State, choice: _Choice) -> None:
        self._states += 1
        if not self._lookahead.hopeless(left, choice.place):
            found.append(choice)

    def _lift(self, index: int) -> None:
        self._events.lift(index)
        self._lifted.append(index)

    def _put_back(self, lifted: int) -> None:
        while len(self._lifted) > lifted:
            self._events.put_back(self._lifted.pop())

    def _note_progress(self, place: Place, blocking: int) -> None:
        if self._stuck is None or len(self._lifted) > self._stuck.taken:
            self._stuck = Stuck(len(self._lifted), place.state, self._certain[blocking])
