"""A host for tests of the adapters: the real router and table, no Raft, no disk.

`FakeCluster` gives several hosts one table: a command is applied to all of them at once, so that
ownership is whatever the test says.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from parti_shard.commands import Cause, Command, Grant, NewMember, OpenSession, Outcome
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import (
    NO_MEMBER,
    NO_SESSION,
    LogIndex,
    MemberId,
    PartitionId,
    StreamId,
    WorkerId,
)
from parti_shard.limits import PROTOCOL_VERSION, RouterLimits
from parti_shard.member import Member
from parti_shard.policy import Policy
from parti_shard.router import Router
from parti_shard.streams import Destination
from parti_shard.table import Table
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.host import Admission, Applicant, PeerHandshake
from parti_sidecar.peer_links import PeerLinks
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.servers import ApiAddresses, ApiServers, ApiSettings
from parti_sidecar.store_news import StoreNews

CLUSTER = "test-cluster"
FOR_EVER_MS = 1 << 60
ANY_PORT = "127.0.0.1:0"
ANY_PORTS = ApiAddresses(app=ANY_PORT, peer=ANY_PORT, peer_streams=ANY_PORT, admin=ANY_PORT)


@dataclass
class FakeMember:
    """The attributes of a member that the adapters read."""

    me: MemberId
    table: Table
    router: Router
    host: FakeHost

    @property
    def is_leader(self) -> bool:
        return self.host.complete and self.host.leader_is == self.me


@dataclass
class FakeHost:
    """Everything of `Host`, with what was reported kept for the test to look at."""

    me: MemberId
    table: Table | None
    addresses: dict[MemberId, str] = field(default_factory=dict)
    limits: RouterLimits = field(default_factory=RouterLimits)
    leader_is: MemberId = NO_MEMBER
    complete: bool = True  # a leader whose state is
    refusal: Failure | None = None
    failed: list[BaseException] = field(default_factory=list)
    heard: list[PeerHandshake] = field(default_factory=list)
    peer_frames: list[tuple[MemberId, list[bytes], list[bytes]]] = field(default_factory=list)
    peer_snapshots: list[tuple[MemberId, bytes, bytes]] = field(default_factory=list)
    unreachable: list[MemberId] = field(default_factory=list)
    snapshots_sent: list[tuple[MemberId, bool]] = field(default_factory=list)
    proposed: list[Command] = field(default_factory=list)
    on_propose: Callable[[Command], int] = lambda _command: 0
    links: PeerLinks | None = None
    store_news: StoreNews = field(default_factory=StoreNews)

    def __post_init__(self) -> None:
        self.router: Router | None = None
        self.member: Member | None = None
        self._ids = itertools.count(1)
        self._writers: dict[Destination, Callable[[], None]] = {}
        self._watchers: list[Callable[[Sequence[PartitionId]], None]] = []
        self.preparing = 0
        self.new_quorums: list[tuple[str, int]] = []
        self.left_behind_by: list[MemberId] = []
        self.prepared = asyncio.Event()
        self.left = ""  # when it has prepared
        self.something = asyncio.Event()  # set with every report
        if self.table is not None:
            self.become_member(self.table)

    def become_member(self, table: Table) -> None:
        self.table = table
        self.router = Router(self.me, table, self.limits)
        self.member = cast("Member", FakeMember(self.me, table, self.router, self))

    def now_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def touch(self) -> None:
        """There is no member that has turns."""

    def settle(self) -> None:
        if self.router is None:
            return
        for destination in self.router.take_dirty():
            wake = self._writers.get(destination)
            if wake is not None:
                wake()
        if self.links is not None:
            self.links.hold_forwards(self.router.peers_wanted())

    def fail(self, error: BaseException) -> None:
        self.failed.append(error)

    def new_stream_id(self) -> StreamId:
        return StreamId(next(self._ids))

    def new_worker_id(self) -> WorkerId:
        return WorkerId(next(self._ids))

    def add_writer(self, destination: Destination, wake: Callable[[], None]) -> None:
        self._writers[destination] = wake

    def remove_writer(self, destination: Destination) -> None:
        self._writers.pop(destination, None)

    def writers(self) -> set[Destination]:
        return set(self._writers)

    def check_handshake(self, handshake: PeerHandshake) -> Failure | None:
        if self.refusal is not None:
            return self.refusal
        if handshake.protocol_version != PROTOCOL_VERSION:
            return Failure(Reason.PROTOCOL_VERSION, message="other version")
        if handshake.cluster_id != CLUSTER:
            return Failure(Reason.WRONG_CLUSTER, message="other cluster")
        return None

    def peer_heard(self, handshake: PeerHandshake) -> None:
        self.heard.append(handshake)

    def peer_frame(self, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes]) -> None:
        self.peer_frames.append((sender, list(raft), list(session)))
        self.something.set()

    def peer_snapshot(self, sender: MemberId, message: bytes, data: bytes) -> None:
        self.peer_snapshots.append((sender, message, data))
        self.something.set()

    def peer_unreachable(self, member: MemberId) -> None:
        self.unreachable.append(member)
        self.something.set()

    def snapshot_sent(self, member: MemberId, *, ok: bool) -> None:
        self.snapshots_sent.append((member, ok))
        self.something.set()

    def leader(self) -> MemberId:
        return self.leader_is

    def address_of(self, member: MemberId) -> str:
        return self.addresses.get(member, "")

    @property
    def cluster_id(self) -> str:
        return self.table.cluster_id if self.table is not None else ""

    @property
    def state(self) -> str:
        return "waiting" if self.member is None else "ready"

    @property
    def incarnation(self) -> int:
        return 3

    def force_new_quorum(self, cluster_id: str, incarnation: int) -> None:
        self.new_quorums.append((cluster_id, incarnation))

    def left_behind(self, member: MemberId) -> None:
        self.left_behind_by.append(member)

    async def prepare_to_stop(self) -> str:
        self.preparing += 1
        await self.prepared.wait()
        return self.left

    async def propose(self, command: Command, *, expected_config_index: int = 0) -> int:
        assert self.table is not None
        if expected_config_index not in (0, self.table.config_index):
            raise PartiError(Failure(Reason.CONFLICT, Executed.NO, "config changed"))
        self.proposed.append(command)
        return self.on_propose(command)

    async def bootstrap(
        self, cluster_id: str, partitions: int, policy: Policy, lease_ttl_ms: int
    ) -> str:
        if self.table is not None:
            if self.table.cluster_id != cluster_id:
                raise PartiError(Failure(Reason.CONFLICT, Executed.NO, "another cluster"))
            return cluster_id
        new = NewMember(self.me, "first", "")
        self.become_member(Table.initial(cluster_id, partitions, policy, new))
        return cluster_id

    async def admit(self, applicant: Applicant) -> Admission:
        return Admission(CLUSTER, {self.me: "10.0.0.1:5101", applicant.member: applicant.address})

    async def transfer_leader(self, to: MemberId) -> MemberId:
        self.leader_is = to or MemberId(2)
        return self.leader_is

    def on_table_changed(
        self, callback: Callable[[Sequence[PartitionId]], None]
    ) -> Callable[[], None]:
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def table_changed(self, partitions: Sequence[PartitionId]) -> None:
        assert self.router is not None
        self.router.table_changed(partitions, self.now_ms())
        for callback in list(self._watchers):
            callback(partitions)
        self.settle()

    def take_released(self) -> list[tuple[PartitionId, int]]:
        assert self.router is not None
        return [(p, e) for p, e in self.router.take_released()]


class Node:
    """A host with servers and links, as a running sidecar has them."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.meter = RpcMeter()
        self.servers: ApiServers | None = None
        self.bound = ANY_PORTS
        self._ticker: asyncio.Task[None] | None = None

    async def start(
        self, addresses: ApiAddresses = ANY_PORTS, settings: ApiSettings | None = None
    ) -> None:
        self.servers, self.bound = await ApiServers.start(
            self.host, addresses, settings or ApiSettings(self.host.limits), self.meter
        )
        if self.host.router is not None:
            local = LocalPeer(CLUSTER, self.host.me, self.bound.peer)
            self.host.links = PeerLinks(self.host, self.host.router, local)
        self._ticker = asyncio.create_task(self._tick())

    async def stop(self, *, grace_ms: int = 0) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        if self.host.links is not None:
            await self.host.links.close()
        if self.servers is not None:
            await self.servers.stop(grace_ms=grace_ms)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            if self.host.router is not None:
                self.host.router.tick(self.host.now_ms())
                self.host.settle()


