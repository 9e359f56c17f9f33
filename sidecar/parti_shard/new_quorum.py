"""How one survivor becomes the whole of its cluster, when the quorum is lost for good.

Its log counts as it stands: what is committed, and the tail behind it, of which nobody can say any
more whether the majority that is gone had it. All of it is applied, and the result is the first
state of a cluster in which the survivor alone votes. The others are in no configuration any more;
their records and sessions stay in the table, so that each session ends by its lease like that of
any dead member (G1), and the leader then takes them out. The majority that is gone may have granted
epochs of which the survivor has never heard: it grants far higher ones (G2).

Members that took part in the old quorum must be kept from meeting again under the new one: that is
the caller's duty (`Identity.incarnation`, checked in every handshake).
"""

from __future__ import annotations

from parti_kv.store import KvStore
from parti_raft.replica import Replica
from parti_raft.replica_values import ReplicaLimits, RestoredState
from parti_raft.types import NO_MEMBER, ConfState, HardState, LogIndex, Snapshot, Term
from parti_shard.cluster_machine import ClusterMachine
from parti_shard.ids import MemberId
from parti_shard.table import Table

EPOCHS_SKIPPED = 1 << 32  # no partition is granted as often between two moments of a log


class CannotSurviveError(Exception):
    """This member cannot be the one that goes on."""


def survivor(me: MemberId, restored: RestoredState) -> tuple[HardState, Snapshot]:
    """The first state of the cluster that `me` alone is. Raises CannotSurviveError."""
    last_index, last_term = restored.floor_index, restored.floor_term
    if restored.entries:
        last_index, last_term = restored.entries[-1].index, restored.entries[-1].term
    table = Table.empty()
    machine = ClusterMachine(table, KvStore(), origin=0)
    decided = HardState(restored.hard_state.term, restored.hard_state.vote, last_index)
    replica = Replica(
        me,
        machine,
        ReplicaLimits(),
        RestoredState(
            decided,
            restored.snapshot,
            restored.floor_index,
            restored.floor_term,
            restored.entries,
        ),
        random_timeout=lambda _low, high: high,
    )
    replica.turn()
    assert replica.applied_index == last_index, f"{replica.applied_index} of {last_index} applied"
    if me not in table.members:
        raise CannotSurviveError("this member is none of its cluster: it was removed, or is new")
    index = LogIndex(last_index + 1)
    term = Term(max(restored.hard_state.term, last_term) + 1)
    table.configured(index)
    table.skip_epochs(EPOCHS_SKIPPED)
    snapshot = Snapshot(index, term, ConfState(voters=(me,)), machine.snapshot())
    return HardState(term, NO_MEMBER, index), snapshot
