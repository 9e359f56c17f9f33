"""The values applications handle: what goes out, what comes in, what the table says."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

# The clock that leases and deadlines are measured with: it counts through suspend where there
# is one that does, as the sidecar's.
LEASE_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_ms() -> int:
    """Read the clock of leases, in milliseconds."""
    return time.clock_gettime_ns(LEASE_CLOCK) // 1_000_000


class Reply(NamedTuple):
    """What the handler returned, and the epoch it ran under (the fencing token)."""

    payload: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message of `send_many`: either `key` or `partition` says where it goes."""

    payload: bytes | str = b""
    key: bytes | str | None = None
    partition: int | None = None
    headers: Mapping[str, str] | None = None
    idempotent: bool = False


@dataclass(slots=True)
class Message:
    """One message for the handler.

    `epoch` is the fencing token of the partition: store it with what the message changes and
    refuse writes with a smaller one, and no former owner can overwrite its successor.
    `key` is empty when the message was sent by partition. `deadline_ms` is a moment of the lease
    clock (0: none): nobody waits for the reply after it.
    """

    partition: int
    epoch: int
    key: bytes = b""
    payload: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    deadline_ms: int = 0
    id: int = 0

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; never negative, infinite without one."""
        if self.deadline_ms == 0:
            return float("inf")
        return max(0, self.deadline_ms - boottime_ms()) / 1000


@dataclass(slots=True)
class WorkerCounts:
    """What happened to a worker since it was made."""

    attaches: int = 0  # connections to a sidecar
    handler_failures: int = 0
    callback_failures: int = 0  # on_assigned or on_revoked raised


class ClientCounts(NamedTuple):
    """What happened to a client since it was opened, and what it holds now."""

    connects: int  # connections to a sidecar
    retries: int  # messages sent again
    overloads: int  # messages refused because the client held too many
    unsettled: int  # messages without an outcome now


class Phase(enum.IntEnum):
    """Where a partition stands between owners."""

    FREE = 0
    OWNED = 1
    REVOKING = 2


@dataclass(frozen=True, slots=True)
class Location:
    """Where a partition lives now."""

    partition: int
    owner: int  # member id, 0: none
    owner_name: str
    epoch: int
    phase: Phase
    target: int  # member it is being moved to, 0: none
    table_index: int


@dataclass(frozen=True, slots=True)
class TableChange:
    """One step of the table; the first of a watch is `whole`: it holds every partition."""

    table_index: int
    partitions: int
    whole: bool
    changed: tuple[Location, ...]
    member_names: Mapping[int, str]
