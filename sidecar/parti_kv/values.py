"""The words of the store: what is kept, what happened, what is answered.

Revisions count the changes of the store; each write, and each transaction as a whole, makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple, NewType, TypeAlias

Revision = NewType("Revision", int)
SessionId = NewType("SessionId", int)

NO_REVISION: Final = Revision(0)
NO_SESSION: Final = SessionId(0)


class Status(IntEnum):
    """What became of an operation. Those from SESSION_OVER on changed nothing at all."""

    OK = 0
    ABSENT = 1  # there was nothing to delete or release
    COMPARE_FAILED = 2  # the revision given is the key's present one, 0 if it is absent
    WAITING = 3  # in the lock's queue; the revision will be the token
    HELD = 4  # somebody else holds the lock; the revision is the holder's token
    SESSION_OVER = 16  # closed, expired or never opened
    FORGOTTEN = 17  # the session has acknowledged the answer to this write before
    WINDOW_FULL = 18  # too many unacknowledged writes, of the session or of all
    STORE_FULL = 19
    SESSIONS_FULL = 20
    LOCKS_FULL = 21  # too many locks, or too many who wait for this one
    ANSWER_TOO_LARGE = 22  # of a transaction that reads too much

    @property
    def refused(self) -> bool:
        """Whether it certainly changed nothing, now."""
        return self >= Status.SESSION_OVER


class Record(NamedTuple):
    """One key's value and the revisions that made it."""

    value: bytes
    created: Revision  # since then the key exists without a break
    revision: Revision  # of the last change


class Change(NamedTuple):
    """One change of one key; `value` is None for a deletion."""

    revision: Revision
    key: bytes
    value: bytes | None


class KeyRecord(NamedTuple):
    """A key and its record, as a range gives them."""

    key: bytes
    record: Record


class Page(NamedTuple):
    """A part of a range; `more` says that it goes on behind the last key."""

    items: list[KeyRecord]
    more: bool


# Status, revision, and for a transaction its encoded result.
Answer: TypeAlias = tuple[int, int, bytes]


@dataclass(slots=True)
class Answers:
    """The answers to a batch of writes, in its order."""

    statuses: Sequence[int]
    revisions: Sequence[int]
    results: dict[int, bytes] = field(default_factory=dict)  # position -> encoded TxnResult


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in a lock's queue. `token` rises along the queue: it is the fencing token."""

    token: Revision
    value: bytes  # for people and for elections: what the holder says of itself


@dataclass(frozen=True, slots=True)
class LockView:
    """A lock as it is now; without a holder, session and token are 0."""

    session: SessionId = NO_SESSION
    token: Revision = NO_REVISION
    value: bytes = b""
    waiting: int = 0
