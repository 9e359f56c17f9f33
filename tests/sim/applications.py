"""Worker and client machines' programs: they speak the app protocol in its bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from parti_proto import app_pb2, errors_pb2
from parti_shard.errors import Reason
from parti_shard.keys import partition_of
from parti_sidecar.status import failure_from
from tests.sim.actors import Actor
from tests.sim.network import End
from tests.sim.timeline import MS

if TYPE_CHECKING:
    from tests.sim.machine import Machine
    from tests.sim.process import Process

AGAIN_US = 100 * MS  # a lost stream is opened again after about so long
EXECUTED_NO = 0
BY_KEY = 0.2  # of the messages; they have headers, too
NO_PARTITION = 0xFFFFFFFF

Row = tuple[int, int]  # partition, epoch


class Application(Actor, ABC):
    """Keeps one stream to the sidecar of its machine."""

    def __init__(self, machine: Machine, rng: Random, name: str) -> None:
        super().__init__(machine, rng)
        self.name = name
        self.end: End | None = None
        self.after(0, self._connect)

    @abstractmethod
    def _accept(self, server: Process, end: End) -> bool:
        """Open the stream at the sidecar; False: it refuses."""

    def _opened(self) -> None:
        """The stream is open."""

    def _lost(self) -> None:
        """The stream is over."""

    @abstractmethod
    def _read(self, data: bytes) -> None:
        """Take a frame of the sidecar."""

    def _connect(self) -> None:
        self.world.network.connect(
            self, self.machine.process, self._accept, self._open, lambda _refused: self._again()
        )

    def _open(self, end: End) -> None:
        self.end = end
        end.on_frame, end.on_closed = self._read, self._closed
        self._opened()

    def _closed(self) -> None:
        self.end = None
        self._lost()
        self._again()

    def _again(self) -> None:
        self.after(self.rng.randint(AGAIN_US // 2, AGAIN_US * 2), self._connect)


@dataclass
class Manners:
    """How a worker behaves."""

    handle_us: tuple[int, int] = (0, 3 * MS)
    start_us: tuple[int, int] = (0, 5 * MS)
    hangs: float = 0.0  # share of messages that never end
    never_releases: bool = False


@dataclass
class Epoch:
    """One assignment at the worker."""

    row: Row
    waiting: deque[tuple[int, bytes]] = field(default_factory=deque)
    running: bool = False
    started: bool = False
    revoked: bool = False
    cut: bool = False


class Worker(Application):
    """Handles the messages of each partition one after the other, like the SDK's worker."""

    def __init__(self, machine: Machine, rng: Random, name: str, manners: Manners) -> None:
        super().__init__(machine, rng, name)
        self.manners = manners
        self._epochs: dict[Row, Epoch] = {}
        self._lease_until_ms = 0

    def _accept(self, server: Process, end: End) -> bool:
        return server.accept_worker(self.name, 40, 10, end)

    def _lost(self) -> None:
        for epoch in self._epochs.values():
            epoch.cut = True
            epoch.waiting.clear()
        self._epochs.clear()
        self._lease_until_ms = 0

    def _read(self, data: bytes) -> None:
        frame = app_pb2.SidecarFrame.FromString(data)
        if frame.HasField("lease"):
            self._prolong(frame.lease.until_boottime_ms)
        for assign in frame.assign:
            self._assign((assign.partition, assign.epoch))
        if frame.HasField("deliver"):
            self._deliver(frame.deliver)
        for cancel in frame.cancel:
            self._end_epoch((cancel.partition, cancel.epoch), cut=True)
        for revoke in frame.revoke:
            self._end_epoch((revoke.partition, revoke.epoch), cut=False)

    def _prolong(self, lease_until_ms: int) -> None:
        """What waited for a lease goes on, like what comes behind it."""
        lapsed = self._lapsed()
        self._lease_until_ms = lease_until_ms
        if lapsed:
            for epoch in list(self._epochs.values()):
                self._run(epoch)

    def _lapsed(self) -> bool:
        return self.world.workers_check_lease and self.now_ms() >= self._lease_until_ms

    def _assign(self, row: Row) -> None:
        assert row not in self._epochs, f"{row} assigned twice"
        epoch = self._epochs[row] = Epoch(row)
        self.after(self.rng.randint(*self.manners.start_us), partial(self._started, epoch))

    def _started(self, epoch: Epoch) -> None:
        if epoch.cut:
            return
        epoch.started = True
        if epoch.revoked:
            self._release_if_idle(epoch)
        else:
            frame = app_pb2.WorkerFrame()
            frame.started.add(partition=epoch.row[0], epoch=epoch.row[1])
            self._say(frame)

    def _deliver(self, deliver: app_pb2.Deliver) -> None:
        rows = zip(deliver.id, deliver.partition, deliver.epoch, deliver.payload, strict=True)
        headers = dict(zip(deliver.headers_at, deliver.headers, strict=True))
        for position, (item_id, partition, number, uid) in enumerate(rows):
            key = deliver.key[position] if deliver.key else b""
            assert not key or partition_of(key, self.world.plan.partitions) == partition, key
            assert headers.get(position, b"") == (uid if key else b""), f"headers of {uid!r}"
            epoch = self._epochs.get((partition, number))
            if epoch is None or epoch.revoked or epoch.cut:
                self._refuse(item_id, Reason.STALE_EPOCH)
                continue
            assert epoch.started, f"{epoch.row} gets messages before it has started"
            epoch.waiting.append((item_id, uid))
            self._run(epoch)

    def _run(self, epoch: Epoch) -> None:
        while epoch.waiting and not epoch.running:
            if self._lapsed() and not epoch.cut:
                break
            item_id, uid = epoch.waiting.popleft()
            if epoch.cut:
                self._refuse(item_id, Reason.STALE_EPOCH)
            else:
                epoch.running = True
                self.world.message_checks.executed(self.name, uid, epoch.row[1])
                if self.rng.random() < self.manners.hangs:
                    self.world.counts["fault: message hangs"] += 1
                    return
                handle_us = self.rng.randint(*self.manners.handle_us)
                self.after(handle_us, partial(self._handled, epoch, item_id))
        self._release_if_idle(epoch)

    def _handled(self, epoch: Epoch, item_id: int) -> None:
        if self._epochs.get(epoch.row) is not epoch:
            return  # of a stream that is over: the same number means another message now
        epoch.running = False
        frame = app_pb2.WorkerFrame()
        frame.results.id.append(item_id)
        frame.results.payload.append(b"done")
        self._say(frame)
        self._run(epoch)

    def _refuse(self, item_id: int, reason: Reason) -> None:
        frame = app_pb2.WorkerFrame()
        frame.results.id.append(item_id)
        frame.results.payload.append(b"")
        detail = errors_pb2.ErrorDetail(reason=int(reason), executed=EXECUTED_NO)  # type: ignore[arg-type]
        frame.results.errors.append(errors_pb2.ItemError(position=0, detail=detail))
        self._say(frame)

    def _end_epoch(self, row: Row, *, cut: bool) -> None:
        epoch = self._epochs.get(row)
        if epoch is None:
            return
        epoch.revoked = True
        epoch.cut = epoch.cut or cut
        self._run(epoch)

    def _release_if_idle(self, epoch: Epoch) -> None:
        idle = epoch.revoked and not epoch.running and not epoch.waiting
        if not idle or not (epoch.started or epoch.cut):
            return
        if self.manners.never_releases:
            self.world.counts["fault: release withheld"] += 1
            return
        if self._epochs.pop(epoch.row, None) is not None:
            frame = app_pb2.WorkerFrame()
            frame.released.add(partition=epoch.row[0], epoch=epoch.row[1])
            self._say(frame)

    def _say(self, frame: app_pb2.WorkerFrame) -> None:
        if self.end is not None and self.end.open:
            self.end.send(frame.SerializeToString())


