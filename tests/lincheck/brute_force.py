"""A checker too simple to be wrong: every order of every choice of operations, nothing remembered.

It shares neither the search nor the model of the checker it is compared with: what the steps mean
is written down here a second time. Only for a handful of operations.
"""

from __future__ import annotations

from tests.lincheck.history import History, Operation
from tests.lincheck.steps import Append, Cas, CasRefused, Read, State, Step, Write


def linearizable(history: History) -> bool:
    """Try everything, for all keys in one go."""
    return _explained(list(history.operations), {}, history.initial)


def _explained(left: list[Operation], states: dict[object, State], initial: State) -> bool:
    if all(operation.returned is None for operation in left):
        return True
    for operation in left:
        others = [other for other in left if other is not operation]
        if any(_precedes(other, operation) for other in others):
            continue
        possible, after = _apply(operation.step, states.get(operation.key, initial))
        if possible and _explained(others, {**states, operation.key: after}, initial):
            return True
    return False


def _precedes(first: Operation, second: Operation) -> bool:
    return first.returned is not None and first.returned < second.invoked


def _apply(step: Step, state: State) -> tuple[bool, State]:
    match step:
        case Read(value):
            return state == value, state
        case Write(value):
            return True, value
        case Cas(expected, value):
            return state == expected, value
        case CasRefused(expected):
            return state != expected, state
        case Append(text):
            return True, text if state is None else f"{state}{text}"
    raise AssertionError(f"a step without a meaning here: {step}")
