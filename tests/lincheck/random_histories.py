"""Seeded random histories: arbitrary small ones, and ones that a real store could have made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from tests.lincheck.history import History, Operation, Recorder
from tests.lincheck.steps import Append, Cas, CasRefused, Read, State, Step, Write

OPERATIONS_MAX = 6
_DIGITS = ("1", "2")
_TEXTS = ("a", "b", "ab", "aba")


def arbitrary(random: Random) -> History:
    """At most `OPERATIONS_MAX` steps with answers and times out of thin air."""
    make = random.choice((_register_step, _string_step, _mixed_step))
    keys = ("k",) if random.random() < 0.8 else ("k", "l")
    operations = []
    for process in range(random.randint(1, OPERATIONS_MAX)):
        invoked = random.randrange(10)
        returned = invoked + random.randrange(6) if random.random() < 0.7 else None
        operations.append(Operation(process, random.choice(keys), make(random), invoked, returned))
    return History(tuple(operations), random.choice((None, "")))


def _register_step(random: Random) -> Step:
    old, new = random.choice((None, *_DIGITS)), random.choice(_DIGITS)
    return random.choice((Read(old), Write(new), Cas(old, new), CasRefused(old)))


def _string_step(random: Random) -> Step:
    text = random.choice(_TEXTS)
    return random.choice((Read(text), Read(text), Append(random.choice("ab")), Write(text)))


def _mixed_step(random: Random) -> Step:
    return random.choice((_register_step, _string_step))(random)


def atomic(random: Random, operations_max: int, effect: Callable[[int], Step | None]) -> History:
    """What five processes see of a store that does each operation at one moment.

    Some operations are never answered, whether or not they took effect. `effect` makes the n-th
    operation; `None` is a read.
    """
    recorder, state = Recorder(), None
    open_effects: dict[int, Step | None] = {}
    done: dict[int, Step] = {}
    process_count, begun = 5, 0
    processes = list(range(process_count))
    while begun < operations_max or open_effects:
        at = random.randrange(len(processes))
        process = processes[at]
        if process not in open_effects:
            if begun < operations_max:
                begun += 1
                open_effects[process] = effect(begun)
                recorder.invoke(process, "k", open_effects[process])
        elif random.random() < 0.03:
            recorder.unknown(process)
            del open_effects[process]
            processes[at], process_count = process_count, process_count + 1
        elif process not in done:
            done[process], state = _do(open_effects[process], state)
        else:
            step = done.pop(process)
            refused = isinstance(step, CasRefused)
            recorder.fail(process, step) if refused else recorder.ok(process, step)
            del open_effects[process]
    return recorder.history()


def _do(effect: Step | None, state: State) -> tuple[Step, State]:
    if effect is None:
        return Read(state), state
    if effect.allows(state):
        return effect, effect.after(state)
    assert isinstance(effect, Cas)
    return CasRefused(effect.expected), state


def with_stale_read(random: Random, history: History) -> History:
    """The history with one late read returning what was overwritten long before."""
    reads = [
        at
        for at, operation in enumerate(history.operations)
        if isinstance(operation.step, Read) and operation.returned is not None
    ]
    first = history.operations[reads[0]].step
    at = random.choice(reads[len(reads) // 2 :])
    changed = replace(history.operations[at], step=first)
    return replace(
        history, operations=(*history.operations[:at], changed, *history.operations[at + 1 :])
    )
