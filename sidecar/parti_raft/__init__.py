"""Pure Raft consensus with the semantics of etcd-io/raft v3.7.

`RawNode` is one member: ticks, messages and requests go in, a `Ready` with work comes out.
Nothing here does I/O, reads a clock, draws random numbers or logs.
"""

from parti_raft.confchange import (
    ChangeType,
    ConfChange,
    ConfChangeV1,
    ConfChangeV2,
    SingleChange,
    Transition,
)
from parti_raft.config import Config, ReadOnlyOption
from parti_raft.errors import (
    CompactedError,
    ConfChangeError,
    ConfChangeReason,
    ConfigError,
    DroppedError,
    DropReason,
    InvalidMessageError,
    LocalMessageError,
    LogDamagedError,
    MalformedConfChangeError,
    ProposalDropped,
    RaftError,
    ReadDropped,
    SnapshotOutdatedError,
    SnapshotUnavailableError,
    UnavailableError,
    UnknownPeerError,
)
from parti_raft.progress import ProgressState
from parti_raft.raw_node import RawNode
from parti_raft.sizes import NO_LIMIT
from parti_raft.status import BasicStatus, ProgressStatus, Status
from parti_raft.storage import LogStorage, MemoryLog
from parti_raft.tracker import Configuration
from parti_raft.types import (
    APPEND_THREAD,
    APPLY_THREAD,
    NO_MEMBER,
    ConfState,
    Entry,
    EntryType,
    HardState,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    ReadState,
    Ready,
    Role,
    Snapshot,
    SoftState,
    Term,
)

__all__ = [
    "APPEND_THREAD",
    "APPLY_THREAD",
    "NO_LIMIT",
    "NO_MEMBER",
    "BasicStatus",
    "ChangeType",
    "CompactedError",
    "ConfChange",
    "ConfChangeError",
    "ConfChangeReason",
    "ConfChangeV1",
    "ConfChangeV2",
    "ConfState",
    "Config",
    "ConfigError",
    "Configuration",
    "DropReason",
    "DroppedError",
    "Entry",
    "EntryType",
    "HardState",
    "InvalidMessageError",
    "LocalMessageError",
    "LogDamagedError",
    "LogIndex",
    "LogStorage",
    "MalformedConfChangeError",
    "MemberId",
    "MemoryLog",
    "Message",
    "MessageType",
    "ProgressState",
    "ProgressStatus",
    "ProposalDropped",
    "RaftError",
    "RawNode",
    "ReadDropped",
    "ReadOnlyOption",
    "ReadState",
    "Ready",
    "Role",
    "SingleChange",
    "Snapshot",
    "SnapshotOutdatedError",
    "SnapshotUnavailableError",
    "SoftState",
    "Status",
    "Term",
    "Transition",
    "UnavailableError",
    "UnknownPeerError",
]
