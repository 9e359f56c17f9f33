"""The calls and answers of operations as a linked list, from which operations can be lifted.

Lowe's structure: lifting an operation takes both its events out in constant time, and putting the
operations back in reverse order restores the list exactly. The events that stand before the first
answer are the calls of the operations that may come next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.lincheck.history import Operation


class EventList:
    """Events of answered operations, named by the operation's position in `operations`.

    Event `2 * i` is the call of operation `i`, `2 * i + 1` its answer; so an odd event is an
    answer. The end of the list counts as an answer too.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        """Link the events in the order of time; at equal times calls come first."""
        count = len(operations)
        self._head, self._end = 2 * count, 2 * count + 1
        self._next, self._previous = [0] * (2 * count + 2), [0] * (2 * count + 2)
        timed = []
        for index, operation in enumerate(operations):
            assert operation.returned is not None, f"{operation} was never answered"
            timed.append((operation.invoked, 2 * index))
            timed.append((operation.returned, 2 * index + 1))
        timed.sort(key=lambda at: (at[0], at[1] & 1))
        last = self._head
        for event in [*(event for _, event in timed), self._end]:
            self._next[last], self._previous[event] = event, last
            last = event

    def lift(self, index: int) -> None:
        """Take an operation out; its call still knows what stood behind it."""
        for event in (2 * index + 1, 2 * index):
            before, behind = self._previous[event], self._next[event]
            self._next[before], self._previous[behind] = behind, before

    def put_back(self, index: int) -> None:
        """Undo the last `lift` that has not been undone."""
        for event in (2 * index, 2 * index + 1):
            self._next[self._previous[event]] = event
            self._previous[self._next[event]] = event

    def candidates(self) -> Iterator[int]:
        """Operations that may come next. Each may be lifted while it is the current one."""
        event = self._next[self._head]
        while not event & 1:
            yield event >> 1
            event = self._next[event]

    def first_answered(self) -> int | None:
        """The operation whose answer comes first, `None` if all operations are lifted."""
        event = self._next[self._head]
        while not event & 1:
            event = self._next[event]
        return None if event == self._end else event >> 1
