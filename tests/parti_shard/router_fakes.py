"""A hand-made table and short forms of frames for tests of the router."""

from __future__ import annotations

from dataclasses import dataclass, field

from parti_shard.batches import (
    ForwardBatch,
    ResultBatch,
    SendBatch,
    WorkerInput,
    WorkerOutput,
    WorkerResults,
)
from parti_shard.errors import Executed, Failure
from parti_shard.ids import (
    NO_EPOCH,
    NO_MEMBER,
    NO_SESSION,
    Epoch,
    LogIndex,
    MemberId,
    PartitionId,
    SessionId,
    StreamId,
    WorkerId,
)
from parti_shard.limits import RouterLimits
from parti_shard.router import Router

ME, OTHER, THIRD = MemberId(1), MemberId(2), MemberId(3)
CLIENT = StreamId(7)
INBOUND = StreamId(8)
WORKER = WorkerId(9)
FREE, OWNED, REVOKING = 0, 1, 2


@dataclass
class FakeMember:
    session: SessionId


@dataclass
class FakeTable:
    """The rows the router reads, changed by hand."""

    partitions: int = 4
    owner: list[MemberId] = field(default_factory=list)
    session: list[SessionId] = field(default_factory=list)
    epoch: list[Epoch] = field(default_factory=list)
    phase: list[int] = field(default_factory=list)
    target: list[MemberId] = field(default_factory=list)
    applied_index: LogIndex = LogIndex(1)
    members: dict[MemberId, FakeMember] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = self.partitions
        self.owner = [NO_MEMBER] * count
        self.session = [NO_SESSION] * count
        self.epoch = [NO_EPOCH] * count
        self.phase = [FREE] * count
        self.target = [NO_MEMBER] * count
        for member in (ME, OTHER, THIRD):
            self.members[member] = FakeMember(SessionId(member * 100))

    def grant(self, partition: int, member: MemberId) -> None:
        self.applied_index = LogIndex(self.applied_index + 1)
        self.owner[partition] = member
        self.session[partition] = self.members[member].session
        self.epoch[partition] = Epoch(self.epoch[partition] + 1)
        self.phase[partition] = OWNED
        self.target[partition] = NO_MEMBER

    def revoke(self, partition: int, target: MemberId = NO_MEMBER) -> None:
        self.applied_index = LogIndex(self.applied_index + 1)
        self.phase[partition] = REVOKING
        self.target[partition] = target

    def free(self, partition: int) -> None:
        self.applied_index = LogIndex(self.applied_index + 1)
        self.owner[partition] = NO_MEMBER
        self.session[partition] = NO_SESSION
        self.phase[partition] = FREE
        self.target[partition] = NO_MEMBER

    def end_session(self, member: MemberId) -> list[PartitionId]:
        """Expire; returns the partitions that it freed."""
        freed = [PartitionId(p) for p in range(self.partitions) if self.owner[p] == member]
        for partition in freed:
            self.free(partition)
        self.applied_index = LogIndex(self.applied_index + 1)
        self.members[member].session = NO_SESSION
        return freed


@dataclass
class Bench:
    """One router at a moment, with short forms. `now_ms` is virtual."""

    router: Router
    table: FakeTable
    now_ms: int = 1_000

    def changed(self, *partitions: int) -> None:
        self.router.table_changed([PartitionId(p) for p in partitions], self.now_ms)
        self.check()

    def grant(self, partition: int, member: MemberId) -> None:
        self.table.grant(partition, member)
        self.changed(partition)

    def revoke(self, partition: int, target: MemberId = NO_MEMBER) -> None:
        self.table.revoke(partition, target)
        self.changed(partition)

    def check(self) -> None:
        self.router.check_invariants(self.now_ms)

    def tick(self, after_ms: int = 50) -> None:
        self.now_ms += after_ms
        self.router.tick(self.now_ms)
        self.check()

    def send(self, batch: SendBatch, stream: StreamId = CLIENT) -> None:
        self.router.client_frame(stream, batch, self.now_ms)
        self.check()

    def outcomes(self, stream: StreamId = CLIENT) -> dict[int, str]:
        """Outcomes that wait for the client, by id."""
        return described(self.router.take_client(stream))

    def forwarded(self, member: MemberId = OTHER) -> list[tuple[int, bytes]]:
        """What the link's writer takes: (id, payload)."""
        batch = self.router.take_peer(member, self.now_ms)
        self.check()
        return [] if batch is None else list(zip(batch.ids, batch.payloads, strict=True))

    def results(self, batch: ResultBatch, member: MemberId = OTHER) -> None:
        self.router.peer_results(member, batch, self.now_ms)
        self.check()

    def arrive(self, batch: ForwardBatch, stream: StreamId = INBOUND) -> None:
        self.router.inbound_frame(stream, batch, self.now_ms)
        self.check()

    def answers(self, stream: StreamId = INBOUND) -> dict[int, str]:
        return described(self.router.take_inbound(stream))

    def attach(self, worker: WorkerId = WORKER, credits_: int = 100, each: int = 10) -> None:
        self.router.attach_worker(worker, f"w{worker}", credits_, each, self.now_ms)
        self.check()

    def orders(self, worker: WorkerId = WORKER) -> WorkerOutput:
        """What the worker's writer takes; empty if nothing."""
        out = self.router.take_worker(worker, self.now_ms) or WorkerOutput()
        self.check()
        return out

    def delivered(self, worker: WorkerId = WORKER) -> list[tuple[int, bytes]]:
        batch = self.orders(worker).deliver
        return [] if batch is None else list(zip(batch.ids, batch.payloads, strict=True))

    def says(self, frame: WorkerInput, worker: WorkerId = WORKER) -> None:
        self.router.worker_input(worker, frame, self.now_ms)
        self.check()

    def serve(self, partition: int) -> Epoch:
        """Grant a partition to this member and have the attached worker start it."""
        self.grant(partition, ME)
        epoch = self.table.epoch[partition]
        assert (partition, epoch) in self.orders().assign
        self.says(WorkerInput(started=[(partition, epoch)]))
        return epoch

    def lease(self, for_ms: int = 1_000_000, member_session: int | None = None) -> None:
        session = SessionId(100 if member_session is None else member_session)
        self.router.set_lease(session, self.now_ms + for_ms, self.now_ms)
        self.check()