@cache
def key_of(partition: int, partitions: int) -> bytes:
    """A key of this partition."""
    keys = (b"%d" % number for number in count())
    return next(key for key in keys if partition_of(key, partitions) == partition)


class Client(Application):
    """Sends to all partitions through its sidecar, and notes what it is told."""

    def __init__(self, machine: Machine, rng: Random, name: str) -> None:
        super().__init__(machine, rng, name)
        self._last_id = 0
        self._waiting: dict[int, tuple[bytes, Callable[[bool], None] | None]] = {}
        self.after(rng.randrange(50 * MS), self._work)

    @property
    def unanswered(self) -> int:
        return len(self._waiting)

    def _accept(self, server: Process, end: End) -> bool:
        return server.accept_client(end)

    def _lost(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for uid, done in waiting.values():
            self.world.message_checks.abandoned(uid)
            if done is not None:
                done(False)

    def die(self, *, quietly: bool = False) -> None:
        self._lost()
        super().die(quietly=quietly)

    def _work(self) -> None:
        plan = self.world.plan
        if self.world.load_on:
            messages = self.rng.choice((1, 1, 2, 6))
            partitions = [self.rng.randrange(plan.partitions) for _ in range(messages)]
            self.send(partitions, self.rng.choice(plan.timeouts_ms), idempotent_share=0.3)
        self.after(self.rng.randint(*plan.send_every_us), self._work)

    def send(
        self,
        partitions: list[int],
        timeout_ms: int,
        *,
        idempotent_share: float,
        done: Sequence[Callable[[bool], None]] = (),
    ) -> bool:
        """One frame, and `done` is told of each; False if no stream takes it now."""
        end = self.end
        if end is None or not end.open or end.full:
            return False
        frame = app_pb2.SendFrame()
        for position, target in enumerate(partitions):
            self._last_id += 1
            uid = f"{self.name}:{self._last_id}".encode()
            idempotent = self.rng.random() < idempotent_share
            self.world.message_checks.send(uid, target, idempotent=idempotent)
            self._waiting[self._last_id] = uid, done[position] if done else None
            frame.id.append(self._last_id)
            by_key = self.rng.random() < BY_KEY
            frame.partition.append(NO_PARTITION if by_key else target)
            frame.key.append(key_of(target, self.world.plan.partitions) if by_key else b"")
            frame.payload.append(uid)
            if by_key:
                frame.headers_at.append(position)
                frame.headers.append(uid)
            frame.timeout_ms.append(timeout_ms)
            if idempotent:
                frame.idempotent_at.append(position)
        end.send(frame.SerializeToString())
        return True

    def _read(self, data: bytes) -> None:
        frame = app_pb2.ResultFrame.FromString(data)
        failures = {error.position: failure_from(error.detail) for error in frame.errors}
        for position, (item_id, epoch) in enumerate(zip(frame.id, frame.epoch, strict=True)):
            uid, done = self._waiting.pop(item_id)
            failure = failures.get(position)
            self.world.message_checks.answered(uid, epoch, failure)
            if done is not None:
                done(failure is None)
