"""Locks and elections: per name a queue of sessions, whose first holds it.

Tokens are revisions given in the order of arrival. Who holds next has arrived later, so the tokens
of successive holders rise for ever: whatever the lock protects can refuse a smaller one. A ticket
goes when its session releases it or ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from parti_kv.limits import LOCK_TICKETS_MAX, LOCKS_MAX, RECORD_OVERHEAD_BYTES
from parti_kv.values import LockView, SessionId, Ticket

Queue: TypeAlias = dict[SessionId, Ticket]


class Locks:
    """All locks that somebody holds."""

    __slots__ = ("_changed", "queues", "size_bytes")

    def __init__(self) -> None:
        self.queues: dict[bytes, Queue] = {}
        self.size_bytes = 0
        self._changed: dict[bytes, None] = {}

    def view(self, name: bytes) -> LockView:
        """Who holds it, and how many wait."""
        queue = self.queues.get(name)
        if not queue:
            return LockView()
        holder, ticket = next(iter(queue.items()))
        return LockView(holder, ticket.token, ticket.value, len(queue) - 1)

    def ticket(self, name: bytes, session: SessionId) -> Ticket | None:
        """The place of a session, if it has one."""
        return self.queues.get(name, {}).get(session)

    def holds(self, name: bytes, session: SessionId) -> bool:
        """Whether the session is the first in the queue."""
        queue = self.queues.get(name)
        return queue is not None and next(iter(queue)) == session

    def has_room(self, name: bytes) -> bool:
        """Whether another session may line up."""
        queue = self.queues.get(name)
        if queue is None:
            return len(self.queues) < LOCKS_MAX
        return len(queue) < LOCK_TICKETS_MAX

    def line_up(self, name: bytes, session: SessionId, ticket: Ticket) -> None:
        """Put a session at the end of the queue; it is not in it."""
        queue = self.queues.setdefault(name, {})
        assert session not in queue, (name, session)
        queue[session] = ticket
        self.size_bytes += ticket_bytes(name, ticket.value)
        self._changed[name] = None

    def leave(self, name: bytes, session: SessionId) -> bool:
        """Take a session out of the queue; whether it was in it."""
        queue = self.queues.get(name)
        ticket = queue.pop(session, None) if queue else None
        if queue is None or ticket is None:
            return False
        if not queue:
            del self.queues[name]
        self.size_bytes -= ticket_bytes(name, ticket.value)
        self._changed[name] = None
        return True

    def take_changed(self) -> list[bytes]:
        """The names whose queue has changed since the last call."""
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def mark_changed(self, names: Iterable[bytes]) -> None:
        """Say that whoever waits for these has to look again."""
        self._changed.update(dict.fromkeys(names))

    def check_invariants(self) -> None:
        """Assert what must hold between commands."""
        size_bytes = 0
        for name, queue in self.queues.items():
            assert 0 < len(queue) <= LOCK_TICKETS_MAX, (name, len(queue))
            tokens = [ticket.token for ticket in queue.values()]
            assert tokens == sorted(set(tokens)), (name, tokens)
            size_bytes += sum(ticket_bytes(name, ticket.value) for ticket in queue.values())
        assert size_bytes == self.size_bytes, (size_bytes, self.size_bytes)


def ticket_bytes(name: bytes, value: bytes) -> int:
    """What a place in the queue of a lock costs."""
    return RECORD_OVERHEAD_BYTES + len(name) + len(value)
