"""How a member begins: from its disk, as the founder of a cluster, or empty after a join."""

from __future__ import annotations

from parti_raft.replica_values import ReplicaLimits, RestoredState
from parti_raft.types import ConfState, HardState, LogIndex, Snapshot, Term
from parti_shard.commands import NewMember
from parti_shard.errors import Reason, refuse
from parti_shard.ids import NO_MEMBER
from parti_shard.member import MemberSettings
from parti_shard.own_session import Profile
from parti_shard.table import Table
from parti_sidecar.config import Mode, Role, SidecarConfig
from parti_sidecar.storage.base import Storage, StoredState, WriteBatch
from parti_sidecar.version import VERSION

_FIRST_TERM = Term(1)


def resumed(storage: Storage, stored: StoredState) -> RestoredState:
    """What the disk holds of a member that belongs to a cluster."""
    return RestoredState(
        stored.hard_state,
        storage.read_snapshot(),
        stored.floor.index,
        stored.floor.term,
        stored.entries,
    )


def founded(
    storage: Storage, stored: StoredState, table: Table, founder: NewMember
) -> RestoredState:
    """Write the first state of a new cluster: its table as a snapshot, one voter.

    The identity is written after it: a crash between the two leaves a member of no cluster, whose
    next founding takes a newer index.
    """
    leftover = stored.snapshot
    index = LogIndex(leftover.index + 1 if leftover is not None else 1)
    conf = ConfState(voters=(founder.member,))
    snapshot = Snapshot(index, _FIRST_TERM, conf, table.snapshot())
    state = HardState(_FIRST_TERM, NO_MEMBER, index)
    storage.write(WriteBatch(hard_state=state, snapshot=snapshot))
    return RestoredState(state, snapshot, index, _FIRST_TERM)


def joined(stored: StoredState) -> RestoredState:
    """Nothing: what a member has comes from the cluster that takes it in.

    A founding that a crash cut short left a table in which this member alone is the cluster. Under
    the identity of another cluster it would be taken for that cluster's.
    """
    if stored.snapshot is not None or stored.hard_state != HardState():
        text = "the founding of a cluster was begun here; empty the data directory to join another"
        refuse(Reason.CONFLICT, text)
    return RestoredState()


def member_settings(config: SidecarConfig, advertised: str) -> MemberSettings:
    """The settings as the pure member takes them."""
    return MemberSettings(
        profile=Profile(
            config.name,
            advertised,
            config.zone,
            config.capacity,
            router_only=config.role is Role.ROUTER,
            version=VERSION,
        ),
        router=config.router_limits,
        replica=ReplicaLimits(
            election_ticks=config.election_ticks,
            heartbeat_ticks=config.heartbeat_ticks,
            snapshot_every_entries=config.snapshot_every_entries,
            snapshot_every_bytes=config.snapshot_every_bytes,
        ),
        available_for_ms=config.available_for_ms if config.mode is Mode.AVAILABLE else 0,
        removal_grace_ms=config.removal_grace_ms,
        store_bytes_max=config.kv_bytes_max,
    )
