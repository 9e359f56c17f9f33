"""A sidecar in this process, for the unit tests of applications.

It speaks the real protocol over a real loopback port, but is a cluster of one member without
Raft, leases of its own or other peers: it owns every partition and does what the test says.
Its key-value store (`store`) is a real one that nobody shares.
Keys map to partitions by another hash than in a real cluster.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from parti._errors import Executed, Reason
from parti._limits import PROTOCOL_VERSION, TIMEOUT_MS_MAX
from parti._values import boottime_ms
from parti.testing._service import Server
from parti.testing._store import FakeStore
from parti.testing._streams import ClientStream, Routed, Sink, WorkerStream, error_detail
from parti_proto import app_pb2, errors_pb2
from parti_sidecar.app_streams import Wire

MEMBER_ID: Final = 1
DEFAULT_TIMEOUT_MS: Final = 30_000
PARKED_PER_PARTITION_MAX: Final = 4_096
SWEEP_EVERY_S: Final = 0.01
LEASE_FOR_EVER_MS: Final = TIMEOUT_MS_MAX * 24


class FakeSidecar:
    """A controllable sidecar: `async with FakeSidecar() as sidecar: Client(sidecar.address)`.

    Everything waits for what it causes: when `move` returns, the worker has released the
    partition and taken it again under a new epoch.
    """

    def __init__(
        self,
        *,
        partitions: int = 16,
        in_flight_max: int = 4_096,
        payload_bytes_max: int = 1 << 20,
        protocol_version: int = PROTOCOL_VERSION,
        store_bytes_max: int = 32 << 20,
    ) -> None:
        """Prepare a cluster of one member.

        Args:
            partitions: how many there are.
            in_flight_max: unanswered messages taken from one client.
            payload_bytes_max: larger payloads are refused.
            protocol_version: spoken to clients and workers.
            store_bytes_max: how much the key-value store may hold.
        """
        self.partitions = partitions
        self.received_count = 0
        self.in_flight_most = 0  # the most unanswered messages seen from one client
        self.table_index = 1
        self.store = FakeStore(store_bytes_max)
        self._welcome = app_pb2.Welcome(
            protocol_version=protocol_version,
            cluster_id="fake",
            member_id=MEMBER_ID,
            member_name="fake-0",
            partitions=partitions,
            payload_bytes_max=payload_bytes_max,
            in_flight_max=in_flight_max,
        )
        self._epochs = [0] * partitions
        self._free: set[int] = set()  # revoked, and not assigned again
        self._parked: dict[int, deque[Routed]] = {}
        self._in_flight: dict[Sink, int] = {}
        self._refusals: deque[errors_pb2.ErrorDetail] = deque()
        self._held = False
        self._lease_until_ms: int | None = None
        self._worker: WorkerStream | None = None
        self._clients: set[ClientStream] = set()
        self._changed = asyncio.Event()
        self._server = Server(self)
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where clients and workers connect to."""
        return f"127.0.0.1:{self._server.port}"

    async def __aenter__(self) -> Self:
        """Start on a free loopback port."""
        await self._server.start()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep_for_ever())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._sweeper is not None
        self._sweeper.cancel()
        await asyncio.wait({self._sweeper})
        await self.stop()

    # --- what tests control ---

    async def stop(self) -> None:
        """Go away without a word, as a crashed sidecar."""
        self.drop_clients()
        self.drop_worker()
        await self._server.stop()
        self._parked.clear()

    async def start(self) -> None:
        """Come back at the same address after `stop`."""
        await self._server.start()

    def drop_clients(self) -> None:
        """Break the streams of all clients."""
        for client in list(self._clients):
            client.end()

    def drop_worker(self) -> None:
        """Break the stream of the worker."""
        if self._worker is not None:
            self._worker.end()

    def refuse(
        self,
        reason: Reason,
        *,
        executed: Executed = Executed.NO,
        times: int = 1,
        retry_after_ms: int = 0,
    ) -> None:
        """Answer the next `times` messages with this error instead of delivering them."""
        detail = error_detail(reason, executed, "the test said so", retry_after_ms)
        self._refusals.extend([detail] * times)

    def hold(self) -> None:
        """Park every message from now on."""
        self._held = True

    def resume(self) -> None:
        """Deliver again, what was parked first."""
        self._held = False
        for partition in list(self._parked):
            self._unpark(partition)

    def set_lease(self, remaining_ms: int) -> None:
        """Tell the worker how long it may start messages; negative: the lease is over."""
        self._lease_until_ms = boottime_ms() + remaining_ms
        if self._worker is not None:
            self._worker.say(app_pb2.SidecarFrame(lease=self._lease()))

    async def revoke(self, partition: int, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Take a partition from the worker, gracefully; its messages are parked."""
        self._free.add(partition)
        self.table_index += 1
        worker = self._worker
        if worker is None or partition not in worker.started:
            return
        worker.revoking.add(partition)
        revoke = app_pb2.Revoke(
            partition=partition,
            epoch=self._epochs[partition],
            within_ms=int(timeout * 1000),
        )
        worker.say(app_pb2.SidecarFrame(revoke=[revoke]))
        await self.wait_until(lambda: partition not in worker.started, timeout)

    async def assign(self, partition: int, timeout: float = 10.0) -> int:  # noqa: ASYNC109
        """Give a partition to the worker under a new epoch; return the epoch."""
        self._free.discard(partition)
        worker = self._worker
        if worker is not None:
            self._assign(worker, [partition])
            epoch = self._epochs[partition]
            await self.wait_until(lambda: worker.started.get(partition) == epoch, timeout)
        return self._epochs[partition]

    async def move(self, partition: int, timeout: float = 10.0) -> int:  # noqa: ASYNC109
        """Revoke a partition and assign it again; return the new epoch."""
        await self.revoke(partition, timeout)
        return await self.assign(partition, timeout)

    def cut_off(self, partition: int) -> None:
        """Cancel a partition at the worker: what runs becomes unknown."""
        worker = self._worker
        assert worker is not None, "no worker is attached"
        self._free.add(partition)
        self.table_index += 1
        epoch = worker.started.pop(partition)
        for message_id, message in list(worker.outstanding.items()):
            if message.partition == partition:
                worker.answered(message_id)
                self._fail(message, Reason.OWNER_LOST, Executed.UNKNOWN, "cut off")
        cancel = app_pb2.Cancel(partition=partition, epoch=epoch)
        worker.say(app_pb2.SidecarFrame(cancel=[cancel]))

    async def wait_started(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Wait until the worker serves every partition that was not revoked."""
        await self.wait_until(self._all_started, timeout)

    async def wait_until(self, condition: Callable[[], bool], timeout: float) -> None:  # noqa: ASYNC109
        """Wait until a condition over this sidecar holds; TimeoutError otherwise."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    # --- what tests look at ---

    def epoch_of(self, partition: int) -> int:
        """Return the newest epoch of a partition."""
        return self._epochs[partition]

    def partition_of(self, key: bytes | str) -> int:
        """Return the partition that a key belongs to in this fake."""
        data = key.encode() if isinstance(key, str) else key
        digest = hashlib.blake2b(data, digest_size=8).digest()
        return int.from_bytes(digest, "little") % self.partitions

    @property
    def parked_count(self) -> int:
        """How many messages wait for the worker."""
        return sum(len(parked) for parked in self._parked.values())

    @property
    def running_count(self) -> int:
        """How many messages the worker has not answered."""
        return len(self._worker.outstanding) if self._worker is not None else 0

    # --- what the service calls ---

    def client_joined(self, wire: Wire) -> ClientStream:
        """Begin the stream of a client."""
        client = ClientStream(self, wire, self._welcome)
        self._clients.add(client)
        self._changed.set()
        return client

    def client_left(self, client: ClientStream) -> None:
        self._clients.discard(client)
        self._in_flight.pop(client, None)
        self._changed.set()

    def take(self, client: ClientStream, frame: app_pb2.SendFrame) -> None:
        """Route the messages of a frame."""
        count = len(frame.id)
        now = asyncio.get_running_loop().time()
        headers = dict(zip(frame.headers_at, frame.headers, strict=True))
        partitions = frame.partition or (0,) * count
        keys = frame.key or (b"",) * count
        payloads = frame.payload or (b"",) * count
        timeouts = frame.timeout_ms or (0,) * count
        self._in_flight[client] = self._in_flight.get(client, 0) + count
        self.in_flight_most = max(self.in_flight_most, self._in_flight[client])
        items = zip(frame.id, partitions, keys, payloads, timeouts, strict=True)
        for at, (sender_id, partition, key, payload, timeout_ms) in enumerate(items):
            deadline = now + (timeout_ms or DEFAULT_TIMEOUT_MS) / 1000
            self.route(
                Routed(client, sender_id, partition, key, payload, headers.get(at, b""), deadline)
            )
        self._changed.set()

    def route(self, message: Routed) -> None:
        """Deliver, park or refuse one message."""
        self.received_count += 1
        if message.key:
            message.partition = self.partition_of(message.key)
        partition = message.partition
        if self._refusals:
            self._settle(message, b"", self._refusals.popleft())
        elif not 0 <= partition < self.partitions:
            self._fail(message, Reason.BAD_PARTITION, Executed.NO, "no such partition")
        elif len(message.payload) > self._welcome.payload_bytes_max:
            self._fail(message, Reason.PAYLOAD_TOO_LARGE, Executed.NO, "too large")
        elif not self._parked.get(partition) and self._deliverable(partition):
            assert self._worker is not None
            self._worker.deliver(message)
        elif len(self._parked.setdefault(partition, deque())) >= PARKED_PER_PARTITION_MAX:
            self._fail(message, Reason.PARKING_FULL, Executed.NO, "parking is full")
        else:
            self._parked[partition].append(message)

    def worker_joined(self, hello: app_pb2.Hello, wire: Wire) -> WorkerStream:
        """Give a new worker every partition; a former one is let go."""
        if self._worker is not None:
            self._worker.say(app_pb2.SidecarFrame(closed="another worker has attached"))
            self.worker_left(self._worker)
        worker = self._worker = WorkerStream(self, wire, hello)
        worker.say(app_pb2.SidecarFrame(welcome=self._welcome, lease=self._lease()))
        self._assign(worker, [one for one in range(self.partitions) if one not in self._free])
        return worker

    def worker_left(self, worker: WorkerStream) -> None:
        """Make unknown what the worker has not answered."""
        worker.end()
        if self._worker is worker:
            self._worker = None
        worker.started.clear()
        for message_id in list(worker.outstanding):
            message = worker.answered(message_id)
            assert message is not None
            self._fail(message, Reason.WORKER_LOST, Executed.UNKNOWN, "the worker went away")
        self._changed.set()

    def worker_said(self, worker: WorkerStream, frame: app_pb2.WorkerFrame) -> None:
        """Take the parts of a worker's frame in the order of their fields."""
        for started in frame.started:
            if self._epochs[started.partition] == started.epoch:
                worker.started[started.partition] = started.epoch
                self._unpark(started.partition)
        self._take_results(worker, frame.results)
        for released in frame.released:
            if worker.started.get(released.partition) == released.epoch:
                del worker.started[released.partition]
            worker.revoking.discard(released.partition)
        if frame.closing and not worker.closing:
            worker.closing = True
            self._take_back(worker)
        self._changed.set()

    def locate(self, partition: int) -> app_pb2.PartitionState:
        """Return the state of a partition."""
        free = partition in self._free
        return app_pb2.PartitionState(
            partition=partition,
            owner=0 if free else MEMBER_ID,
            epoch=self._epochs[partition],
            phase=app_pb2.PHASE_FREE if free else app_pb2.PHASE_OWNED,
        )

    async def wait_table(self, seen_index: int) -> int:
        """Wait until the table is newer than `seen_index`; return its index."""
        while self.table_index <= seen_index:
            self._changed.clear()
            await self._changed.wait()
        return self.table_index

    # --- inside ---

    def _lease(self) -> app_pb2.Lease:
        until_ms = self._lease_until_ms
        if until_ms is None:
            until_ms = boottime_ms() + LEASE_FOR_EVER_MS
        return app_pb2.Lease(until_boottime_ms=max(0, until_ms))

    def _assign(self, worker: WorkerStream, partitions: list[int]) -> None:
        self.table_index += 1
        for partition in partitions:
            self._epochs[partition] += 1
        assigns = [app_pb2.Assign(partition=one, epoch=self._epochs[one]) for one in partitions]
        worker.say(app_pb2.SidecarFrame(assign=assigns))
        self._changed.set()

    def _take_back(self, worker: WorkerStream) -> None:
        revokes = [app_pb2.Revoke(partition=one, epoch=self._epochs[one]) for one in worker.started]
        worker.revoking.update(worker.started)
        worker.say(app_pb2.SidecarFrame(revoke=revokes))

    def _take_results(self, worker: WorkerStream, results: app_pb2.Results) -> None:
        errors = {error.position: error.detail for error in results.errors}
        payloads = results.payload or (b"",) * len(results.id)
        for at, (message_id, payload) in enumerate(zip(results.id, payloads, strict=True)):
            message = worker.answered(message_id)
            if message is not None:
                self._settle(message, payload, errors.get(at))
        for partition in list(self._parked):  # any of them may have waited for the credits
            self._unpark(partition)

    def _deliverable(self, partition: int) -> bool:
        worker = self._worker
        return (
            worker is not None
            and not self._held
            and partition in worker.started
            and partition not in worker.revoking
            and worker.has_credit(partition)
        )

    def _unpark(self, partition: int) -> None:
        parked = self._parked.get(partition)
        while parked and self._deliverable(partition):
            assert self._worker is not None
            self._worker.deliver(parked.popleft())
        if parked is not None and not parked:
            del self._parked[partition]

    def _all_started(self) -> bool:
        worker = self._worker
        return worker is not None and len(worker.started) >= self.partitions - len(self._free)

    def _fail(self, message: Routed, reason: Reason, executed: Executed, text: str) -> None:
        self._settle(message, b"", error_detail(reason, executed, text))

    def _settle(
        self, message: Routed, payload: bytes, detail: errors_pb2.ErrorDetail | None
    ) -> None:
        if message.sink in self._in_flight:
            self._in_flight[message.sink] -= 1
        message.sink.settle(message.sender_id, message.epoch, payload, detail)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self._sweep(asyncio.get_running_loop().time())
            self.store.sweep()

    def _sweep(self, now: float) -> None:
        """Answer what is over its deadline."""
        reason = Reason.DEADLINE_EXCEEDED
        for parked in self._parked.values():
            for message in [one for one in parked if one.deadline <= now]:
                parked.remove(message)
                self._fail(message, reason, Executed.NO, "parked too long")
        if self._worker is not None:
            for message in self._worker.outstanding.values():
                if message.deadline <= now:
                    self._fail(message, reason, Executed.UNKNOWN, "no answer in time")
                    message.deadline = float("inf")
