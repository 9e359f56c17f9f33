"""The message path of one member: origin, gate and intake behind one door.

Frames in, frames out, no I/O and no clock: whoever drives it says what time it is (`now_ms`, the
clock of leases) and takes the frames that wait for a destination when that destination's writer is
free. `take_dirty` tells which destinations got something. Messages of this member for partitions
it owns go from the origin to the intake within the same call; their answers come back likewise.
"""

from __future__ import annotations

from collections.abc import Iterable

from parti_shard.batches import ForwardBatch, ResultBatch, SendBatch, WorkerInput, WorkerOutput
from parti_shard.core import Core, RouterStats, TableView
from parti_shard.gate import Gate
from parti_shard.ids import Epoch, MemberId, PartitionId, SessionId, StreamId, WorkerId
from parti_shard.intake import Intake
from parti_shard.invariants import check_intake, check_origin
from parti_shard.limits import RouterLimits
from parti_shard.origin import Origin
from parti_shard.streams import Destination, ResultOutbox
from parti_shard.tenures import Tenures

__all__ = ["Destination", "Router", "RouterStats"]


class Router:
    """One per process. `table` is live and read-only here; see `table_changed`."""

    def __init__(self, me: MemberId, table: TableView, limits: RouterLimits) -> None:
        self._core = Core(me, table, limits)
        self._gate = Gate(self._core)
        self._intake = Intake(self._core, self._gate)
        self._tenures = Tenures(self._core, self._gate, self._intake)
        self._origin = Origin(self._core)

    def take_dirty(self) -> list[Destination]:
        """Who got something to take since the last call, in that order: replays depend on it."""
        dirty = list(self._core.dirty)
        self._core.dirty.clear()
        return dirty

    def _run_local(self, now_ms: int) -> None:
        """Own messages to the own intake and back, until nothing moves. A refusal holds its lane
        until later or until the table moves, so this ends.
        """
        dispatch, outbox = self._origin.dispatch, self._intake.local.outbox
        while dispatch.local.queue or outbox.ids:
            messages = dispatch.take_local(now_ms)
            if messages:
                self._intake.put_local(messages, now_ms)
                self._tenures.wake_for_messages()
            batch = self._take(outbox)
            if batch is not None:
                self._origin.results(self._core.me, batch, now_ms)

    def _take(self, outbox: ResultOutbox) -> ResultBatch | None:
        limits = self._core.limits
        return outbox.take(limits.frame_items_max, limits.frame_bytes_target)

    # -- client streams

    def open_client(self, stream: StreamId) -> None:
        self._origin.open_client(stream)

    def close_client(self, stream: StreamId, now_ms: int) -> None:
        self._origin.close_client(stream, now_ms)
        self._run_local(now_ms)

    def client_frame(self, stream: StreamId, batch: SendBatch, now_ms: int) -> None:
        """Raises MalformedFrameError: the stream must end."""
        self._origin.frame(stream, batch, now_ms)
        self._run_local(now_ms)

    def take_client(self, stream: StreamId) -> ResultBatch | None:
        client = self._origin.clients.get(stream)
        if client is None:
            return None
        batch = self._take(client.outbox)
        if client.outbox.ids:
            self._core.dirty[client.destination] = None
        return batch

    # -- links to owners

    def peer_up(self, member: MemberId, now_ms: int) -> None:
        self._origin.dispatch.link_up(member, now_ms)

    def peer_down(self, member: MemberId, now_ms: int) -> None:
        self._origin.dispatch.link_down(member, now_ms)

    def take_peer(self, member: MemberId, now_ms: int) -> ForwardBatch | None:
        batch = self._origin.dispatch.take(member, now_ms)
        self._run_local(now_ms)
        return batch

    def peer_results(self, member: MemberId, batch: ResultBatch, now_ms: int) -> None:
        """Raises MalformedFrameError: the link must end."""
        self._origin.results(member, batch, now_ms)
        self._run_local(now_ms)

    def peers_wanted(self) -> set[MemberId]:
        """Owners to hold a link to: something waits for them, or they owe answers."""
        return self._origin.dispatch.wanted()

    # -- links from origins

    def open_inbound(self, stream: StreamId, origin: MemberId) -> None:
        self._intake.open_stream(stream, origin)
        self._tenures.wake_for_messages()

    def close_inbound(self, stream: StreamId, now_ms: int) -> None:  # noqa: ARG002 - as its like
        self._intake.close_stream(stream)
        self._tenures.wake_for_messages()

    def inbound_frame(self, stream: StreamId, batch: ForwardBatch, now_ms: int) -> None:
        """Raises MalformedFrameError: the stream must end."""
        self._intake.arrive(stream, batch, now_ms)
        self._tenures.wake_for_messages()

    def take_inbound(self, stream: StreamId) -> ResultBatch | None:
        inbound = self._intake.streams.get(stream)
        if inbound is None:
            return None
        batch = self._take(inbound.outbox)
        if inbound.outbox.ids:
            self._core.dirty[inbound.destination] = None
        return batch

    # -- the worker

    def attach_worker(
        self,
        worker: WorkerId,
        name: str,
        credits: int,  # noqa: A002 - the protocol's word
        partition_credits: int,
        now_ms: int,
    ) -> None:
        """Cuts off a previous one. Raises MalformedFrameError if it offers no credits."""
        self._tenures.attach(worker, name, credits, partition_credits, now_ms)
        self._run_local(now_ms)

    def detach_worker(self, worker: WorkerId, now_ms: int) -> None:
        self._tenures.detach(worker, now_ms)
        self._run_local(now_ms)

    def worker_input(self, worker: WorkerId, frame: WorkerInput, now_ms: int) -> None:
        """Raises MalformedFrameError: the stream must end."""
        self._tenures.input(worker, frame, now_ms)
        self._run_local(now_ms)

    def take_worker(self, worker: WorkerId, now_ms: int) -> WorkerOutput | None:
        """Messages are admitted here and nowhere else."""
        out = self._tenures.take(worker, now_ms)
        self._run_local(now_ms)
        return out

    # -- the member

    def table_changed(self, partitions: Iterable[PartitionId], now_ms: int) -> None:
        """After entries were applied, before any other input: the rows of these changed."""
        changed = list(partitions)
        self._tenures.table_changed(changed, now_ms)
        self._run_local(now_ms)
        self._origin.dispatch.table_changed(changed, now_ms)
        self._run_local(now_ms)

    def set_lease(
        self, session: SessionId, live_until_ms: int, now_ms: int, *, overtime_from_ms: int = 0
    ) -> None:
        """Session 0: none. `overtime_from_ms`: from then on admissions count as overtime."""
        self._tenures.set_lease(session, live_until_ms, now_ms, overtime_from_ms)
        self._run_local(now_ms)

    def stop_admitting(self, now_ms: int) -> None:
        """Every gate shuts for good."""
        self._tenures.stop_admitting(now_ms)
        self._run_local(now_ms)

    def tick(self, now_ms: int) -> None:
        """The owner first: it knows of its own member's messages that they were not executed."""
        self._tenures.tick(now_ms)
        self._run_local(now_ms)
        self._origin.tick(now_ms)
        self._run_local(now_ms)

    def take_released(self) -> list[tuple[PartitionId, Epoch]]:
        """Epochs never admitted under again. Each is told once; the member repeats it to the
        leader until the table shows that it was heard.
        """
        released, self._tenures.released = self._tenures.released, []
        return released

    @property
    def worker_ready(self) -> bool:
        return self._tenures.worker_ready

    def load(self) -> dict[PartitionId, int]:
        """Messages admitted since the last call, per partition."""
        return self._tenures.take_load()

    @property
    def stats(self) -> RouterStats:
        return self._core.stats

    def story(self, partition: PartitionId) -> list[str]:
        return self._core.story(partition)

    def check_invariants(self, now_ms: int) -> None:
        check_origin(self._origin, self._core, now_ms)
        check_intake(self._intake, self._tenures, self._core)