class FakeCluster:
    """Nodes that share one table; the test applies the commands."""

    def __init__(
        self, count: int = 1, partitions: int = 8, limits: RouterLimits | None = None
    ) -> None:
        self.members = [MemberId(n + 1) for n in range(count)]
        self._index = 0
        self.nodes = [
            Node(FakeHost(me, self._new_table(partitions), limits=limits or RouterLimits()))
            for me in self.members
        ]

    def _new_table(self, partitions: int) -> Table:
        first = NewMember(self.members[0], "m1", "")
        table = Table.initial(CLUSTER, partitions, Policy(), first)
        for number, member in enumerate(self.members[1:], 2):
            table.member_added(LogIndex(0), NewMember(member, f"m{number}", ""))
        return table

    async def start(self, settings: ApiSettings | None = None) -> None:
        for node in self.nodes:
            await node.start(settings=settings)
        for node in self.nodes:
            addresses = {each.host.me: each.bound.peer for each in self.nodes}
            node.host.addresses = addresses
            node.host.leader_is = self.members[0]
            self.open_session(node.host)

    async def stop(self) -> None:
        for node in self.nodes:
            await node.stop()

    def apply(self, command: Command) -> Outcome:
        self._index += 1
        outcome = Outcome()
        for node in self.nodes:
            table = node.host.table
            assert table is not None
            outcome = table.apply(LogIndex(self._index), 0, command)
            assert outcome.ok, outcome
            node.host.table_changed(table.take_changed())
        return outcome

    def open_session(self, host: FakeHost) -> None:
        outcome = self.apply(OpenSession(host.me, NO_SESSION, 1, f"m{host.me}", ""))
        assert host.router is not None
        host.router.set_lease(type(NO_SESSION)(outcome.value), FOR_EVER_MS, host.now_ms())

    def grant(self, partition: int, to: FakeHost) -> None:
        table = to.table
        assert table is not None
        self.apply(
            Grant(
                PartitionId(partition),
                table.epoch[partition],
                to.me,
                table.members[to.me].session,
                Cause.ORPHAN,
            )
        )
