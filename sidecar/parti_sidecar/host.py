"""What the API adapters need of the running sidecar.

The driver implements it; tests may fake it. Everything happens on one event loop. An adapter feeds
what it received into the router or the member and then calls `settle()` once per frame; the driver
executes the effects and wakes the writers of the destinations that have something to take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from parti_shard.commands import Command
from parti_shard.errors import Failure
from parti_shard.ids import MemberId, PartitionId, StreamId, WorkerId
from parti_shard.member import Member
from parti_shard.policy import Policy
from parti_shard.router import Destination, Router
from parti_sidecar.store_news import StoreNews


@dataclass(frozen=True, slots=True)
class PeerHandshake:
    """First words on every stream between members."""

    protocol_version: int
    cluster_id: str
    from_member: MemberId
    to_member: MemberId
    from_address: str
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class Applicant:
    """A member that asks to be taken into the cluster."""

    member: MemberId
    name: str
    address: str
    zone: str
    cluster_id: str
    protocol_version: int


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to an applicant: the cluster and where its members listen."""

    cluster_id: str
    peers: dict[MemberId, str]
    incarnation: int = 0


class Host(Protocol):
    """The running sidecar as its API adapters see it."""

    @property
    def member(self) -> Member | None:
        """The heart; None until this process was told to bootstrap or has joined."""

    @property
    def router(self) -> Router | None:
        """The member's router; None as long as `member` is."""

    @property
    def me(self) -> MemberId:
        """This member's id, made with its disk."""

    @property
    def cluster_id(self) -> str:
        """The cluster that the disk belongs to; empty before it does."""

    @property
    def state(self) -> str:
        """Where this process stands: waiting, joining, ready, draining or removed."""

    def now_ms(self) -> int:
        """Time of the lease clock."""

    @property
    def store_news(self) -> StoreNews:
        """Who is told of changes of the key-value store."""

    def touch(self) -> None:
        """Have a turn of the member soon: it was asked for something."""

    def settle(self) -> None:
        """Execute the effects of what was fed since the last call."""

    def fail(self, error: BaseException) -> None:
        """End the process with this reason: something died that must not."""

    def new_stream_id(self) -> StreamId:
        """An id never used before in this run."""

    def new_worker_id(self) -> WorkerId:
        """An id never used before in this run."""

    def add_writer(self, destination: Destination, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the router has something to take for `destination`."""

    def remove_writer(self, destination: Destination) -> None:
        """Stop waking the writer of `destination`."""

    def check_handshake(self, handshake: PeerHandshake) -> Failure | None:
        """Why a peer's stream must be refused, if it must."""

    def peer_heard(self, handshake: PeerHandshake) -> None:
        """A peer opened a stream from this address: a hint where it listens."""

    def peer_frame(self, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes]) -> None:
        """Take one frame of Raft and session messages. Malformed: raises MalformedFrameError."""

    def peer_snapshot(self, sender: MemberId, message: bytes, data: bytes) -> None:
        """Take a whole, verified snapshot."""

    def peer_unreachable(self, member: MemberId) -> None:
        """A frame to this member may be lost."""

    def snapshot_sent(self, member: MemberId, *, ok: bool) -> None:
        """A snapshot stream to this member has ended."""

    def leader(self) -> MemberId:
        """The leader as known here, 0 for none."""

    def address_of(self, member: MemberId) -> str:
        """Where a member's peer API listens; empty if unknown."""

    async def propose(self, command: Command, *, expected_config_index: int = 0) -> int:
        """Commit and apply a command (leader only); gives its value.

        Raises PartiError: NO_LEADER, PROPOSAL_DROPPED, CONFLICT (rejected by the table, or planned
        from another `config_index` than the expected one, if that is not 0),
        DEADLINE_EXCEEDED with executed UNKNOWN.
        """

    async def bootstrap(
        self, cluster_id: str, partitions: int, policy: Policy, lease_ttl_ms: int
    ) -> str:
        """Become the first member of a new cluster; idempotent for the same cluster id."""

    async def admit(self, applicant: Applicant) -> Admission:
        """Take a new member in as a learner (leader only)."""

    async def transfer_leader(self, to: MemberId) -> MemberId:
        """Hand leadership over (leader only); 0: to the best voter. Gives the new leader."""

    @property
    def incarnation(self) -> int:
        """How often the cluster went on without its quorum."""

    def force_new_quorum(self, cluster_id: str, incarnation: int) -> None:
        """End the process, to begin again as the only voter of the cluster.

        Raises PartiError: the quorum is not lost, or the order is for another cluster or time.
        """

    def left_behind(self, member: MemberId) -> None:
        """A peer says that the cluster went on without the quorum that this member knows."""

    async def prepare_to_stop(self) -> str:
        """Hand over partitions and leadership, and go on as an origin; ends when nothing is left,
        or nobody who could take it: then it says in words what. The handing over goes on when
        nobody waits for it any more.
        """

    def on_table_changed(
        self, callback: Callable[[Sequence[PartitionId]], None]
    ) -> Callable[[], None]:
        """Call `callback` after each change of the table; the result unsubscribes."""
