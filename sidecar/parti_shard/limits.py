"""Every default and every limit of sharding, in one place. Times in ms, sizes in bytes or counts.

A limit that is hit is answered with its own error and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL_VERSION = 1
PARTITIONS_MAX = 65_536
LEASE_TTL_MS_MIN = 200
LEASE_TTL_MS_MAX = 3_600_000
CLOCK_RATE_ERROR = 0.02  # largest difference of monotonic clock rates that G1 tolerates


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Session leases, DESIGN 5.1.

    The TTL is a constant of the cluster, written into its first table: G1 rests on every member
    counting with the same one.
    """

    ttl_ms: int = 2_000

    @property
    def renew_every_ms(self) -> int:
        """A fifth, so that some renewals may be lost before the lease is."""
        return self.ttl_ms // 5


@dataclass(frozen=True, slots=True)
class RouterLimits:
    """Bounds of the message path, DESIGN 6."""

    payload_bytes_max: int = 1 << 20
    key_bytes_max: int = 1 << 10
    headers_bytes_max: int = 4 << 10
    frame_bytes_target: int = 64 << 10  # a frame is closed when it holds so much
    frame_items_max: int = 1_024
    default_timeout_ms: int = 30_000
    timeout_ms_max: int = 3_600_000
    # Origin: what waits for a partition that cannot be served now, and in all.
    parked_messages_per_partition: int = 4_096
    parked_bytes_per_partition: int = 16 << 20
    parked_messages_max: int = 65_536
    parked_bytes_max: int = 64 << 20
    parked_age_ms_max: int = 30_000
    # Origin: unanswered messages of one client stream, and of one partition at its owner.
    client_in_flight_max: int = 4_096
    client_in_flight_bytes_max: int = 64 << 20
    answers_unread_max: int = 65_536  # of one stream; whoever sends on without reading is cut off
    partition_window: int = 256
    # Owner: what waits at the gate, of one partition and in all (messages, bytes).
    intake_messages_per_partition: int = 4_096
    intake_messages_max: int = 65_536
    intake_bytes_max: int = 64 << 20
    refusal_retry_ms: int = 100  # when the owner cannot prove ownership but the table stands
    worker_grace_ms: int = 5_000
    handover_ms: int = 10_000  # a worker that does not release in this time is cut off


@dataclass(frozen=True, slots=True)
class CoordinatorTimes:
    """Leader's clockwork; what users may change is in the replicated Policy."""

    coalesce_quiet_ms: int = 200
    coalesce_max_ms: int = 2_000
    partition_cooldown_ms: int = 10_000
    move_deadline_ms: int = 15_000  # beyond the owner's own handover limit: its session must end
    moves_in_flight_max: int = 16
    voter_replace_after_ms: int = 30_000
    commands_per_entry_max: int = 4_096
