"""The sidecar's settings: one table that everything else is made from.

Each field of `SidecarConfig` is one setting. From its name follow the YAML key (`lease_ttl_ms`),
the environment variable (`PARTI_LEASE_TTL_MS`) and the flag (`--lease-ttl-ms`); from its metadata
the bounds and the help. `config_sources` fills it, `config_rules` holds what must fit together.

Defaults that the pure code knows come from its limits, so that there is one number, not two.
"""

# ruff: noqa: RUF009 - the calls in the table make immutable fields
from __future__ import annotations

import socket
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from parti_kv.limits import STORE_BYTES_MAX, STORE_BYTES_MAX_MAX
from parti_shard.limits import LEASE_TTL_MS_MIN, PARTITIONS_MAX, LeaseTimes, RouterLimits
from parti_sidecar.config_kinds import (
    CAPACITY,
    LABEL,
    BindAddress,
    Choice,
    DialAddress,
    DialAddresses,
    Directory,
    Flag,
    Kind,
    Number,
    SocketPath,
    Text,
    join_address,
    split_address,
)
from parti_sidecar.logs import LogFormat, LogLevel

_LEASE = LeaseTimes()
_ROUTER = RouterLimits()
_HOUR_MS = 3_600_000
_COUNT_MAX = 1 << 20
_BYTES_MAX = 1 << 32
# A message of this size still fits into one gRPC frame.
PAYLOAD_BYTES_LIMIT = 2 << 20


class Role(StrEnum):
    """Whether the member may own partitions."""

    WORKER = "worker"
    ROUTER = "router"


class Mode(StrEnum):
    """What a member does when its lease runs out: refuse, or go on for a bounded time."""

    STRICT = "strict"
    AVAILABLE = "available"


def _setting(kind: Kind, help_text: str, *, default: Any = MISSING) -> Any:
    metadata = {"kind": kind, "help": help_text}
    return (
        field(metadata=metadata)
        if default is MISSING
        else field(default=default, metadata=metadata)
    )


def _ms(default: int, help_text: str, *, minimum: int = 1) -> Any:
    return _setting(Number(minimum, _HOUR_MS, "MS"), help_text, default=default)


def _count(default: int, help_text: str) -> Any:
    return _setting(Number(1, _COUNT_MAX), help_text, default=default)