def make_bench(limits: RouterLimits | None = None, partitions: int = 4) -> Bench:
    """A member with a live lease, one open client and one inbound stream, no worker."""
    table = FakeTable(partitions)
    bench = Bench(Router(ME, table, limits or RouterLimits()), table)
    bench.router.open_client(CLIENT)
    bench.router.open_inbound(INBOUND, OTHER)
    bench.lease()
    return bench


def linked(limits: RouterLimits | None = None) -> Bench:
    """Partition 0 is owned by OTHER (epoch 1), and the link to it is up."""
    bench = make_bench(limits)
    bench.grant(0, OTHER)
    bench.router.peer_up(OTHER, bench.now_ms)
    return bench


def serving(limits: RouterLimits | None = None, *, each: int = 10, credits_: int = 100) -> Bench:
    """Partition 0 is owned here under epoch 1 and started by the worker."""
    bench = make_bench(limits)
    bench.attach(each=each, credits_=credits_)
    bench.serve(0)
    return bench


def payloads(deliveries: list[tuple[int, bytes]]) -> list[bytes]:
    return [payload for _, payload in deliveries]


def send(
    *payloads: bytes,
    partition: int = 0,
    first: int = 1,
    timeout_ms: int = 0,
    idempotent: bool = False,
    ping: bool = False,
) -> SendBatch:
    """Messages for one partition with ids from `first`."""
    count = len(payloads)
    every = list(range(count))
    return SendBatch(
        ids=list(range(first, first + count)),
        partitions=[partition] * count,
        keys=[],
        payloads=list(payloads),
        timeouts_ms=[timeout_ms] * count if timeout_ms else [],
        idempotent_at=every if idempotent else [],
        ping_at=every if ping else [],
    )


def forward(
    *payloads: bytes,
    epoch: int,
    first: int,
    partition: int = 0,
    timeout_ms: int = 10_000,
    ping: bool = False,
) -> ForwardBatch:
    count = len(payloads)
    return ForwardBatch(
        ids=list(range(first, first + count)),
        partitions=[partition] * count,
        epochs=[epoch] * count,
        keys=[],
        payloads=list(payloads),
        timeouts_ms=[timeout_ms] * count,
        ping_at=list(range(count)) if ping else [],
    )


def ok(*ids: int, epoch: int = 1, payload: bytes = b"r") -> ResultBatch:
    return ResultBatch(list(ids), [epoch] * len(ids), [payload] * len(ids))


def failed(*ids: int, failure: Failure) -> ResultBatch:
    count = len(ids)
    failures = dict.fromkeys(range(count), failure)
    return ResultBatch(list(ids), [0] * count, [b""] * count, failures)


def worker_ok(*ids: int, payload: bytes = b"r") -> WorkerInput:
    return WorkerInput(results=WorkerResults(list(ids), [payload] * len(ids)))


def worker_failed(*ids: int, failure: Failure) -> WorkerInput:
    failures = dict.fromkeys(range(len(ids)), failure)
    return WorkerInput(results=WorkerResults(list(ids), [b""] * len(ids), failures))


def described(batch: ResultBatch | None) -> dict[int, str]:
    """`ok@EPOCH` or `REASON/EXECUTED`, by id."""
    if batch is None:
        return {}
    texts = {}
    for position, item_id in enumerate(batch.ids):
        failure = batch.failures.get(position)
        if failure is None:
            texts[item_id] = f"ok@{batch.epochs[position]}"
        else:
            ran_under = batch.epochs[position]
            assert (ran_under == 0) or failure.executed is Executed.YES
            texts[item_id] = f"{failure.reason.name}/{failure.executed.name}"
    return texts
