"""Parameters of one member's Raft core, checked as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from parti_raft.errors import ConfigError
from parti_raft.types import APPEND_THREAD, APPLY_THREAD, NO_MEMBER, MemberId

# Inclusive bounds in, a number between them out; a new draw at every change of role.
RandomTimeout = Callable[[int, int], int]

LOCAL_TARGETS = frozenset({APPEND_THREAD, APPLY_THREAD})
_RESERVED_IDS = LOCAL_TARGETS | {NO_MEMBER}


class ReadOnlyOption(Enum):
    """How a linearizable read is confirmed."""

    SAFE = "safe"  # by a round of heartbeats
    LEASE_BASED = "lease-based"  # by the check-quorum lease; relies on clock rates


@dataclass(slots=True, kw_only=True)
class Config:
    """How one member behaves; sizes in bytes, times in ticks, `NO_LIMIT` for no limit."""

    id: MemberId
    random_timeout: RandomTimeout
    election_tick: int = 10
    heartbeat_tick: int = 2
    applied: int = 0
    async_storage_writes: bool = False
    max_size_per_msg: int = 1 << 20
    max_committed_size_per_ready: int | None = None  # None: the same as max_size_per_msg
    max_uncommitted_size: int = 1 << 26
    max_inflight_msgs: int = 256
    max_inflight_bytes: int = 1 << 26
    max_pending_reads: int = 1 << 14
    check_quorum: bool = True
    pre_vote: bool = True
    read_only_option: ReadOnlyOption = ReadOnlyOption.SAFE
    disable_proposal_forwarding: bool = False
    disable_conf_change_validation: bool = False
    step_down_on_removal: bool = True

    @property
    def max_applying_size(self) -> int:
        """The limit on entries being applied."""
        if self.max_committed_size_per_ready is None:
            return self.max_size_per_msg
        return self.max_committed_size_per_ready

    def validate(self) -> None:
        """Raise `ConfigError` naming every contradiction."""
        checks = (
            (self.id not in _RESERVED_IDS, f"id {self.id} is reserved"),
            (self.heartbeat_tick > 0, "heartbeat_tick must be greater than 0"),
            (
                self.election_tick > self.heartbeat_tick,
                "election_tick must be greater than heartbeat_tick",
            ),
            (self.max_size_per_msg >= 0, "max_size_per_msg must not be negative"),
            (self.max_inflight_msgs > 0, "max_inflight_msgs must be greater than 0"),
            (
                self.max_inflight_bytes >= self.max_size_per_msg,
                "max_inflight_bytes must not be less than max_size_per_msg",
            ),
            (self.max_applying_size > 0, "max_committed_size_per_ready must be greater than 0"),
            (self.max_uncommitted_size > 0, "max_uncommitted_size must be greater than 0"),
            (self.max_pending_reads > 0, "max_pending_reads must be greater than 0"),
            (
                self.check_quorum or self.read_only_option is ReadOnlyOption.SAFE,
                "read_only_option lease-based needs check_quorum",
            ),
        )
        faults = [fault for holds, fault in checks if not holds]
        if faults:
            raise ConfigError("; ".join(faults))