def _size(default: int, help_text: str) -> Any:
    return _setting(Number(1, _BYTES_MAX, "BYTES"), help_text, default=default)


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarConfig:
    """The effective settings of one sidecar process, in the order people see them."""

    data_dir: Path = _setting(Directory(), "where the member's durable state lives; required")
    name: str = _setting(LABEL, "what people call this member; default: the host name", default="")
    app_address: str = _setting(
        BindAddress(), "app API, loopback only; port 0: any free one", default="127.0.0.1:5100"
    )
    app_socket: str = _setting(
        SocketPath(),
        "unix socket for the app API besides the address; its streams' is PATH.streams",
        default="",
    )
    peer_address: str = _setting(
        BindAddress(), "peer API, for the other members", default="127.0.0.1:5101"
    )
    peer_stream_address: str = _setting(
        BindAddress(),
        "bulk streams between members, which learn its port by the peer API; "
        "default: the host of peer_address, any free port",
        default="",
    )
    advertise_address: str = _setting(
        DialAddress(),
        "where other members reach the peer API; default: peer_address; port 0: as chosen",
        default="",
    )
    admin_address: str = _setting(
        BindAddress(), "admin API, for the CLI and the operator", default="127.0.0.1:5102"
    )
    http_address: str = _setting(
        BindAddress(), "probes, metrics and a page for browsers", default="127.0.0.1:5103"
    )
    bootstrap: bool = _setting(
        Flag(), "become the first member of a new cluster if there is no state yet", default=False
    )
    cluster_id: str = _setting(
        Text(64), "refuse any other cluster; at bootstrap: its id; empty: any", default=""
    )
    partitions: int = _setting(
        Number(1, PARTITIONS_MAX), "partitions of a new cluster (bootstrap only)", default=64
    )
    join: tuple[str, ...] = _setting(
        DialAddresses(), "peer addresses of members of the cluster to join", default=()
    )
    rejoin_after_removal: bool = _setting(
        Flag(),
        "when this member was removed: empty the data directory at the next start and join anew",
        default=False,
    )
    removal_grace_ms: int = _ms(
        1_000,
        "being removed, and owning nothing any more: go on sending for the application for so "
        "long, so that it can be stopped first; a grant that was on its way is handed back",
        minimum=0,
    )
    zone: str = _setting(LABEL, "failure domain; voters are spread over zones", default="")
    capacity: int = _setting(
        CAPACITY, "share of partitions compared with other members", default=100
    )
    role: Role = _setting(
        Choice(Role), "a router only sends, a worker may own partitions", default=Role.WORKER
    )
    mode: Mode = _setting(
        Choice(Mode),
        "what a cut-off member does: strict refuses, available goes on for a while",
        default=Mode.STRICT,
    )
    available_for_ms: int = _ms(0, "mode available: how long to go on without a lease", minimum=0)
    lease_ttl_ms: int = _ms(
        _LEASE.ttl_ms,
        "lease of a session, a constant of the cluster (bootstrap only)",
        minimum=LEASE_TTL_MS_MIN,
    )
    tick_ms: int = _ms(50, "unit of Raft's time", minimum=5)
    heartbeat_ms: int = _ms(100, "between two heartbeats of the leader")
    election_ms: int = _ms(500, "silence before an election; drawn from here to twice as long")
    drain_ms: int = _ms(20_000, "at most this long to hand everything over at the end")
    termination_grace_ms: int = _ms(
        30_000, "after a first signal the process is killed from outside in this time"
    )
    handover_ms: int = _ms(
        _ROUTER.handover_ms, "a worker that does not release in this time is cut off"
    )
    worker_grace_ms: int = _ms(
        _ROUTER.worker_grace_ms, "partitions wait so long for a worker that went away"
    )
    payload_bytes_max: int = _setting(
        Number(1, PAYLOAD_BYTES_LIMIT, "BYTES"),
        "largest payload of a message",
        default=_ROUTER.payload_bytes_max,
    )
    parked_messages_per_partition: int = _count(
        _ROUTER.parked_messages_per_partition, "messages that wait here for one partition"
    )
    parked_bytes_per_partition: int = _size(
        _ROUTER.parked_bytes_per_partition, "bytes that wait here for one partition"
    )
    parked_messages_max: int = _count(
        _ROUTER.parked_messages_max, "messages that wait here for all partitions"
    )
    parked_bytes_max: int = _size(
        _ROUTER.parked_bytes_max, "bytes that wait here for all partitions"
    )
    parked_age_ms_max: int = _ms(_ROUTER.parked_age_ms_max, "how long a message waits here")
    kv_bytes_max: int = _setting(
        Number(1 << 20, STORE_BYTES_MAX_MAX, "BYTES"),
        "what the key-value store may hold; that of the leader counts",
        default=STORE_BYTES_MAX,
    )
    voters_max: int = _setting(
        Number(1, 7), "voters of a new cluster: 1, 3, 5 or 7 (bootstrap only)", default=3
    )
    snapshot_every_entries: int = _setting(
        Number(16, 1 << 30), "applied entries between two snapshots", default=10_000
    )
    snapshot_every_bytes: int = _setting(
        Number(64 << 10, _BYTES_MAX, "BYTES"), "log bytes between two snapshots", default=64 << 20
    )
    log_format: LogFormat = _setting(
        Choice(LogFormat), "json for machines, human for people", default=LogFormat.JSON
    )
    log_level: LogLevel = _setting(
        Choice(LogLevel), "least severe events written", default=LogLevel.INFO
    )

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", socket.gethostname())
        if not self.peer_stream_address:
            host, _ = split_address(self.peer_address)
            object.__setattr__(self, "peer_stream_address", join_address(host, 0))
        if not self.advertise_address:
            object.__setattr__(self, "advertise_address", self.peer_address)

    @property
    def router_limits(self) -> RouterLimits:
        """The message path's limits as the pure code takes them."""
        return RouterLimits(
            payload_bytes_max=self.payload_bytes_max,
            parked_messages_per_partition=self.parked_messages_per_partition,
            parked_bytes_per_partition=self.parked_bytes_per_partition,
            parked_messages_max=self.parked_messages_max,
            parked_bytes_max=self.parked_bytes_max,
            parked_age_ms_max=self.parked_age_ms_max,
            worker_grace_ms=self.worker_grace_ms,
            handover_ms=self.handover_ms,
        )

    @property
    def heartbeat_ticks(self) -> int:
        return self.heartbeat_ms // self.tick_ms

    @property
    def election_ticks(self) -> int:
        return self.election_ms // self.tick_ms

    def advertised(self, peer_bound: str) -> str:
        """The address told to other members, once the peer API listens at `peer_bound`."""
        host, port = split_address(self.advertise_address)
        return join_address(host, port or split_address(peer_bound)[1])


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table, as sources and help use it."""

    name: str
    kind: Kind
    help_text: str
    default: object  # MISSING: must be given

    @property
    def env_name(self) -> str:
        return f"PARTI_{self.name.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(row.name, row.metadata["kind"], row.metadata["help"], row.default)
    for row in fields(SidecarConfig)
)


def shown(config: SidecarConfig) -> dict[str, object]:
    """The effective settings as plain values; loading them again gives the same settings."""
    return {row.name: row.kind.show(getattr(config, row.name)) for row in SETTINGS}
