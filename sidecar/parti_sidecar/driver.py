"""The running member: the `Host` that the API adapters see, around one engine and one `Member`.

Before the process belongs to a cluster there is no member: the APIs answer NOT_READY. `bootstrap`
or a join makes one, once, and it stays until the process ends.

The simulator runs this class too, with other clocks, links and disks (`_new_...`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from parti_raft.replica_values import RestoredState
from parti_shard.codec import encode_batch
from parti_shard.commands import Command, NewMember, Outcome, Require
from parti_shard.effects import Effects
from parti_shard.errors import Failure, Reason, refuse
from parti_shard.ids import NO_MEMBER, LogIndex, MemberId, PartitionId, StreamId, WorkerId
from parti_shard.member import Member
from parti_shard.policy import Policy
from parti_shard.router import Destination, Router
from parti_shard.table import Table
from parti_sidecar.address_book import AddressBook
from parti_sidecar.admissions import Admissions
from parti_sidecar.beginnings import founded, joined, member_settings, resumed
from parti_sidecar.clocks import lease_clock_ms, wall_clock_unix_ms
from parti_sidecar.config import SidecarConfig
from parti_sidecar.driver_views import cluster_page, member_state, reading, ready_missing
from parti_sidecar.engine import Engine, Links, snapshot_head, with_data
from parti_sidecar.handshakes import LocalPeer, judge
from parti_sidecar.host import Admission, Applicant, PeerHandshake
from parti_sidecar.http_pages import ClusterPage
from parti_sidecar.joining import Joiner, joiner_of
from parti_sidecar.leaving import Leaving
from parti_sidecar.logs import event
from parti_sidecar.meters import Meters, TableMeter
from parti_sidecar.metrics import MemberReading
from parti_sidecar.new_quorum import (
    NewQuorumOrderedError,
    demanded_order,
    quorum_lost,
    quorum_seen,
    write_order,
)
from parti_sidecar.outcomes import OUTCOME_TIMEOUT_S, Outcomes, not_known
from parti_sidecar.peer_links import MemberLinks, PeerLinks
from parti_sidecar.removal import REMOVED, RemovedError
from parti_sidecar.runtime import Supervisor
from parti_sidecar.storage.base import Identity, Storage, StoredState
from parti_sidecar.store_news import StoreNews

_log = logging.getLogger(__name__)


class Driver:
    """See the module's docstring. Everything happens on one event loop."""

    now_ms = staticmethod(lease_clock_ms)
    wall_unix_ms = staticmethod(wall_clock_unix_ms)

    def __init__(
        self,
        config: SidecarConfig,
        storage: Storage,
        stored: StoredState,
        supervisor: Supervisor,
        meters: Meters,
    ) -> None:
        self.config = config
        self.member: Member | None = None
        self.links: MemberLinks | None = None
        self._local: LocalPeer | None = None
        self._began_at_ms = 0
        self.advertised = config.advertise_address
        self.store_news = StoreNews()
        self.fail = supervisor.fail
        self._storage = storage
        self._stored = stored
        self._me = stored.identity.member_id
        self._supervisor = supervisor
        self._meters = meters
        self._table_meter = TableMeter(self._me)
        self._engine: Engine | None = None
        self._streams = 0
        self._workers = 0
        self._writers: dict[Destination, Callable[[], None]] = {}
        self._watchers: list[Callable[[Sequence[PartitionId]], None]] = []
        self._outcomes = Outcomes()
        self._addresses = AddressBook(self._recorded_address)
        self._links_wanted_at_ms = 0
        self._joiner: Joiner | None = None
        self._admissions = Admissions(self)
        self._leaving: Leaving | None = None
        self._preparing: asyncio.Task[None] | None = None

    # --- the life of the member

    @property
    def me(self) -> MemberId:
        """This member's id, made with its disk."""
        return self._me

    @property
    def cluster_id(self) -> str:
        """The cluster this member belongs to; empty before it does."""
        return self._stored.identity.cluster_id

    @property
    def incarnation(self) -> int:
        """How often the cluster went on without its quorum."""
        return self._stored.identity.incarnation

    @property
    def state(self) -> str:
        """Where it stands, in one word (`GetStatus`)."""
        if self.member is not None:
            return member_state(self.member)
        if self._stored.identity.removed:
            return "removed"
        return "waiting" if self._joiner is None else "joining"

    @property
    def router(self) -> Router | None:
        """The message path, once there is a member."""
        return self.member.router if self.member is not None else None

    async def start(self, advertised: str) -> None:
        """Continue as the member that the disk knows, or become one as the settings say.

        A removed member does neither and waits to be stopped: if it ended, it would only be started
        again, and again.
        """
        self.advertised = advertised
        config = self.config
        if self._stored.identity.removed:
            event(_log, "waits to be stopped", reason=REMOVED)
        elif self.cluster_id:
            self._begin(resumed(self._storage, self._stored))
        elif config.bootstrap:
            policy = Policy(voters_max=config.voters_max)
            cluster_id = config.cluster_id or secrets.token_hex(8)
            await self.bootstrap(cluster_id, config.partitions, policy, config.lease_ttl_ms)
        elif config.join:
            self._join()
        else:
            event(_log, "waiting to be told to bootstrap or to join a cluster")

    def _join(self) -> None:
        joiner = self._joiner = joiner_of(self.config, self._me, self.advertised)
        self._supervisor.spawn(self._begin_when_admitted(joiner), "joining the cluster")

    async def _begin_when_admitted(self, joiner: Joiner) -> None:
        restored = joined(self._stored)
        admission = await joiner.admission()
        if admission is None:
            return  # it founds its cluster instead
        for member, address in admission.peers.items():
            self.hint(member, address)
        event(_log, "joined", cluster=admission.cluster_id)
        self._belong(Identity(admission.cluster_id, self._me, admission.incarnation), restored)

    async def bootstrap(
        self, cluster_id: str, partitions: int, policy: Policy, lease_ttl_ms: int
    ) -> str:
        """Become the first member of a new cluster; the same again is fine."""
        if self.config.cluster_id not in ("", cluster_id):
            refuse(Reason.WRONG_CLUSTER, f"this member is set to be of {self.config.cluster_id}")
        if self._stored.identity.removed:
            refuse(Reason.CONFLICT, REMOVED)
        if self._joiner is not None and not self.cluster_id:
            await self._joiner.stand_back()
        if self.cluster_id:
            if self.cluster_id == cluster_id:
                return cluster_id
            refuse(Reason.CONFLICT, f"this member belongs to cluster {self.cluster_id} already")
        founder = NewMember(self._me, self.config.name, self.advertised, self.config.zone)
        table = Table.initial(cluster_id, partitions, policy, founder, lease_ttl_ms)
        restored = founded(self._storage, self._stored, table, founder)
        self._belong(Identity(cluster_id, self._me), restored)
        event(_log, "cluster founded", cluster=cluster_id, partitions=partitions)
        assert self.member is not None
        self.member.replica.raw.campaign()
        self.touch()
        return cluster_id

    def _belong(self, identity: Identity, restored: RestoredState) -> None:
        """Make the cluster durable, which happens once, and begin as its member."""
        self._storage.set_identity(identity)
        self._stored = StoredState(identity, restored.hard_state, [], None)
        self._begin(restored)

    def hint(self, member: MemberId, address: str) -> None:
        """Remember where a member was seen; the table may not know it yet."""
        self._addresses.see(member, address)

    async def drain(self) -> str:
        """Hand over what others depend on and close the session; gives what it could not.
        The caller times it.
        """
        return "" if self._leaving is None else await self._leaving.leave()

    async def prepare_to_stop(self) -> str:
        """Hand over what others depend on, and go on as an origin; gives what it could not.
        The caller times it; the handing over goes on without him.
        """
        if self._leaving is None:
            return ""
        if self._preparing is None or self._preparing.done():
            self._preparing = self._supervisor.spawn(self._leaving.prepare(), "preparing to stop")
        await asyncio.shield(self._preparing)
        return self._leaving.remaining()

    def force_new_quorum(self, cluster_id: str, incarnation: int) -> None:
        """End the process, to begin again as the only voter of the cluster."""
        member = self.member
        if member is None:
            refuse(Reason.NOT_READY, "this member is in no cluster")
        order = demanded_order(self._stored.identity, cluster_id, incarnation)
        if quorum_seen(member, self.now_ms()):
            refuse(Reason.CONFLICT, "the cluster has a leader: its quorum is not lost")
        write_order(self.config.data_dir, order)
        self.fail(NewQuorumOrderedError())

    def left_behind(self, member: MemberId) -> None:
        """A member of a later incarnation refuses this one: with its quorum dead, it is out."""
        now_ms = self.now_ms()
        if self.member is not None and quorum_lost(self.member, self._began_at_ms, now_ms):
            event(_log, "the cluster went on without this member", told_by=f"{member:016x}")
            self.fail(RemovedError())

    async def stop(self) -> None:
        """End the engine, then the links, which it would open again; what was submitted to the
        disk is written.
        """
        links, self.links = self.links, None
        try:
            if self._engine is not None:
                self._engine.stop()
        finally:
            if links is not None:
                await links.close()

    def _begin(self, restored: RestoredState) -> None:
        member = self.member = self._new_member(restored)
        self._began_at_ms = self.now_ms()
        self._leaving = Leaving(self, member, self._outcomes)
        self._table_meter.attach(member.table, self.now_ms())
        local = LocalPeer(self.cluster_id, self._me, self.advertised, self.incarnation)
        self._local = local
        self.links = self._new_links(member.router, local)
        self._engine = self._new_engine(member, self.links)
        self._engine.start()

    def _new_member(self, restored: RestoredState) -> Member:
        return Member(
            self._me,
            member_settings(self.config, self.advertised),
            restored,
            random_timeout=random.SystemRandom().randint,
            nonce=secrets.randbits(62) + 1,
            wall_unix_ms=self.wall_unix_ms,
        )

    def _new_links(self, router: Router, local: LocalPeer) -> MemberLinks:
        return PeerLinks(self, router, local)

    def _new_engine(self, member: Member, links: Links) -> Engine:
        return Engine(
            member,
            self._storage,
            links,
            clock=self.now_ms,
            tick_ms=self.config.tick_ms,
            deliver=self._deliver,
            fail=self.fail,
            on_commit=self._meters.disk.committed,
        )

    # --- Host: the message path

    def settle(self) -> None:
        """Wake the writers that have something to take; have a turn if the member needs one."""
        member = self.member
        if member is None:
            return
        now_ms = self.now_ms()
        if member.collect_router_news(now_ms):
            self.touch()
        router = member.router
        if router.stats.parked_messages and now_ms != self._links_wanted_at_ms:
            self._hold_links(now_ms)
        self._wake_writers(router)

    def _wake_writers(self, router: Router) -> None:
        writers = self._writers
        for destination in router.take_dirty():
            wake = writers.get(destination)
            if wake is not None:
                wake()

    def _hold_links(self, now_ms: int) -> None:
        self._links_wanted_at_ms = now_ms
        if self.links is not None and self.member is not None:
            self.links.hold_forwards(self.member.router.peers_wanted())

    def new_stream_id(self) -> StreamId:
        """An id never used before in this run."""
        self._streams += 1
        return StreamId(self._streams)

    def new_worker_id(self) -> WorkerId:
        """An id never used before in this run."""
        self._workers += 1
        return WorkerId(self._workers)

    def add_writer(self, destination: Destination, wake: Callable[[], None]) -> None:
        """Call `wake` whenever there is something to take."""
        self._writers[destination] = wake

    def remove_writer(self, destination: Destination) -> None:
        """Stop waking."""
        self._writers.pop(destination, None)

    # --- Host: peers

    def check_handshake(self, handshake: PeerHandshake) -> Failure | None:
        """Why a peer must be refused, if it must."""
        if self._local is None:
            return Failure(Reason.NOT_READY, message="this member is in no cluster yet")
        return judge(handshake, self._local)

    def peer_heard(self, handshake: PeerHandshake) -> None:
        """Remember where a peer says it listens; it can be reached again."""
        if handshake.from_address:
            self.hint(handshake.from_member, handshake.from_address)
        if self.links is not None:
            self.links.heard(handshake.from_member)

    def peer_frame(self, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes]) -> None:
        """Take one frame; it is part of the next turn."""
        member, engine = self.member, self._engine
        if member is not None and engine is not None:
            engine.feed(lambda: member.receive(sender, raft, session, self.now_ms()))

    def peer_snapshot(self, sender: MemberId, message: bytes, data: bytes) -> None:
        """Take a whole snapshot."""
        member, engine = self.member, self._engine
        if member is None or engine is None:
            return
        head = snapshot_head(message, sender, self._me)
        engine.feed(lambda: member.receive_snapshot(with_data(head, data)))

    def peer_unreachable(self, member: MemberId) -> None:
        """Tell Raft that it may have to probe."""
        if self.member is not None:
            self.member.replica.report_unreachable(member)

    def snapshot_sent(self, member: MemberId, *, ok: bool) -> None:
        """Tell Raft how it went."""
        if self.member is not None:
            self.member.replica.report_snapshot(member, ok=ok)
            self.touch()

    def leader(self) -> MemberId:
        """The leader as known here."""
        return self.member.replica.leader if self.member is not None else NO_MEMBER

    def address_of(self, member: MemberId) -> str:
        """Where the newest news says that it listens."""
        return self._addresses.address_of(member)

    def _recorded_address(self, member: MemberId) -> str:
        record = self.member.table.members.get(member) if self.member is not None else None
        return record.address if record is not None else ""

    # --- Host: operations

    async def propose(self, command: Command, *, expected_config_index: int = 0) -> int:
        """Commit and apply a command; gives its value."""
        member = self.leading_member()
        required = [Require(LogIndex(expected_config_index))] if expected_config_index else []
        batch = encode_batch(self.wall_unix_ms(), [*required, command])
        value = await self.ask(lambda tag: member.propose(tag, batch))
        assert isinstance(value, list)
        outcome = value[-1]
        assert isinstance(outcome, Outcome)
        if not outcome.ok:
            text = f"the table refuses: {outcome.rejection.name.lower().replace('_', ' ')}"
            refuse(Reason.CONFLICT, text)
        return outcome.value

    async def admit(self, applicant: Applicant) -> Admission:
        """Take a new member in as a learner; the same again is fine."""
        return await self._admissions.admit(applicant)

    async def transfer_leader(self, to: MemberId) -> MemberId:
        """Hand leadership over and wait until another member leads."""
        member = self.leading_member()
        if to == self._me:
            return to
        if to != NO_MEMBER and to not in member.replica.conf_state.voters:
            refuse(Reason.CONFLICT, "only a voter can lead")
        if not member.leads_others:
            refuse(Reason.CONFLICT, "no other member votes")
        member.transfer_leader(to)
        self.touch()
        try:
            async with asyncio.timeout(OUTCOME_TIMEOUT_S):
                await self._outcomes.until(lambda: self.leader() not in (NO_MEMBER, self._me))
        except TimeoutError:
            raise not_known("no other leader yet") from None
        return self.leader()

    def on_table_changed(
        self, callback: Callable[[Sequence[PartitionId]], None]
    ) -> Callable[[], None]:
        """Call `callback` after each change of the table."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    # --- turns

    def touch(self) -> None:
        """Have a turn soon."""
        if self._engine is not None:
            self._engine.touch()

    def _deliver(self, effects: Effects) -> None:
        for each in effects.events:
            details: dict[str, Any] = dict(each.details)
            event(_log, each.name, **details)
        for gone in effects.members_gone:
            self._forget_member(gone)
        assert self.member is not None
        if effects.changed:
            self._tell_changed(self.member, effects.changed)
        if effects.removed:
            self.fail(RemovedError())
        self._hold_links(self.now_ms())
        self._wake_writers(self.member.router)
        self._outcomes.deliver(effects)
        self.store_news.tell(effects)

    def _tell_changed(self, member: Member, changed: Sequence[PartitionId]) -> None:
        session, now_ms = member.session.session, self.now_ms()
        self._table_meter.changed(member.table, session, changed, now_ms, self.wall_unix_ms())
        for watcher in list(self._watchers):
            watcher(changed)

    # --- what pages, probes and metrics read

    def start_missing(self) -> tuple[str, ...]:
        """Listening is all that start-up means: a member may wait long to be bootstrapped."""
        return ()

    def health_missing(self) -> tuple[str, ...]:
        """A failure ends the process, so whoever can answer is healthy."""
        return ()

    def ready_missing(self) -> tuple[str, ...]:
        """Why traffic should not come, if it should not."""
        if self._stored.identity.removed:
            return (REMOVED,)
        return ready_missing(self.member, self.now_ms())

    def cluster_page(self) -> ClusterPage:
        """Everything on the page for browsers."""
        return cluster_page(self.member, self.config.name, self.state)

    def reading(self) -> MemberReading | None:
        """The member's state for one scrape."""
        if self.member is None:
            return None
        return reading(self.member, self._table_meter, self.store_news.watchers, self.now_ms())

    def _forget_member(self, member: MemberId) -> None:
        """End the links; the hint stays, so that the member can still be told that it is out."""
        if self.links is not None:
            self.links.forget(member)

    async def ask(self, ask: Callable[[asyncio.Future[object]], None]) -> object:
        """Give the member a command with a future as its tag, and wait for what becomes of it."""
        self.touch()
        return await self._outcomes.of(ask)

    def leading_member(self) -> Member:
        """The member, if it leads. Raises PartiError."""
        member = self.member
        if member is None:
            refuse(Reason.NOT_READY, "in no cluster yet")
        if not member.is_leader:
            refuse(Reason.NO_LEADER, "this member does not lead")
        return member
