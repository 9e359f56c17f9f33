"""Histories of concurrent operations, and the recorder that builds them.

An operation occupies the time from its invocation to its answer and took effect at one moment in
between. Times are positions in the order of events: only their order counts. What is known of the
effect decides how an operation enters the history:

- answered: it took effect, as the step says;
- failed, with nothing learned: it never took effect and is left out;
- unknown, or never answered: `returned` is `None`; it may take effect at any moment after its
  invocation, or never.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from tests.lincheck.steps import State, Step


class HistoryError(Exception):
    """The events make no history."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A step on one key and when it may have happened."""

    process: Hashable
    key: Hashable
    step: Step
    invoked: int
    returned: int | None

    def __post_init__(self) -> None:
        """Refuse an answer that came before its question."""
        if self.returned is not None and self.returned < self.invoked:
            raise HistoryError(f"{self} returned before it was invoked")


@dataclass(frozen=True, slots=True)
class History:
    """Operations on any keys, all of which begin in the state `initial`."""

    operations: tuple[Operation, ...]
    initial: State = None

    def by_key(self) -> dict[Hashable, list[Operation]]:
        """The operations of each key; keys do not influence one another."""
        found: dict[Hashable, list[Operation]] = {}
        for operation in self.operations:
            found.setdefault(operation.key, []).append(operation)
        return found


@dataclass(frozen=True, slots=True)
class _Open:
    key: Hashable
    effect: Step | None
    invoked: int


@dataclass(slots=True)
class Recorder:
    """Writes down what processes do, in the order in which the calls of this object come.

    A process has one operation at a time. One that invokes again without an answer has given up
    on the earlier operation, whose outcome is then unknown.
    """

    initial: State = None
    _now: int = 0
    _open: dict[Hashable, _Open] = field(default_factory=dict)
    _operations: list[Operation] = field(default_factory=list)

    def invoke(self, process: Hashable, key: Hashable, effect: Step | None = None) -> None:
        """An operation begins; `effect` is what it does if it works, `None` if it only reads."""
        if process in self._open:
            self.unknown(process)
        self._now += 1
        self._open[process] = _Open(key, effect, self._now)

    def ok(self, process: Hashable, step: Step | None = None) -> None:
        """It took effect: as invoked, or as `step` says (a read names what it returned)."""
        opened = self._take(process)
        step = step or opened.effect
        if step is None:
            raise HistoryError(f"process {process}: a read was answered without its value")
        self._add(process, opened, step, self._now)

    def fail(self, process: Hashable, learned: Step | None = None) -> None:
        """It did not take effect; `learned` is what the refusal tells about the state."""
        opened = self._take(process)
        if learned is not None:
            assert learned.observes, f"a failed operation cannot change the state: {learned}"
            self._add(process, opened, learned, self._now)

    def unknown(self, process: Hashable) -> None:
        """Nobody knows whether it took effect or will."""
        self._never_answered(process, self._take(process))

    def history(self) -> History:
        """What was recorded; operations still under way have unknown outcomes."""
        pending = [
            Operation(process, opened.key, opened.effect, opened.invoked, None)
            for process, opened in self._open.items()
            if opened.effect is not None
        ]
        return History((*self._operations, *pending), self.initial)

    def _take(self, process: Hashable) -> _Open:
        if process not in self._open:
            raise HistoryError(f"process {process}: an answer without a question")
        self._now += 1
        return self._open.pop(process)

    def _never_answered(self, process: Hashable, opened: _Open) -> None:
        if opened.effect is not None:
            self._add(process, opened, opened.effect, None)

    def _add(self, process: Hashable, opened: _Open, step: Step, returned: int | None) -> None:
        self._operations.append(Operation(process, opened.key, step, opened.invoked, returned))
