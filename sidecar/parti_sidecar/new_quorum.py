"""The order to go on without the quorum, from its giving to its execution at a start.

An order names the cluster and the incarnation to become. Given to a running member it is a file in
the data directory, and the process ends; the next start, or one with `--force-new-quorum`, carries
it out before anything runs: first the new incarnation is fixed, so that no old member is spoken
with any more, then the survivor's state is written, then the file goes. A start that dies between
two of these does the rest at the next one.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from parti_raft.types import NO_MEMBER
from parti_shard.errors import Reason, refuse
from parti_shard.member import Member
from parti_shard.new_quorum import CannotSurviveError, survivor
from parti_sidecar.beginnings import resumed
from parti_sidecar.logs import event
from parti_sidecar.storage.base import Identity, Storage, StorageError, StoredState, WriteBatch
from parti_sidecar.storage.files import os_errors, sync_dir, write_synced

ORDER_NAME = "force-new-quorum.json"
LOST_AFTER_MS = 30_000

_log = logging.getLogger(__name__)


class NewQuorumOrderedError(Exception):
    """The process ends to begin again as the only voter of its cluster."""

    def __init__(self) -> None:
        super().__init__("ends to begin again as the only voter: start it again")


class OrderRefusedError(StorageError):
    """This member cannot go on as the only voter of that cluster."""

    def __init__(self, why: str) -> None:
        super().__init__(f"force-new-quorum: {why}")


@dataclass(frozen=True, slots=True)
class Order:
    """Go on without the quorum, as this incarnation of this cluster."""

    cluster_id: str
    incarnation: int


def write_order(data_dir: Path, order: Order) -> None:
    """Make the order durable; it is there as a whole or not at all."""
    path = data_dir / ORDER_NAME
    draft = path.with_suffix(".tmp")
    with os_errors("writing the order"):
        write_synced(draft, json.dumps(asdict(order)).encode())
        draft.replace(path)
        sync_dir(data_dir)


def read_order(data_dir: Path) -> Order | None:
    """The order that waits to be carried out."""
    try:
        text = (data_dir / ORDER_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return Order(**json.loads(text))


def remove_order(data_dir: Path) -> None:
    """It was carried out."""
    with os_errors("removing the order"):
        (data_dir / ORDER_NAME).unlink(missing_ok=True)
        sync_dir(data_dir)


def next_order(identity: Identity, cluster_id: str) -> Order:
    """The order for the member on this disk. Raises OrderRefusedError."""
    if not identity.cluster_id:
        raise OrderRefusedError("there is no state of a cluster here")
    if identity.cluster_id != cluster_id:
        raise OrderRefusedError(f"this is a member of {identity.cluster_id}, not of {cluster_id}")
    if identity.removed:
        raise OrderRefusedError("this member was removed from its cluster")
    return Order(cluster_id, identity.incarnation + 1)


def carry_out(storage: Storage, stored: StoredState, order: Order) -> None:
    """Become the only voter; the storage must be opened anew. Raises OrderRefusedError."""
    identity = stored.identity
    if identity.cluster_id != order.cluster_id or identity.removed:
        raise OrderRefusedError(f"the order is for another member, of {order.cluster_id}")
    if identity.incarnation > order.incarnation:
        return  # an order of long ago
    try:
        hard_state, snapshot = survivor(identity.member_id, resumed(storage, stored))
    except CannotSurviveError as error:
        raise OrderRefusedError(str(error)) from error
    storage.set_identity(replace(identity, incarnation=order.incarnation))
    storage.write(WriteBatch(hard_state=hard_state, snapshot=snapshot))
    event(
        _log,
        "goes on without the quorum, as the only voter",
        level=logging.WARNING,
        cluster=order.cluster_id,
        incarnation=order.incarnation,
        term=hard_state.term,
        committed=stored.hard_state.commit,
        kept=snapshot.index - 1,
    )


def demanded_order(identity: Identity, cluster_id: str, incarnation: int) -> Order:
    """The order that a caller asks of a running member. Raises PartiError."""
    if identity.cluster_id != cluster_id:
        text = f"this is a member of {identity.cluster_id}, not of {cluster_id!r}"
        refuse(Reason.WRONG_CLUSTER, text)
    if identity.incarnation != incarnation:
        text = f"this is incarnation {identity.incarnation} of the cluster, not {incarnation}"
        refuse(Reason.CONFLICT, text)
    return Order(cluster_id, incarnation + 1)


def quorum_seen(member: Member, now_ms: int) -> bool:
    """Whether somebody leads. A learner takes part in no election, so that its leader is the last
    one that it heard; there the lease tells.
    """
    votes = member.me in member.replica.conf_state.voters
    led = votes and member.replica.leader != NO_MEMBER
    return led or member.lease_remaining_ms(now_ms) > 0


def quorum_lost(member: Member, began_at_ms: int, now_ms: int) -> bool:
    """Whether nobody has led for so long that it is no mere election."""
    since_ms = max(member.session.holder.live_until_ms, began_at_ms)
    return not quorum_seen(member, now_ms) and now_ms - since_ms >= LOST_AFTER_MS
