"""Frames of the message path as parallel lists: the values that go in and out of the router.

Item i of a batch is element i of each list. Payloads, keys and headers are opaque and relayed by
reference. An empty `keys`, `timeouts_ms` or `epochs` list means the default for every item. Times
are remaining milliseconds at the moment the batch is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from parti_shard.errors import Failure


@dataclass(slots=True)
class SendBatch:
    """Messages from a client stream (partition BY_KEY: route by key)."""

    ids: list[int]
    partitions: list[int]
    keys: list[bytes]
    payloads: list[bytes]
    timeouts_ms: list[int]
    idempotent_at: list[int] = field(default_factory=list)
    headers: dict[int, bytes] = field(default_factory=dict)  # position -> serialized Headers
    ping_at: list[int] = field(default_factory=list)


@dataclass(slots=True)
class ForwardBatch:
    """Messages from an origin to an owner, ids rising within the stream."""

    ids: list[int]
    partitions: list[int]
    epochs: list[int]
    keys: list[bytes]
    payloads: list[bytes]
    timeouts_ms: list[int]
    headers: dict[int, bytes] = field(default_factory=dict)
    ping_at: list[int] = field(default_factory=list)


@dataclass(slots=True)
class ResultBatch:
    """Outcomes, to a client or from an owner to an origin. Items not in `failures` succeeded."""

    ids: list[int]
    epochs: list[int]
    payloads: list[bytes]
    failures: dict[int, Failure] = field(default_factory=dict)  # position -> failure


@dataclass(slots=True)
class WorkerResults:
    """Outcomes from a worker. Items not in `failures` succeeded."""

    ids: list[int]
    payloads: list[bytes]
    failures: dict[int, Failure] = field(default_factory=dict)


@dataclass(slots=True)
class WorkerInput:
    """One frame from a worker; its parts count in the order of the fields."""

    started: list[tuple[int, int]] = field(default_factory=list)  # (partition, epoch)
    results: WorkerResults | None = None
    released: list[tuple[int, int]] = field(default_factory=list)
    closing: bool = False


@dataclass(slots=True)
class WorkerOutput:
    """One frame to a worker; its parts count in the order of the fields."""

    lease_until_ms: int = 0  # on the lease clock; 0: unchanged
    assign: list[tuple[int, int]] = field(default_factory=list)
    deliver: ForwardBatch | None = None
    cancel: list[tuple[int, int]] = field(default_factory=list)
    revoke: list[tuple[int, int, int]] = field(default_factory=list)  # + within_ms
    closed: str = ""
