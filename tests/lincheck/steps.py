"""What an operation did to one key: the sequential model, one small value per kind of step.

A step joins an action with its answer: a read *that returned 3*, a compare-and-set *that was
refused*. So it is a partial function from the key's state to its next state, and the search needs
to know no more than the members of `Step`. Another store is judged by giving its own steps.

The state of a register is its value, `None` while absent.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

State = Hashable


class Various(Enum):
    """Stands where one state could be named, but several are possible."""

    STATES = "several states"


VARIOUS: Final = Various.STATES


class Step(Hashable, Protocol):
    """A partial function on states; equal steps are interchangeable."""

    @property
    def observes(self) -> bool:
        """The step leaves every state it allows as it was."""
        ...

    @property
    def needs(self) -> State | Various:
        """The only state that allows the step."""
        ...

    @property
    def gives(self) -> State | Various:
        """The only state the step can lead to."""
        ...

    def allows(self, state: State) -> bool:
        """The step with this answer is possible in `state`."""
        ...

    def after(self, state: State) -> State:
        """The next state; asked only where the step is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class Read:
    """A read that returned `value`."""

    value: State

    @property
    def observes(self) -> bool:
        return True

    @property
    def needs(self) -> State | Various:
        return self.value

    @property
    def gives(self) -> State | Various:
        return self.value

    def allows(self, state: State) -> bool:
        return state == self.value

    def after(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Write:
    """A write of `value`; of `None`: a delete."""

    value: State

    @property
    def observes(self) -> bool:
        return False

    @property
    def needs(self) -> State | Various:
        return VARIOUS

    @property
    def gives(self) -> State | Various:
        return self.value

    def allows(self, state: State) -> bool:
        return True

    def after(self, state: State) -> State:
        return self.value


@dataclass(frozen=True, slots=True)
class Cas:
    """A compare-and-set whose compare held."""

    expected: State
    value: State

    @property
    def observes(self) -> bool:
        return self.expected == self.value

    @property
    def needs(self) -> State | Various:
        return self.expected

    @property
    def gives(self) -> State | Various:
        return self.value

    def allows(self, state: State) -> bool:
        return state == self.expected

    def after(self, state: State) -> State:
        return self.value


@dataclass(frozen=True, slots=True)
class CasRefused:
    """A compare-and-set that answered that its compare did not hold."""

    expected: State

    @property
    def observes(self) -> bool:
        return True

    @property
    def needs(self) -> State | Various:
        return VARIOUS

    @property
    def gives(self) -> State | Various:
        return VARIOUS

    def allows(self, state: State) -> bool:
        return state != self.expected

    def after(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Append:
    """Text added at the end of a string; an absent one counts as empty."""

    text: str

    @property
    def observes(self) -> bool:
        return not self.text

    @property
    def needs(self) -> State | Various:
        return VARIOUS

    @property
    def gives(self) -> State | Various:
        return VARIOUS

    def allows(self, state: State) -> bool:
        return True

    def after(self, state: State) -> State:
        assert state is None or isinstance(state, str), f"append to {state!r}"
        return (state or "") + self.text
