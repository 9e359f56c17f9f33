"""Whole members under virtual time: real replicas, tables, leases, routers; letters, not gRPC.

Each member has a clock with an offset of its own, a disk that checks every batch, and (unless the
test says otherwise) a worker that starts what it is assigned, hands over at once and answers every
message. Letters and writes take `HOP_MS`. After every step G1 is checked: at most one member's gate
admits a partition. Nothing is random: the lowest id always campaigns first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from parti_raft.codec import decode_message, encode_message
from parti_raft.replica_values import PersistJob, ReplicaLimits
from parti_raft.types import ConfState, HardState, LogIndex, Message, Snapshot, Term
from parti_shard.batches import SendBatch, WorkerInput, WorkerOutput, WorkerResults
from parti_shard.codec import encode_batch
from parti_shard.commands import Command, NewMember
from parti_shard.effects import Effects
from parti_shard.ids import MemberId, PartitionId, SessionId, StreamId, WorkerId
from parti_shard.member import Member, MemberSettings
from parti_shard.own_session import Profile
from parti_shard.policy import Policy
from parti_shard.table import Table
from parti_shard.wire import Frame, decode_frame
from parti_sidecar.beginnings import resumed
from parti_sidecar.storage.base import Identity, WriteBatch
from parti_sidecar.storage.memory import MemoryDisk, MemoryStorage

A, B, C, D, E = (MemberId(n) for n in range(1, 6))
CLUSTER = "test-cluster"
PARTITIONS = 6
TICK_MS, HOP_MS = 50, 1
TTL_MS = 2_000
CLIENT = StreamId(1)

Lose = Callable[[MemberId, MemberId, Frame], bool]


@dataclass
class Node:
    """One machine: what outlives a crash, the running member if there is one, what it told."""

    me: MemberId
    disk: MemoryDisk
    member: Member | None = None
    storage: MemoryStorage | None = None
    runs: int = 0
    writes: int = 0
    worker: WorkerId | None = None
    clingy: bool = False  # the worker never hands over
    frozen: bool = False
    effects: Effects = field(default_factory=Effects)  # of all turns, but for the jobs
    answers: dict[int, str] = field(default_factory=dict)

    @property
    def up(self) -> Member:
        assert self.member is not None, f"{self.me} runs"
        return self.member


class World:
    """`voters` found the cluster together; others come by `join`."""

    def __init__(
        self,
        *voters: MemberId,
        policy: Policy | None = None,
        available_for_ms: int = 0,
        limits: ReplicaLimits | None = None,
    ) -> None:
        self.now_ms = 0
        self.available_for_ms = available_for_ms
        self.limits = limits or ReplicaLimits()
        self.cut: set[MemberId] = set()
        self.lose: Lose = lambda _from, _to, _frame: False
        self.said: list[tuple[int, MemberId, MemberId, Frame]] = []
        self.raft_seen: list[Message] = []
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._requests = 0
        self.nodes: dict[MemberId, Node] = {}
        table = first_table(voters, policy or Policy(voters_max=(len(voters) - 1) | 1))
        for member in voters:
            node = self.nodes[member] = Node(member, MemoryDisk())
            write_first_state(node.disk, member, voters, table)
            self.start(member)

    # --- machines

    def start(self, member: MemberId) -> Member:
        """Begin a run with what is on the disk."""
        node = self.nodes[member]
        node.runs += 1
        node.storage = MemoryStorage(node.disk, member)
        stored = node.storage.load()
        offset = 2 * (member - 1)
        node.member = Member(
            member,
            MemberSettings(
                Profile(f"m{member}", f"host-{member}"),
                replica=self.limits,
                available_for_ms=self.available_for_ms,
            ),
            resumed(node.storage, stored),
            random_timeout=lambda low, high: min(low + offset, high),
            nonce=1_000 * member + 100 * node.runs,
            wall_unix_ms=lambda: 1_700_000_000_000 + self.now_ms,
        )
        node.member.router.open_client(CLIENT)
        node.answers.clear()
        self.attach(member)
        self._at(TICK_MS, partial(self._tick, node, node.runs))
        self.turn(node)
        return node.member

    def crash(self, member: MemberId) -> None:
        """Power is lost; what was written survives."""
        node = self.nodes[member]
        node.member = node.storage = node.worker = None
        node.disk.crash()

    def restart(self, member: MemberId) -> Member:
        self.crash(member)
        return self.start(member)

    def join(self, member: MemberId, via: MemberId) -> None:
        """A new machine, taken in by the leader; it runs from the moment that is known."""
        new = NewMember(member, f"m{member}", f"host-{member}")
        self.nodes[via].up.admit(("admit", member), new)
        self.turn(self.nodes[via])
        self.wait(lambda: ("admit", member) in dict(self.nodes[via].effects.applied))
        if member not in self.nodes:
            self.add(member)

    def add(self, member: MemberId) -> None:
        """A machine that belongs to the cluster and knows nothing yet."""
        node = self.nodes[member] = Node(member, MemoryDisk())
        storage = MemoryStorage(node.disk, member)
        storage.load()
        storage.set_identity(Identity(CLUSTER, member))
        storage.close()
        self.start(member)

    def attach(self, member: MemberId) -> None:
        node = self.nodes[member]
        node.worker = WorkerId(1 if node.worker is None else node.worker + 1)
        node.up.router.attach_worker(node.worker, "worker", 100, 10, self.clock(member))

    def detach(self, member: MemberId) -> None:
        """The worker goes away and does not come back."""
        node = self.nodes[member]
        assert node.worker is not None
        node.up.router.detach_worker(node.worker, self.clock(member))
        node.worker = None

    def clock(self, member: MemberId) -> int:
        return self.now_ms + 10_000 * member

    # --- time

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self._due and self._due[0][0] <= end_ms:
            at_ms, _, step = heapq.heappop(self._due)
            self.now_ms = at_ms
            step()
            self.check()
        self.now_ms = end_ms
        self.check()

    def wait(self, condition: Callable[[], object], within_ms: int = 10_000) -> int:
        """Let time pass until it holds; gives how long that took."""
        begun_ms = self.now_ms
        while not condition():
            assert self.now_ms - begun_ms < within_ms, f"not within {within_ms} ms"
            self.run(1)
        return self.now_ms - begun_ms

    def check(self) -> None:
        for node in self.nodes.values():
            if node.member is not None:
                node.member.check_invariants(self.clock(node.me))
                assert node.member.router._gate.session == node.member.session.session
        for partition in range(PARTITIONS):
            assert len(self.admitting(partition)) <= 1, f"G1: {self.admitting(partition)}"

    def admitting(self, partition: int) -> list[MemberId]:
        """Who would admit a message now: the gate lets it pass, and the epoch was not released."""
        found = []
        for node in self.nodes.values():
            if node.member is None or not node.member.table.partitions:
                continue
            epoch = node.member.table.epoch[partition]
            router, each = node.member.router, PartitionId(partition)
            holding = router._intake.holdings.get(each)
            held = holding is not None and holding.accepts == epoch
            if held and router._gate.admits(each, epoch, self.clock(node.me)):
                found.append(node.me)
        return found

    def _at(self, after_ms: int, step: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (self.now_ms + after_ms, self._order, step))

    def _tick(self, node: Node, run: int) -> None:
        if node.member is None or node.runs != run:
            return
        self._at(TICK_MS, partial(self._tick, node, run))
        if not node.frozen:
            node.member.tick(self.clock(node.me))
            self.turn(node)

    # --- effects

    def turn(self, node: Node) -> None:
        """Have a turn and carry out its effects, in their order; then let the worker work."""
        while node.member is not None:
            effects = node.member.turn(self.clock(node.me))
            self._keep(node, effects)
            for job in effects.jobs:
                self._at(HOP_MS, partial(self._write, node, node.runs, job))
            for to, frame in effects.frames.items():
                self._send(node.me, to, frame.raft, frame.session)
            for message in effects.snapshots:
                self._send_snapshot(node, message)
            if not self._work(node):
                return

    def _keep(self, node: Node, effects: Effects) -> None:
        kept = node.effects
        for name in ("applied", "failed", "reads", "changed", "events", "members_gone"):
            getattr(kept, name).extend(getattr(effects, name, ()))
        kept.removed |= effects.removed

    def _write(self, node: Node, run: int, job: PersistJob) -> None:
        if node.member is None or node.storage is None or node.runs != run:
            return
        node.writes += 1
        node.storage.write(WriteBatch(job.hard_state, job.entries, job.snapshot, job.compact_to))
        node.member.persisted(job)
        self.turn(node)

    def _send(self, me: MemberId, to: MemberId, raft: list[bytes], session: list[bytes]) -> None:
        kept = []
        for data in session:
            frame = decode_frame(data)
            self.said.append((self.now_ms, me, to, frame))
            if not self.lose(me, to, frame):
                kept.append(data)
        self.raft_seen.extend(decode_message(data) for data in raft)
        self._at(HOP_MS, partial(self._arrive, me, to, raft, kept))

    def _arrive(self, me: MemberId, to: MemberId, raft: list[bytes], session: list[bytes]) -> None:
        node = self.nodes.get(to)
        if node is None or node.member is None or node.frozen or {me, to} & self.cut:
            sender = self.nodes[me].member
            if sender is not None:
                sender.replica.report_unreachable(to)
            return
        node.member.receive(me, raft, session, self.clock(to))
        self.turn(node)

    def _send_snapshot(self, node: Node, message: Message) -> None:
        data = encode_message(message)

        def arrive() -> None:
            target = self.nodes.get(message.to)
            reached = target is not None and target.member is not None
            reached = reached and not {node.me, message.to} & self.cut
            if target is not None and target.member is not None and reached:
                target.member.receive_snapshot(decode_message(data))
                self.turn(target)
            if node.member is not None:
                node.member.replica.report_snapshot(message.to, ok=reached)
                self.turn(node)

        self._at(HOP_MS, arrive)

    # --- workers and clients

    def _work(self, node: Node) -> bool:
        """Let the worker and the client take what waits; True if the member needs a turn."""
        member, now_ms = node.up, self.clock(node.me)
        if node.worker is not None:
            while (out := member.router.take_worker(node.worker, now_ms)) is not None:
                self._serve(node, node.worker, out)
        while (batch := member.router.take_client(CLIENT)) is not None:
            for position, item in enumerate(batch.ids):
                failure = batch.failures.get(position)
                node.answers[item] = "OK" if failure is None else failure.reason.name
        return member.collect_router_news(now_ms)

    def _serve(self, node: Node, worker: WorkerId, out: WorkerOutput) -> None:
        given = WorkerInput(started=list(out.assign))
        if out.deliver is not None:
            given.results = WorkerResults(out.deliver.ids, out.deliver.payloads)
        if not node.clingy:
            given.released = [(partition, epoch) for partition, epoch, _ in out.revoke]
        node.up.router.worker_input(worker, given, self.clock(node.me))

    def send(self, member: MemberId, partition: int) -> str:
        """What becomes at once of a message that enters at a member; `""`: it waits."""
        node = self.nodes[member]
        self._requests += 1
        batch = SendBatch([self._requests], [partition], [b""], [b"x"], [])
        node.up.router.client_frame(CLIENT, batch, self.clock(member))
        self.turn(node)
        return node.answers.get(self._requests, "")

    # --- what tests ask

    def propose(self, member: MemberId, tag: str, *commands: Command) -> None:
        self.nodes[member].up.propose(tag, encode_batch(self.now_ms, commands))
        self.turn(self.nodes[member])

    @property
    def leader(self) -> MemberId | None:
        """The one complete leader of the latest term."""
        ups = [node.member for node in self.nodes.values() if node.member is not None]
        leaders = [member for member in ups if member.is_leader]
        return max(leaders, key=lambda m: m.replica.raw.term).me if leaders else None

    def up(self, member: MemberId) -> Member:
        return self.nodes[member].up

    def session(self, member: MemberId) -> SessionId:
        return self.up(member).session.session

    def live(self, member: MemberId) -> bool:
        return self.up(member).session.holder.is_live(self.clock(member))

    def served_by(self) -> list[MemberId]:
        """Who admits each partition; 0 for nobody."""
        admitting = (self.admitting(partition) for partition in range(PARTITIONS))
        return [found[0] if found else MemberId(0) for found in admitting]

    def all_served(self) -> bool:
        return 0 not in self.served_by()

    def settled(self) -> bool:
        """Everybody who runs has a live lease, and every partition is served."""
        running = [node.me for node in self.nodes.values() if node.member is not None]
        return self.leader is not None and all(map(self.live, running)) and self.all_served()

    def events(self, member: MemberId) -> list[str]:
        return [event.name for event in self.nodes[member].effects.events]

    def outcomes(self, member: MemberId) -> dict[object, object]:
        """By tag: the value, or the reason of the failure with what is known of its execution."""
        effects = self.nodes[member].effects
        failed = {tag: (failure.reason, failure.executed) for tag, failure in effects.failed}
        return {**dict(effects.applied), **failed}


def first_table(voters: tuple[MemberId, ...], policy: Policy) -> Table:
    """The table of a cluster whose founders are in it already."""
    news = [NewMember(member, f"m{member}", f"host-{member}") for member in voters]
    table = Table.initial(CLUSTER, PARTITIONS, policy, news[0], TTL_MS)
    for new in news[1:]:
        table.member_added(LogIndex(0), new)
    table.advance(LogIndex(1))
    return table


def write_first_state(
    disk: MemoryDisk, member: MemberId, voters: tuple[MemberId, ...], table: Table
) -> None:
    storage = MemoryStorage(disk, member)
    storage.load()
    snapshot = Snapshot(LogIndex(1), Term(1), ConfState(voters=voters), table.snapshot())
    state = HardState(Term(1), MemberId(0), LogIndex(1))
    storage.write(WriteBatch(hard_state=state, snapshot=snapshot))
    storage.set_identity(Identity(CLUSTER, member))
    storage.close()


def quiet(policy: Policy) -> Policy:
    """No rebalancing, so that partitions stay where an event left them."""
    return replace(policy, rebalance=False)
