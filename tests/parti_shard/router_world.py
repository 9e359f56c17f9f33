"""Three routers under virtual time: links that delay and break, a log that moves partitions,
sessions that expire, workers that hang, die and come back. `Oracle` judges what they do.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from parti_shard.batches import ForwardBatch, ResultBatch, SendBatch, WorkerInput, WorkerResults
from parti_shard.errors import Executed
from parti_shard.ids import NO_SESSION, MemberId, PartitionId, SessionId, StreamId, WorkerId
from parti_shard.limits import RouterLimits
from parti_shard.router import Router
from parti_shard.streams import Destination
from tests.parti_shard.router_fakes import FREE, OWNED, REVOKING, FakeTable

PARTITIONS = 3
MEMBERS = (MemberId(1), MemberId(2), MemberId(3))
FIRST_CLIENT = StreamId(1)
TTL_MS = 400
TICK_MS = 50
LIMITS = RouterLimits(
    frame_items_max=8,
    frame_bytes_target=200,
    default_timeout_ms=2_000,
    parked_messages_per_partition=40,
    parked_age_ms_max=1_500,
    client_in_flight_max=100,
    partition_window=6,
    intake_messages_per_partition=14,
    refusal_retry_ms=60,
    worker_grace_ms=150,
    handover_ms=300,
)
Change = Callable[[FakeTable], None]


@dataclass
class Sent:
    """A message as its client knows it."""

    origin: MemberId
    partition: int
    order: int
    idempotent: bool
    deadline_ms: int
    admitted: int = 0
    outcome: str = ""


@dataclass
class Oracle:
    """What must be true of all members together."""

    sent: dict[bytes, Sent] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    last_order: dict[tuple[MemberId, int], int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)

    def admitted(self, partition: int, epoch: int, uid: bytes) -> None:
        """G1: admissions of a partition never go back to an older epoch. G4: in order."""
        assert epoch >= self.epochs.get(partition, 0), f"two owners of {partition}"
        self.epochs[partition] = epoch
        message = self.sent[uid]
        assert message.partition == partition
        assert message.outcome in ("", "abandoned") or message.outcome.endswith("UNKNOWN"), (
            f"{uid!r} runs after its outcome {message.outcome}"
        )
        message.admitted += 1
        if message.admitted == 1:
            lane = (message.origin, partition)
            assert message.order > self.last_order.get(lane, -1), f"{uid!r} out of order"
            self.last_order[lane] = message.order
        else:
            assert message.idempotent, f"{uid!r} runs twice"

    def answered(self, uid: bytes, text: str, executed: Executed) -> None:
        message = self.sent[uid]
        assert not message.outcome, f"two outcomes for {uid!r}: {message.outcome}, {text}"
        message.outcome = text
        self.outcomes[text] = self.outcomes.get(text, 0) + 1
        if executed is Executed.NO:
            assert message.admitted == 0, f"{uid!r} ran, told {text}"
        elif executed is Executed.YES:
            assert message.admitted >= 1, f"{uid!r} did not run, told {text}"


@dataclass
class Worker:
    """The application: notes what it is given, answers later, hands over when it is done."""

    id: WorkerId
    alive: bool = True
    open: dict[tuple[int, int], int] = field(default_factory=dict)
    revoked: set[tuple[int, int]] = field(default_factory=set)


@dataclass
class Node:
    """One member: its router, its lagging copy of the table, its worker and client."""

    me: MemberId
    router: Router
    table: FakeTable
    applied: int = 0
    session: SessionId = NO_SESSION
    lease_until_ms: int = 0
    worker: Worker | None = None
    released: set[tuple[PartitionId, int]] = field(default_factory=set)
    client: StreamId = FIRST_CLIENT
    orders: int = 0
    uids: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Pipe:
    """One direction of one stream: in order, with delays, until it is cut."""

    stream: StreamId
    cut: bool = False
    free_at_ms: int = 0


class World:
    """Runs everything from one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now_ms = 10_000
        self.oracle = Oracle()
        self.calm = False
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.truth = FakeTable(PARTITIONS)
        self.log: list[tuple[Change, tuple[PartitionId, ...]]] = []
        self.expiring: set[MemberId] = set()
        self.lease_ends_ms = dict.fromkeys(MEMBERS, 0)
        self.pipes: dict[tuple[MemberId, MemberId], tuple[Pipe, Pipe]] = {}
        self.nodes = {me: self._new_node(me) for me in MEMBERS}
        for node in self.nodes.values():
            self._attach(node)
            self.later(0, partial(self._renew, node))
            self.later(0, partial(self._tick, node))
            self.later(0, partial(self._client, node))
        self.later(5, self._lead)
        self.later(100, self._trouble)

    def _new_node(self, me: MemberId) -> Node:
        table = FakeTable(PARTITIONS)
        node = Node(me, Router(me, table, LIMITS), table)
        node.session = table.members[me].session
        node.router.open_client(node.client)
        return node

    # -- time

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now_ms + delay_ms, self._count, action))

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self._events and self._events[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._events)
            action()
            for node in self.nodes.values():
                self._after(node)
            checked = self.nodes[MEMBERS[self._count % len(MEMBERS)]]
            checked.router.check_invariants(self.now_ms)
        self.now_ms = end_ms

    def _after(self, node: Node) -> None:
        for destination in node.router.take_dirty():
            delay_ms = self.rng.choice((0, 0, 0, 1, 5, 40))
            self.later(delay_ms, partial(self._write, node, destination))
        for member in node.router.peers_wanted():
            if (node.me, member) not in self.pipes:
                self._connect(node, member)
        node.released.update(node.router.take_released())

    # -- writers

    def _write(self, node: Node, destination: Destination) -> None:
        if destination.kind == "client":
            self._read_outcomes(node)
        elif destination.kind == "worker":
            self._write_worker(node, WorkerId(destination.id))
        elif destination.kind == "peer":
            self._write_peer(node, MemberId(destination.id))
        else:
            self._write_inbound(node, StreamId(destination.id))

    def _write_peer(self, node: Node, member: MemberId) -> None:
        pipes = self.pipes.get((node.me, member))
        while pipes and (batch := node.router.take_peer(member, self.now_ms)):
            self._pass(pipes[0], partial(self._arrive, self.nodes[member], pipes[0].stream, batch))

    def _arrive(self, owner: Node, stream: StreamId, batch: ForwardBatch) -> None:
        owner.router.inbound_frame(stream, batch, self.now_ms)

    def _write_inbound(self, owner: Node, stream: StreamId) -> None:
        while batch := owner.router.take_inbound(stream):
            for (origin, member), (_, back) in self.pipes.items():
                if back.stream == stream and member == owner.me:
                    self._pass(back, partial(self._results, origin, owner.me, batch))

    def _results(self, origin: MemberId, owner: MemberId, batch: ResultBatch) -> None:
        self.nodes[origin].router.peer_results(owner, batch, self.now_ms)

    def _pass(self, pipe: Pipe, action: Callable[[], None]) -> None:
        pipe.free_at_ms = max(pipe.free_at_ms, self.now_ms + self.rng.choice((0, 1, 2, 20)))
        self.later(pipe.free_at_ms - self.now_ms, lambda: None if pipe.cut else action())

    def _connect(self, node: Node, member: MemberId) -> None:
        self._count += 1
        stream = StreamId(self._count)
        self.pipes[node.me, member] = (Pipe(stream), Pipe(stream))
        self.nodes[member].router.open_inbound(stream, node.me)
        node.router.peer_up(member, self.now_ms)

    def _disconnect(self, pair: tuple[MemberId, MemberId]) -> None:
        """The origin notices at once or the owner does; the other side some time later."""
        out, back = self.pipes[pair]
        origin, owner = self.nodes[pair[0]], self.nodes[pair[1]]
        back.cut = True

        def origin_notices() -> None:
            out.cut = True
            origin.router.peer_down(owner.me, self.now_ms)
            del self.pipes[pair]

        def owner_notices() -> None:
            out.cut = True
            owner.router.close_inbound(out.stream, self.now_ms)

        self.later(self.rng.choice((0, 10, 80)), origin_notices)
        self.later(self.rng.choice((0, 10, 200)), owner_notices)

    # -- clients

    def _client(self, node: Node) -> None:
        if self.calm:
            return
        partitions = [self.rng.randrange(PARTITIONS) for _ in range(self.rng.randrange(1, 6))]
        self.send(node, partitions, self.rng.choice((30, 300, 2_000)))
        self.later(self.rng.choice((5, 20, 60)), partial(self._client, node))

    def send(self, node: Node, partitions: list[int], timeout_ms: int) -> list[bytes]:
        """One frame of a client; says which messages."""
        batch = SendBatch([], [], [], [], [])
        for position, partition in enumerate(partitions):
            node.orders += 1
            uid = f"{node.me}:{node.orders}".encode()
            idempotent = self.rng.random() < 0.3
            self.oracle.sent[uid] = Sent(
                node.me, partition, node.orders, idempotent, self.now_ms + timeout_ms
            )
            node.uids[node.orders] = uid
            batch.ids.append(node.orders)
            batch.partitions.append(partition)
            batch.payloads.append(uid)
            batch.timeouts_ms.append(timeout_ms)
            if idempotent:
                batch.idempotent_at.append(position)
        node.router.client_frame(node.client, batch, self.now_ms)
        return batch.payloads

    def settle(self) -> None:
        """Trouble ends; workers that hang are replaced."""
        self.calm = True
        for node in self.nodes.values():
            self._swap_worker(node)

    def _read_outcomes(self, node: Node) -> None:
        while batch := node.router.take_client(node.client):
            for position, order in enumerate(batch.ids):
                failure = batch.failures.get(position)
                uid = node.uids[order]
                if failure is None:
                    self.oracle.answered(uid, "OK", Executed.YES)
                else:
                    text = f"{failure.reason.name}/{failure.executed.name}"
                    self.oracle.answered(uid, text, failure.executed)

    def _swap_client(self, node: Node) -> None:
        self._read_outcomes(node)
        node.router.close_client(node.client, self.now_ms)
        for message in self.oracle.sent.values():
            if message.origin == node.me and not message.outcome:
                message.outcome = "abandoned"
        node.client = StreamId(node.client + 1)
        node.router.open_client(node.client)

    # -- workers

    def _attach(self, node: Node) -> None:
        self._count += 1
        node.worker = Worker(WorkerId(self._count))
        node.router.attach_worker(node.worker.id, "app", 10, 4, self.now_ms)

    def _write_worker(self, node: Node, worker_id: WorkerId) -> None:
        worker = node.worker
        while out := node.router.take_worker(worker_id, self.now_ms):
            if out.deliver is not None:
                deliver = out.deliver
                for uid, partition, epoch in zip(
                    deliver.payloads, deliver.partitions, deliver.epochs, strict=True
                ):
                    self.oracle.admitted(partition, epoch, uid)
            if worker is None or worker.id != worker_id:
                continue
            self._work(node, worker, out.assign, out.deliver, [row[:2] for row in out.revoke])

    def _work(
        self,
        node: Node,
        worker: Worker,
        assign: list[tuple[int, int]],
        deliver: ForwardBatch | None,
        revoke: list[tuple[int, int]],
    ) -> None:
        for row in assign:
            self.later(
                self.rng.choice((0, 10)), partial(self._say, node, worker, WorkerInput([row]))
            )
        if deliver is not None:
            for item_id, partition, epoch in zip(
                deliver.ids, deliver.partitions, deliver.epochs, strict=True
            ):
                row = (partition, epoch)
                worker.open[row] = worker.open.get(row, 0) + 1
                if self.calm or self.rng.random() > 0.004:  # else it hangs in this message
                    delay_ms = self.rng.choice((0, 1, 10, 40))
                    self.later(delay_ms, partial(self._answer, node, worker, item_id, row))
        worker.revoked.update(revoke)
        self._hand_over(node, worker)

    def _answer(self, node: Node, worker: Worker, item_id: int, row: tuple[int, int]) -> None:
        worker.open[row] -= 1
        self._say(node, worker, WorkerInput(results=WorkerResults([item_id], [b"done"])))
        self._hand_over(node, worker)

    def _hand_over(self, node: Node, worker: Worker) -> None:
        for row in sorted(worker.revoked):
            if not worker.open.get(row):
                worker.revoked.discard(row)
                self._say(node, worker, WorkerInput(released=[row]))

    def _say(self, node: Node, worker: Worker, frame: WorkerInput) -> None:
        if worker.alive:
            node.router.worker_input(worker.id, frame, self.now_ms)

    def _swap_worker(self, node: Node) -> None:
        """The process dies and comes back, or its successor attaches first."""
        worker = node.worker
        if worker is None:
            return
        worker.alive = False
        if self.rng.random() < 0.4:
            self._attach(node)
            node.router.detach_worker(worker.id, self.now_ms)
            return
        node.router.detach_worker(worker.id, self.now_ms)
        node.worker = None
        self.later(self.rng.choice((10, 100, 400)), partial(self._attach, node))

    # -- log, leases, leader

    def append(self, change: Change, *partitions: PartitionId) -> None:
        change(self.truth)
        self.log.append((change, partitions))
        for node in self.nodes.values():
            self.later(self.rng.choice((1, 5, 60)), partial(self._apply, node))

    def _apply(self, node: Node) -> None:
        """Whatever is there, in order; a few entries at a time."""
        changed: dict[PartitionId, None] = {}
        for change, partitions in self.log[node.applied : node.applied + 3]:
            change(node.table)
            node.applied += 1
            changed.update(dict.fromkeys(partitions))
        node.router.table_changed(changed, self.now_ms)

    def _renew(self, node: Node) -> None:
        """The leader answers with its index; the lease counts once that is applied."""
        session = self.truth.members[node.me].session
        if node.me not in self.expiring and session != NO_SESSION:
            index, until_ms = len(self.log), self.now_ms + TTL_MS
            self.lease_ends_ms[node.me] = until_ms
            self._lease_when_applied(node, session, index, until_ms)
        self.later(self.rng.choice((50, 150, 390)), partial(self._renew, node))

    def _lease_when_applied(
        self, node: Node, session: SessionId, index: int, until_ms: int
    ) -> None:
        if self.now_ms >= until_ms:
            return
        if node.applied >= index:
            node.router.set_lease(session, until_ms, self.now_ms)
        else:
            self.later(5, partial(self._lease_when_applied, node, session, index, until_ms))

    def _expire(self, member: MemberId) -> None:
        """Stop renewals, wait until the lease has run out, end the session, open a new one."""
        if member in self.expiring:
            return
        self.expiring.add(member)
        wait_ms = max(0, self.lease_ends_ms[member] - self.now_ms) + 1
        self.later(wait_ms, partial(self._end, member))

    def _end(self, member: MemberId) -> None:
        freed = [p for p in range(PARTITIONS) if self.truth.owner[p] == member]

        def reopen(table: FakeTable) -> None:
            old = table.members[member].session
            table.end_session(member)
            table.members[member].session = SessionId(old + 1)

        self.append(reopen, *map(PartitionId, freed))
        self.expiring.discard(member)

    def _lead(self) -> None:
        """Grant what is free or released; sometimes move."""
        ready = [m for m in MEMBERS if m not in self.expiring]
        for partition in map(PartitionId, range(PARTITIONS)):
            owner, phase = self.truth.owner[partition], self.truth.phase[partition]
            done = phase != FREE and self._has_released(owner, partition)
            if ready and (phase == FREE or done):
                target = self.rng.choice(ready)
                self.append(partial(FakeTable.grant, partition=partition, member=target), partition)
            elif phase == OWNED and not self.calm and self.rng.random() < 0.04:
                target = self.rng.choice(MEMBERS)
                self.append(
                    partial(FakeTable.revoke, partition=partition, target=target), partition
                )
            assert self.truth.phase[partition] in (FREE, OWNED, REVOKING)
        self.later(20, self._lead)

    def _has_released(self, owner: MemberId, partition: PartitionId) -> bool:
        return (partition, self.truth.epoch[partition]) in self.nodes[owner].released

    def _trouble(self) -> None:
        if self.calm:
            return
        node = self.nodes[self.rng.choice(MEMBERS)]
        kind = self.rng.random()
        pairs = sorted(pair for pair, (out, _) in self.pipes.items() if not out.cut)
        pairs = [pair for pair in pairs if not self.pipes[pair][1].cut]
        if kind < 0.5 and pairs:
            self._disconnect(self.rng.choice(pairs))
        elif kind < 0.65:
            self._swap_worker(node)
        elif kind < 0.8:
            self._expire(node.me)
        elif kind < 0.85:
            self._swap_client(node)
        self.later(self.rng.choice((10, 100, 300)), self._trouble)

    def _tick(self, node: Node) -> None:
        node.router.tick(self.now_ms)
        for client in node.router._origin.clients.values():
            for message in client.in_flight.values():
                assert message.deadline_ms > self.now_ms, "lives beyond its deadline"
        self.later(TICK_MS, partial(self._tick, node))
