"""The commands of the log that change the store.

`Writes` is the bulk: a batch of one client, as columns. Its `origin` and `request` let the member
that a batch entered at find the answers when it applies the entry itself.

`ExpireSession` and `Configure` rest on what the leader alone knows or decides: they may enter the
log only through the leader, in its own term, and are never handed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias

from parti_kv.packing import U64_MAX
from parti_kv.txn import Txn
from parti_kv.values import NO_SESSION, SessionId

ANY_REVISION: Final = U64_MAX  # no condition
IF_FREE: Final = 0  # acquire without waiting


class Op(IntEnum):
    """What a write does."""

    PUT = 1
    DELETE = 2
    TXN = 3
    ACQUIRE = 4
    RELEASE = 5


@dataclass(slots=True)
class Writes:
    """Writes of one client. Item i is element i of each column.

    `expects` is the revision that a put or delete asks the key to be at (0: absent), or
    ANY_REVISION; for ACQUIRE it is IF_FREE or ANY_REVISION (wait). `keys` holds the lock's name for
    ACQUIRE and RELEASE and nothing for TXN, whose content stands in `txns`.
    """

    ops: Sequence[int]
    keys: Sequence[bytes]
    values: Sequence[bytes]
    expects: Sequence[int]
    seqs: Sequence[int]  # of the session, each names one write for ever; unused without one
    session: SessionId = NO_SESSION
    acknowledged_below: int = 0  # the client has the answers to all earlier seqs
    txns: dict[int, Txn] = field(default_factory=dict)  # by position
    origin: int = 0
    request: int = 0


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Begin a session; the same nonce again gives the same one, as long as it is open."""

    nonce: int
    ttl_ms: int
    origin: int = 0
    request: int = 0


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End a session on its client's wish; its locks are released."""

    session: SessionId
    origin: int = 0
    request: int = 0


@dataclass(frozen=True, slots=True)
class ExpireSession:
    """End a session whose client has been silent for longer than its TTL."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Configure:
    """Set how much the store may hold. What it holds already stays."""

    bytes_max: int


Command: TypeAlias = Writes | OpenSession | CloseSession | ExpireSession | Configure

HANDED_OVER = (Writes, OpenSession, CloseSession)  # any member may give these to the leader
